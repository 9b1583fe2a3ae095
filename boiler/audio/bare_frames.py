"""Holes in files that are frames one after another (MP3, AAC in ADTS, AC-3, E-AC-3), where FFmpeg joins what is left
without a word.

Such files hold no timestamps: the length of a hole follows from its bytes and the bit rate of the frames around it.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

MIN_HOLE_S = 0.1
MAX_MP3_FRAME_BYTES = 4096
_TO_RESUME = 4  # frames in a row of one kind that end a hole; fewer occur by chance
_HEAD_BYTES = 7
_MIN_SHARE = 0.5  # of the bytes that frames must make up: otherwise this is another format than it looks
_TAG_ID3 = re.compile(rb"ID3[\x02-\x04].{2}([\x00-\x7f]{4})", re.DOTALL)
_TAG_APE = re.compile(rb"APETAGEX.{4}(.{4})(.{4})", re.DOTALL)

_V1, _V2 = 3, 2  # MPEG versions as they are coded; 0 is 2.5
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# kbit/s by whether the version is 1, and layer (3 is coded as 1)
_KBITS = {
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_RATES_HZ = (48_000, 44_100, 32_000)
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_EAC3_BLOCKS = (1, 2, 3, 6)
_AAC_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


class Frame(NamedTuple):
    """What the head of a frame says. `kind`: what frames of one recording have in common."""

    n_bytes: int
    seconds: float
    kind: int


class Run(NamedTuple):
    """Frames without a hole: (offset, bytes) in the file, how long they last, and the hole in front of them."""

    offset: int
    n_bytes: int
    seconds: float
    hole_s: float


class Format(NamedTuple):
    """What every frame begins with, and the function that reads the head of one."""

    sync: bytes
    parse: Callable[[bytes, int], Frame | None]


class Scan(NamedTuple):
    """runs: the stretches between holes; the first starts with the file. is_cut: the file ends within a frame."""

    runs: list[Run]
    is_cut: bool


def scan(file: BinaryIO, container: str) -> Scan:
    """Find the holes of an `mp3`, `aac`, `ac3` or `eac3` file; no runs if it is of another format. The file's position
    is kept.

    An MP3 that states how many frames it has shows bytes that were cut out of it, too: if the frames are broken at one
    place only, what is missing was there. Without that count, or if it was cut at several places, at its end too, or
    exactly between two frames, the place cannot be known.
    """
    form = _FORMATS.get(container)
    if form is None:
        return Scan([], False)
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    found, is_cut = _find_runs(data, form)
    if sum(run.n_bytes for run in found) < _MIN_SHARE * len(data):
        return Scan([], False)
    stated_s = _stated_s(data) if container == "mp3" else None
    if stated_s is not None:
        missing_s = stated_s - sum(run.hole_s + run.seconds for run in found)
        if len(found) == 2 and missing_s > 0 and not is_cut:
            found[1] = found[1]._replace(hole_s=found[1].hole_s + missing_s)
        is_cut = False  # the stated number of frames already shows that, and how much is missing
    return Scan(list(_joined(found)), is_cut)


def _joined(found: list[Run]) -> Iterator[Run]:
    """The runs, without breaks of less than `MIN_HOLE_S`, which decoders pass over."""
    run = found[0]
    for following in found[1:]:
        if following.hole_s >= MIN_HOLE_S:
            yield run
            run = following
        else:
            n_bytes = following.offset + following.n_bytes - run.offset
            run = run._replace(n_bytes=n_bytes, seconds=run.seconds + following.seconds)
    yield run


def _find_runs(data: bytes, form: Format) -> tuple[list[Run], bool]:
    """The stretches between breaks, and whether the last frame is incomplete."""
    found: list[Run] = []
    is_cut = False
    start, hole_s, seconds, frame_bytes = 0, 0.0, 0.0, 0
    at = _next_frames(data, _behind_tag(data, 0), form)
    while at < len(data):
        frame = form.parse(data, at)
        if frame is not None:
            is_cut = at + frame.n_bytes > len(data)
            at, seconds, frame_bytes = at + frame.n_bytes, seconds + frame.seconds, frame_bytes + frame.n_bytes
            continue
        behind = _behind_tag(data, at)
        if behind > at:
            at = behind
            continue
        following = _next_frames(data, at, form)
        # The frame in front of a hole reaches into it, so a hole seems shorter than it is by up to a frame.
        missing_s = (following - at) * seconds / frame_bytes if frame_bytes else 0.0
        if frame_bytes and following < len(data):
            found.append(Run(start, at - start, seconds, hole_s))
            start, hole_s, seconds, frame_bytes = following, missing_s, 0.0, 0
        at = following
    return [*found, Run(start, len(data) - start, seconds, hole_s)], is_cut


def _next_frames(data: bytes, at: int, form: Format) -> int:
    """The first place from `at` on where frames of one kind follow each other; the end if there is none."""
    while (at := data.find(form.sync, at)) >= 0:
        place, kind = at, None
        for _ in range(_TO_RESUME):
            frame = form.parse(data, place)
            if frame is None or kind not in (None, frame.kind):
                break
            place, kind = place + frame.n_bytes, frame.kind
        else:
            return at
        at += 1
    return len(data)


def _behind_tag(data: bytes, at: int) -> int:
    """The byte behind a tag that begins at `at`; `at` if there is none."""
    if data[at : at + 3] == b"TAG":
        return min(len(data), at + 128)
    if (tag := _TAG_ID3.match(data, at)) is not None:
        high, second, third, low = tag[1]
        return min(len(data), at + 10 + (high << 21 | second << 14 | third << 7 | low))
    if (tag := _TAG_APE.match(data, at)) is not None:
        return min(len(data), at + 32 + int.from_bytes(tag[1], "little"))
    return at


def _mp3_frame(data: bytes, at: int) -> Frame | None:
    if data[at : at + 1] != b"\xff" or at + 4 > len(data):
        return None
    return _mp3_head(data[at + 1], data[at + 2])


@functools.cache
def _mp3_head(first: int, second: int) -> Frame | None:
    version, layer, rate, kbit = first >> 3 & 3, first >> 1 & 3, second >> 2 & 3, second >> 4
    if first < 0xE0 or version == 1 or layer == 0 or rate == 3 or kbit in (0, 15):
        return None
    rate_hz = _RATES_HZ[version][rate]
    bit_rate = 1000 * _KBITS[version == _V1, layer][kbit]
    padding = second >> 1 & 1
    if layer == 3:
        return Frame((12 * bit_rate // rate_hz + padding) * 4, 384 / rate_hz, first << 8 | rate)
    samples = 576 if layer == 1 and version != _V1 else 1152
    return Frame(samples // 8 * bit_rate // rate_hz + padding, samples / rate_hz, first << 8 | rate)


def _adts_frame(data: bytes, at: int) -> Frame | None:
    head = data[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate, n_bytes = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate >= len(_AAC_RATES_HZ) or n_bytes <= _HEAD_BYTES:
        return None
    return Frame(n_bytes, 1024 * ((head[6] & 3) + 1) / _AAC_RATES_HZ[rate], head[1] << 8 | head[2])


def _ac3_frame(data: bytes, at: int) -> Frame | None:
    """A frame of AC-3 or E-AC-3 (ATSC A/52, 5.3.1 and E.1.2.1)."""
    head = data[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES or head[:2] != _FORMATS["ac3"].sync:
        return None
    version, rate, low = head[5] >> 3, head[4] >> 6, head[4] & 63
    if version <= 10:
        if rate == 3 or low // 2 >= len(_AC3_KBITS):
            return None
        rate_hz, kbit = _AC3_RATES_HZ[rate], _AC3_KBITS[low // 2]
        # In words of 16 bits; at 44.1 kHz every other frame has one more.
        n_words = 1000 * kbit * 1536 // (16 * rate_hz) + (low & 1 if rate_hz == 44_100 else 0)
        return Frame(2 * n_words, 1536 / rate_hz, version << 8 | rate << 6 | low & 62)
    if version > 16:
        return None
    stream, n_bytes = head[2] >> 6, 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    if rate == 3:  # half the rate, and always six blocks
        if low >> 4 == 3:
            return None
        rate_hz, n_blocks = _AC3_RATES_HZ[low >> 4] // 2, 6
    else:
        rate_hz, n_blocks = _AC3_RATES_HZ[rate], _EAC3_BLOCKS[low >> 4]
    if stream == 3 or n_bytes <= _HEAD_BYTES:
        return None
    depends = stream == 1 or head[2] >> 3 & 7  # a part of the frame before it
    return Frame(n_bytes, 0.0 if depends else 256 * n_blocks / rate_hz, version << 8 | rate << 6 | low & 48)


_FORMATS = {
    "mp3": Format(b"\xff", _mp3_frame),
    "aac": Format(b"\xff", _adts_frame),
    "ac3": Format(b"\x0b\x77", _ac3_frame),
    "eac3": Format(b"\x0b\x77", _ac3_frame),
}


def _stated_s(data: bytes) -> float | None:
    """The duration of an MP3 by the count of frames in its first one (Xing, 2001); None if it has none."""
    at = _behind_tag(data, 0)
    first = _mp3_frame(data, at)
    place = re.compile(rb"Xing|Info").search(data, at, at + MAX_MP3_FRAME_BYTES)
    if first is None or place is None or not data[place.start() + 7 : place.start() + 8]:
        return None
    flags, n_frames = struct.unpack_from(">II", data.ljust(place.start() + 12, b"\0"), place.start() + 4)
    return (n_frames + 1) * first.seconds if flags & 1 else None


def states_frames(head: bytes) -> bool:
    """Whether an MP3 that begins with these bytes states how many frames it has, so that its duration is exact."""
    at = _behind_tag(head, 0)
    return any(name in head[at : at + MAX_MP3_FRAME_BYTES] for name in (b"Xing", b"Info", b"VBRI"))

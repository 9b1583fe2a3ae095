"""The WAV family as its samples are stored, whatever its header says around them: WAV, RIFX, RF64, BW64, Sony's W64.

FFmpeg decodes WAVE_FORMAT_EXTENSIBLE by its valid bits instead of its container (16 bits in 24 become noise), ignores
that RIFX is big-endian, refuses an ID3 tag in front, reads only the second of two data chunks, and parses whatever is
behind the samples, be it four gigabytes of zeros. So `as_ffmpeg_reads` shows it a header of our own and the samples.

A data chunk whose size is 0 or a placeholder (as programs leave it that stream, or were killed) reaches to the end of
the file. A size that wrapped at 4 GiB is completed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from boiler.audio.spliced import Spliced

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BITS = {PCM: (8, 16, 24, 32, 64), FLOAT: (32, 64), A_LAW: (8,), MU_LAW: (8,)}
# The last twelve bytes of the GUID of a subformat, of which the first four are a format tag: usual, and Ambisonics.
_SUBFORMAT_TAILS = (bytes.fromhex("00001000800000aa00389b71"), bytes.fromhex("2107d3118644c8c1ca000000"))
# Encodings of AU, which is big-endian as RIFX is; of 8 bits the order of bytes does not matter.
_AU_ENCODINGS = {(PCM, 16): 3, (PCM, 24): 4, (PCM, 32): 5, (FLOAT, 32): 6, (FLOAT, 64): 7}
_W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the GUID of a chunk, of which the first four are its name
_BEHIND_A_TAG = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff", b".snd", b"riff")
_PLACEHOLDER = 0x7FFF_0000  # of a 32-bit size; programs that stream write one of those from here on
_WRAP = 2**32
_MAX_CHUNKS = 10_000


@dataclass(frozen=True, slots=True)
class WavHeader:
    """Where the samples of a file are, and how they are stored.

    start: byte at which the file proper starts, behind ID3 tags
    tag: PCM, FLOAT, A_LAW, MU_LAW or, of other codecs, what the file states
    bits: of a sample as it is stored, valid or not
    spans: (offset, bytes) of each stretch of samples
    missing_bytes: that the header states and the file lacks
    plain: every reader of WAV takes it as it is
    """

    start: int
    tag: int
    channels: int
    rate_hz: int
    bits: int
    big_endian: bool
    spans: tuple[tuple[int, int], ...]
    missing_bytes: int
    plain: bool

    @property
    def is_uncompressed(self) -> bool:
        """Whether every sample takes `bits` bits."""
        return self.bits in _BITS.get(self.tag, ()) and self.channels > 0

    @property
    def missing_s(self) -> float:
        """Seconds that the header states and the file lacks; 0 for compressed samples."""
        frame = self.channels * self.bits // 8
        return self.missing_bytes / (frame * self.rate_hz) if self.is_uncompressed and self.rate_hz else 0.0


def as_ffmpeg_reads(file: BinaryIO) -> tuple[BinaryIO, WavHeader | None]:
    """The file, or what FFmpeg must see instead of it to decode what it holds; and its header, if it is a WAV.

    Raises: OSError; ValueError: a big-endian WAV whose samples are compressed.
    """
    start = _behind_tags(file)
    header = read_header(file, start)
    if header is None:
        file.seek(0, os.SEEK_END)
        return (cast(BinaryIO, Spliced(file, [(start, file.tell() - start)])) if start else file), None
    if not header.is_uncompressed:
        if header.big_endian:
            raise ValueError("big-endian WAV (RIFX) is read only if its samples are not compressed")
        end = sum(header.spans[-1])
        return cast(BinaryIO, Spliced(file, [(header.start, end - header.start)])), header
    n_bytes = sum(length for _, length in header.spans)
    return cast(BinaryIO, Spliced(file, [_canonical_head(header, n_bytes), *header.spans])), header


def read_header(file: BinaryIO, start: int = 0) -> WavHeader | None:
    """The header of a WAV that starts at byte `start`; None if it is none, or not one that can be understood."""
    size = file.seek(0, os.SEEK_END)
    head = _read(file, start, 40)
    if head[:16] == _W64_RIFF and head[24:28] == b"wave":
        return _header_of(file, start, size, "<", 0, _w64_chunks(file, start + 40, size))
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    (riff_bytes,) = struct.unpack(order + "I", head[4:8])
    wrapped = (riff_bytes + 8 - (size - start)) % _WRAP == 0 and size - start >= _WRAP
    return _header_of(file, start, size, order, _WRAP if wrapped else 0, _riff_chunks(file, start + 12, size, order))


def _header_of(
    file: BinaryIO, start: int, size: int, order: str, wrap: int, chunks: Iterator[tuple[bytes, int, int, bool]]
) -> WavHeader | None:
    fields: tuple[int, int, int, int] | None = None
    usual = start == 0 and order == "<"
    spans: list[tuple[int, int]] = []
    missing = 0
    for name, at, n_bytes, is_open in chunks:
        if name == b"fmt " and fields is None:
            fmt = _read(file, at, min(n_bytes, 40))
            if len(fmt) < 16:
                return None
            tag, channels, rate_hz, _, _, bits = struct.unpack(order + "HHIIHH", fmt[:16])
            if tag == EXTENSIBLE and len(fmt) == 40 and fmt[28:] in _SUBFORMAT_TAILS:
                valid, _, tag = struct.unpack(order + "HII", fmt[18:28])
                usual &= valid in (0, bits)
            fields = (tag, channels, rate_hz, (bits + 7) // 8 * 8)
        elif name == b"data":
            if wrap and not is_open:
                n_bytes += (size - at - n_bytes) // wrap * wrap
            available = max(0, size - at)
            missing = 0 if is_open else max(0, n_bytes - available)
            spans.append((at, min(n_bytes, available)))
    if fields is None or not spans:
        return None
    usual &= len(spans) == 1
    return WavHeader(start, *fields, order == ">", tuple(spans), missing, usual)


def _riff_chunks(file: BinaryIO, at: int, size: int, order: str) -> Iterator[tuple[bytes, int, int, bool]]:
    """(name, offset, bytes, whether the size is not known and it reaches to the end of the file) of each chunk."""
    data_bytes: int | None = None  # as RF64 states it, apart
    for _ in range(_MAX_CHUNKS):
        head = _read(file, at, 8)
        if len(head) < 8 or not _is_name(head[:4]):
            return
        name, n_bytes = head[:4], struct.unpack(order + "I", head[4:])[0]
        at += 8
        is_open = False
        if name == b"ds64":
            ds64 = _read(file, at, 16)
            data_bytes = struct.unpack("<QQ", ds64)[1] if len(ds64) == 16 else None
        elif name == b"data":
            if n_bytes == _WRAP - 1 and data_bytes:
                n_bytes = data_bytes
            elif n_bytes == 0:
                is_open = not _is_chain(file, at, size, order)
            else:
                is_open = n_bytes >= _PLACEHOLDER and at + n_bytes > size
            n_bytes = size - at if is_open else n_bytes
        yield name, at, n_bytes, is_open
        at += n_bytes
        if n_bytes % 2:
            pad = _read(file, at, 4)  # some programs forget the byte that fills up an odd chunk
            at += 0 if pad[:1] != b"\0" and _is_name(pad) else 1


def _w64_chunks(file: BinaryIO, at: int, size: int) -> Iterator[tuple[bytes, int, int, bool]]:
    for _ in range(_MAX_CHUNKS):
        head = _read(file, at, 24)
        if len(head) < 24 or head[4:16] != _W64_TAIL:
            return
        n_bytes = struct.unpack("<Q", head[16:])[0] - 24
        is_open = head[:4] == b"data" and not 0 < n_bytes < 2**62
        if n_bytes < 0 and not is_open:
            return
        n_bytes = size - at - 24 if is_open else n_bytes
        yield head[:4], at + 24, n_bytes, is_open
        at += (24 + n_bytes + 7) // 8 * 8


def _is_chain(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether chunks fill the file from `at` to its end: then a data chunk of size 0 in front of them is empty."""
    for _ in range(_MAX_CHUNKS):
        head = _read(file, at, 8)
        if len(head) < 8:
            return at >= size
        if not _is_name(head[:4]):
            return False
        at += 8 + (struct.unpack(order + "I", head[4:])[0] + 1) // 2 * 2
    return False


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _canonical_head(header: WavHeader, n_bytes: int) -> bytes:
    """The head of a file of these samples that everybody reads: WAV, or AU where they are big-endian."""
    frame = header.channels * header.bits // 8
    n_bytes -= n_bytes % frame
    if header.big_endian and header.bits > 8:
        encoding = _AU_ENCODINGS[header.tag, header.bits]
        stated = min(n_bytes, _WRAP - 1)
        return b".snd" + struct.pack(">IIIII4x", 28, stated, encoding, header.rate_hz, header.channels)
    rate = (header.rate_hz * frame) % _WRAP
    fmt = struct.pack("<HHIIHH", header.tag, header.channels, header.rate_hz, rate, frame % 2**16, header.bits)
    stated = n_bytes if n_bytes < _PLACEHOLDER else _WRAP - 1
    return (
        b"RIFF"
        + struct.pack("<I", min(stated + 36, _WRAP - 1))
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", stated)
    )


def _behind_tags(file: BinaryIO) -> int:
    """The byte behind ID3 tags in front of a WAV, an AIFF and the like, 0 in front of others, which FFmpeg skips."""
    at = 0
    while (head := _read(file, at, 10))[:3] == b"ID3" and len(head) == 10:
        high, *rest = head[6:]
        at += 10 + (10 if head[5] & 0x10 else 0) + (high << 21 | rest[0] << 14 | rest[1] << 7 | rest[2])
    return at if head[:4] in _BEHIND_A_TAG else 0


def _read(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    """Empty behind the end, also where a header of 64 bits points behind what any file may have."""
    if at > sys.maxsize:
        return b""
    file.seek(at)
    return file.read(n_bytes)

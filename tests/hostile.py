"""Hostile files: damaged ones, as they occur in folders of sounds, and malicious ones."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sounds import FORMATS, tone, wav_bytes, write

RATE_HZ = 44_100
SECOND = (np.sin(np.arange(16_000) * 0.1) * 12_000).astype("<i2").tobytes()
CUT = ("wav-s16", "flac", "mp3", "ogg-vorbis", "ogg-opus", "m4a-aac", "aiff", "webm-opus")


def _floats(value: float) -> bytes:
    return wav_bytes(np.array([0.1, value] * 800, "<f4").tobytes(), bits=32, tag=3)


def _tag(n_bytes: int) -> bytes:
    """An ID3 tag of that size."""
    return b"ID3\x04\0\0" + bytes((n_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(n_bytes)


def _cut_and_flipped(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Files of eight formats, truncated at different places, and with flipped bits."""
    for form in CUT:
        suffix = FORMATS[form].suffix
        sound = np.stack([tone(440, 1.5, 48_000)] * FORMATS[form].channels[0])
        data = write(folder / f"whole{suffix}", sound, 48_000, form).read_bytes()
        (folder / f"whole{suffix}").unlink()
        for at in (1, 4, 11, 20, 43, len(data) // 100, len(data) // 3, len(data) - 100, len(data) - 1):
            yield f"cut/{form} after {at} of {len(data)} bytes{suffix}", data[:at]
        for n_bits in (1, 10, 300):
            chance = random.Random(f"{form} {n_bits}")
            flipped = bytearray(data)
            for _ in range(n_bits):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            yield f"flipped/{form}, {n_bits} bits{suffix}", bytes(flipped)
        yield f"flipped/{form}, head of zeros{suffix}", bytes(64) + data[64:]
        yield f"flipped/{form}, doubled{suffix}", data + data


def _headers() -> Iterator[tuple[str, bytes]]:
    """WAV files whose headers are wrong."""
    for rate_hz in (0, 1, 999, 768_001, 2_000_000_000):
        yield f"header/rate of {rate_hz} Hz.wav", wav_bytes(SECOND, rate_hz=rate_hz)
    for channels in (0, 65, 255, 10_000, 65_535):
        yield f"header/{channels} channels.wav", wav_bytes(SECOND, channels=channels)
    for bits in (0, 1, 7, 12, 64, 65_535):
        yield f"header/{bits} bits.wav", wav_bytes(SECOND, bits=bits)
    yield "header/claims 4 GB, has 1 kB.wav", wav_bytes(SECOND[:1_000], claim=2**32 - 1)
    yield "header/claims nothing, has a second.wav", wav_bytes(SECOND, claim=0)
    yield "header/alone.wav", wav_bytes(b"")
    yield "header/unknown codec.wav", wav_bytes(SECOND, tag=0x4242)
    yield "header/mp3 inside, says the tag.wav", wav_bytes(SECOND, tag=0x55)
    yield "header/extensible, cut.wav", wav_bytes(SECOND, tag=0xFFFE)
    yield "header/chunk of negative size.wav", wav_bytes(SECOND).replace(b"data", b"LIST\xff\xff\xff\xffdata")
    yield "header/a thousand empty chunks.wav", wav_bytes(SECOND).replace(b"data", b"junk\0\0\0\0" * 1_000 + b"data")
    # Nested boxes, each claiming to contain the rest of the file.
    body = b""
    for _ in range(2_000):
        body = struct.pack(">I4s", len(body) + 8, b"moov") + body
    yield "header/two thousand boxes in each other.m4a", struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + body


def _in_disguise() -> Iterator[tuple[str, bytes]]:
    """Files that are not sounds, and scripts that FFmpeg would run."""
    noise = random.Random(1).randbytes
    yield "disguised/nothing.mp3", b""
    yield "disguised/one byte.wav", b"R"
    yield "disguised/zeros.wav", bytes(100_000)
    yield "disguised/noise.mp3", noise(100_000)
    yield "disguised/zip.wav", b"PK\x03\x04" + noise(5_000)
    yield "disguised/picture.flac", b"\x89PNG\r\n\x1a\n" + noise(5_000)
    yield "disguised/page.mp3", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "disguised/text.ogg", b"To be, or not to be.\n" * 400
    yield "disguised/script.wav", b"#!/bin/sh\nrm -rf /\n"
    yield "disguised/ffconcat of etc passwd.mp3", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield (
        "disguised/playlist of etc passwd.mp3",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    )
    yield (
        "disguised/session description.mp3",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    )
    yield "disguised/ten megabytes of tags.mp3", _tag(10_000_000)
    yield "samples/not a number.wav", _floats(float("nan"))
    yield "samples/infinite.wav", _floats(float("inf"))
    yield "samples/beyond all.wav", wav_bytes(np.array([1e300] * 800, "<f8").tobytes(), bits=64, tag=3)
    yield "samples/a single one.wav", wav_bytes(SECOND[:2])
    yield "samples/silence.wav", wav_bytes(bytes(32_000))
    yield "samples/direct current.wav", wav_bytes(np.full(16_000, 16_384, "<i2").tobytes())
    yield "samples/clipped.wav", wav_bytes(np.tile(np.array([32_767, -32_768], "<i2"), 8_000).tobytes())


def _bombs(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Small files that decode to a lot of samples."""
    bomb = write(folder / "bomb.flac", np.zeros((8, 96_000 * 60)), 96_000, "flac")
    data = bomb.read_bytes()
    bomb.unlink()
    yield "bomb/a minute of 8 channels at 96 kHz.flac", data
    yield "bomb/1 kHz, 100 s.wav", wav_bytes(bytes(2) * 100_000, rate_hz=1_000)


def write_corpus(folder: Path) -> list[str]:
    """Write all of them below `folder`, and a pipe, dangling and circular links, a name that is not UTF-8, and a tree
    of a hundred folders. Returns their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = []
    for parts in (_cut_and_flipped(folder), _headers(), _in_disguise(), _bombs(folder)):
        for id, data in parts:
            path = folder / id
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            ids.append(id)
    names = folder / "names"
    names.mkdir()
    os.mkfifo(names / "pipe.wav")
    (names / "to nowhere.wav").symlink_to("nothing.wav")
    (names / "to itself.wav").symlink_to("to itself.wav")
    (names / "in a circle").symlink_to(folder, target_is_directory=True)
    (names / "folder.wav").mkdir()
    Path(os.fsdecode(os.fsencode(names) + b"/caf\xe9.wav")).write_bytes(wav_bytes(SECOND[:20_000]))
    deep = names.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    (deep / "deep.wav").write_bytes(wav_bytes(SECOND[:10_000]))
    return [*ids, "names/caf\\xe9.wav", "/".join(["names", *["d"] * 100, "deep.wav"])]

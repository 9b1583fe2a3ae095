"""Whatever the header of a WAV says, its samples are decoded as they are stored."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sounds import wav_bytes

from boiler.arrays import FloatArray
from boiler.audio import stream as stream_module
from boiler.audio import transcode
from boiler.audio.wav import read_header
from boiler.errors import NotASoundError, SoundError

RATE_HZ = 44_100
SOUND = np.random.default_rng(0).uniform(-0.9, 0.9, (5_000, 2))
MONO = SOUND.mean(axis=1)
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
AMBISONIC_GUID = bytes.fromhex("010000002107d3118644c8c1ca000000")
INT16 = (SOUND * 32767).round().astype("<i2")
DATA = INT16.tobytes()


def fmt(tag: int, bits: int, *, order: str = "<", channels: int = 2, more: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return struct.pack(order + "HHIIHH", tag, channels, RATE_HZ, RATE_HZ * frame, frame, bits) + more


def chunk(name: bytes, body: bytes, *, order: str = "<", size: int | None = None, pad: bool = True) -> bytes:
    head = name + struct.pack(order + "I", len(body) if size is None else size)
    return head + body + (b"\0" if pad and len(body) % 2 else b"")


def riff(*chunks: bytes, name: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack(">I" if name == b"RIFX" else "<I", len(body) if size is None else size) + body


def extensible(container: int, valid: int, guid: bytes = PCM_GUID) -> bytes:
    return fmt(0xFFFE, container, more=struct.pack("<HHI", 22, valid, 3) + guid)


def left_aligned(sound: FloatArray, container: int, valid: int) -> bytes:
    values = np.round(sound * (2 ** (valid - 1) - 1)).astype("<i8") << (container - valid)
    return values.reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, : container // 8].tobytes()


PLAIN_FMT = chunk(b"fmt ", fmt(1, 16))
ID3 = b"ID3\x04\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
DS64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(DATA), len(SOUND), 0))
EMPTY_DS64 = chunk(b"ds64", bytes(28))
BIG = INT16.astype(">i2").tobytes()
RIFX16 = riff(chunk(b"fmt ", fmt(1, 16, order=">"), order=">"), chunk(b"data", BIG, order=">"), name=b"RIFX")

ODD = {
    "as usual": riff(PLAIN_FMT, chunk(b"data", DATA)),
    "tags in front": ID3 + ID3 + riff(PLAIN_FMT, chunk(b"data", DATA)),
    "big-endian": RIFX16,
    "two data chunks": riff(PLAIN_FMT, chunk(b"data", DATA[:8_000]), chunk(b"data", DATA[8_000:])),
    "samples before their format": riff(chunk(b"data", DATA), PLAIN_FMT),
    "a chunk that is not padded": riff(PLAIN_FMT, chunk(b"LIST", b"odd", pad=False), chunk(b"data", DATA)),
    "sizes never written": riff(PLAIN_FMT, chunk(b"data", DATA, size=0), size=0),
    "sizes unknown": riff(PLAIN_FMT, chunk(b"data", DATA, size=2**32 - 1), size=2**32 - 1),
    "as a program that streams writes it": riff(PLAIN_FMT, chunk(b"data", DATA, size=0x7FFFFFFF), size=0x7FFFFFFF),
    "too short a size around it": riff(PLAIN_FMT, chunk(b"data", DATA), size=1_000),
    "RF64": riff(DS64, PLAIN_FMT, chunk(b"data", DATA, size=2**32 - 1), name=b"RF64", size=2**32 - 1),
    "RF64 that was never finished": riff(EMPTY_DS64, PLAIN_FMT, chunk(b"data", DATA, size=2**32 - 1), name=b"RF64"),
    "ambisonic": riff(chunk(b"fmt ", extensible(16, 16, AMBISONIC_GUID)), chunk(b"data", DATA)),
    "chunks behind": riff(PLAIN_FMT, chunk(b"data", DATA), chunk(b"LIST", bytes(300))),
    "zeros behind": riff(PLAIN_FMT, chunk(b"data", DATA)) + bytes(100_000),
    "12 bits": riff(chunk(b"fmt ", fmt(1, 12)), chunk(b"data", DATA)),
    "a wrong frame size": riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, RATE_HZ, 9, 2, 16)), chunk(b"data", DATA)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_legal_files_give_their_samples(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(ODD[name])
    found = stream_module.load(path, sample_rate_hz=RATE_HZ)
    assert len(found) == len(MONO)
    assert np.abs(found - MONO).max() <= 2**-14
    probe = stream_module.probe(path)
    assert (probe.sample_rate_hz, probe.channels, probe.format.partition("/")[0]) == (RATE_HZ, 2, "wav")
    assert probe.duration_s == pytest.approx(len(MONO) / RATE_HZ)
    assert stream_module.load(ODD[name], sample_rate_hz=RATE_HZ).tobytes() == found.tobytes()


@pytest.mark.parametrize("container", [8, 16, 24, 32])
@pytest.mark.parametrize("valid", [8, 12, 16, 20, 24, 32])
def test_samples_are_as_wide_as_their_container_however_many_bits_are_valid(
    container: int, valid: int, tmp_path: Path
) -> None:
    if valid > container or container == 8:  # 8 bits are unsigned, and all valid
        return
    path = tmp_path / "odd.wav"
    path.write_bytes(
        riff(chunk(b"fmt ", extensible(container, valid)), chunk(b"data", left_aligned(SOUND, container, valid)))
    )
    found = stream_module.load(path, sample_rate_hz=RATE_HZ)
    independent, _ = soundfile.read(path, dtype="float32")
    assert len(found) == len(independent)
    assert np.abs(found - independent.mean(axis=1)).max() <= 2**-23
    assert np.abs(found - MONO).max() <= 2.0 ** (2 - valid) + 2**-23


@pytest.mark.parametrize(
    ("subtype", "bits"),
    [
        ("PCM_U8", 8),
        ("PCM_16", 16),
        ("PCM_24", 24),
        ("PCM_32", 32),
        ("FLOAT", 32),
        ("DOUBLE", 64),
        ("ULAW", 8),
        ("ALAW", 8),
    ],
)
def test_big_endian_files_of_every_width(subtype: str, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "big.wav"
    soundfile.write(path, SOUND, RATE_HZ, subtype=subtype, endian="BIG", format="WAV")
    assert path.read_bytes()[:4] == b"RIFX"
    independent, _ = soundfile.read(path, dtype="float32")
    found = stream_module.load(path, sample_rate_hz=RATE_HZ)
    assert len(found) == len(independent)
    assert np.abs(found - independent.mean(axis=1)).max() <= 1e-6


def test_a_big_endian_file_of_compressed_samples_is_refused_by_name() -> None:
    data = riff(chunk(b"fmt ", fmt(2, 4, order=">"), order=">"), chunk(b"data", DATA, order=">"), name=b"RIFX")
    with pytest.raises(NotASoundError, match="rifx"):
        stream_module.load(data)


def test_w64_is_read_by_its_container_and_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "sound.w64"
    soundfile.write(path, SOUND, RATE_HZ, subtype="PCM_24", format="W64")
    data = bytearray(path.read_bytes())
    assert stream_module.load(bytes(data), sample_rate_hz=RATE_HZ) == pytest.approx(MONO, abs=2**-22)
    at = data.index(b"data" + bytes.fromhex("f3acd311"))
    data[at + 16 : at + 24] = bytes(8)  # as a program leaves it that was killed
    found = stream_module.load(bytes(data), sample_rate_hz=RATE_HZ)
    assert found[: len(MONO)] == pytest.approx(MONO, abs=2**-22)


def test_sizes_that_wrapped_at_four_gigabytes_are_completed(tmp_path: Path) -> None:
    """5,729 s of which FFmpeg would read 137; zeros on disk take no room."""
    path = tmp_path / "long.wav"
    n_bytes = 2**32 + 100_000
    marker = (np.sin(np.arange(4_000) * 0.3) * 20_000).astype("<i2").tobytes()
    head = riff(chunk(b"fmt ", fmt(1, 16, channels=1)), b"data" + struct.pack("<I", n_bytes % 2**32))
    head = head[:4] + struct.pack("<I", (n_bytes + 36) % 2**32) + head[8:]
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + n_bytes)
        file.seek(len(head) + n_bytes - len(marker))
        file.write(marker)
    assert stream_module.probe(path).duration_s == pytest.approx(n_bytes / 2 / RATE_HZ)
    end_s = n_bytes / 2 / RATE_HZ
    found = stream_module.load(path, start_s=end_s - 0.5, sample_rate_hz=RATE_HZ)
    assert np.abs(found[-4_000:]).max() > 0.5
    assert np.abs(found[:-5_000]).max() == 0


def test_four_gigabytes_of_zeros_behind_the_samples_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "zeros.wav"
    data = wav_bytes(DATA, rate_hz=RATE_HZ, channels=2)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + 4_000_000_000)
    assert stream_module.probe(path).duration_s == pytest.approx(len(SOUND) / RATE_HZ)
    assert len(stream_module.load(path, sample_rate_hz=RATE_HZ)) == len(SOUND)


def test_a_data_chunk_of_no_bytes_in_front_of_other_chunks_is_empty() -> None:
    with pytest.raises(SoundError):
        stream_module.load(riff(PLAIN_FMT, chunk(b"data", b""), chunk(b"LIST", b"INFOabcd" * 100)))


def test_bytes_that_the_header_states_and_the_file_lacks_are_counted() -> None:
    header = read_header(io.BytesIO(riff(PLAIN_FMT, chunk(b"data", DATA, size=len(DATA) + 4 * RATE_HZ))))
    assert header is not None
    assert header.missing_s == pytest.approx(1.0)
    whole = read_header(io.BytesIO(riff(PLAIN_FMT, chunk(b"data", DATA))))
    assert whole is not None
    assert whole.missing_s == 0


def test_a_browser_gets_a_copy_of_what_it_might_misread(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    for name, expected in (
        ("as usual", "audio/wav"),
        ("big-endian", None),
        ("tags in front", None),
        ("two data chunks", None),
    ):
        path.write_bytes(ODD[name])
        assert transcode.media_type(path) == expected, name
    path.write_bytes(riff(chunk(b"fmt ", extensible(24, 16)), chunk(b"data", left_aligned(SOUND, 24, 16))))
    assert transcode.media_type(path) is None


def test_a_size_of_64_bits_beyond_any_file_reaches_to_its_end() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, 2**63 + len(DATA), 0, 0))
    data = riff(ds64, PLAIN_FMT, chunk(b"data", DATA, size=2**32 - 1), name=b"RF64", size=2**32 - 1)
    header = read_header(io.BytesIO(data))
    assert header is not None
    assert header.spans == ((len(data) - len(DATA), len(DATA)),)


@given(st.binary(max_size=300), st.sampled_from(sorted(ODD)), st.integers(0, 120))
def test_a_mutated_header_gives_a_header_or_none(noise: bytes, name: str, at: int) -> None:
    data = bytearray(ODD[name][:600])
    data[at : at + len(noise)] = noise
    header = read_header(io.BytesIO(bytes(data)))
    assert header is None or all(start >= 0 and start + length <= len(data) for start, length in header.spans)

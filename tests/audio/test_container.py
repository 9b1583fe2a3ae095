"""Hostile, damaged and unusual files: samples or a typed error, never a crash, never access to another file."""

from __future__ import annotations

import io
import os
import random
import re
import socket
import struct
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import FORMATS, peak_hz, tone, wav_bytes, write

from boiler.audio import container, transcode
from boiler.audio import stream as stream_module
from boiler.audio.container import CODECS, open_track, source_name
from boiler.audio.container import FORMATS as CONTAINERS
from boiler.audio.stream import SAMPLE_RATE_HZ, SUFFIXES, Limits
from boiler.audio.windows import cut_windows, is_silent
from boiler.errors import NotASoundError, SoundError, SoundLimitError

SECOND = (np.sin(np.arange(16_000) * 0.1) * 12_000).astype("<i2").tobytes()


def floats(*values: float) -> bytes:
    return wav_bytes(np.array(values * 800, "<f4").tobytes(), bits=32, tag=3)


# name: (bytes, what is raised, reason of the reason)
REFUSED: dict[str, tuple[bytes, type[SoundError], str]] = {
    "zero length": (b"", NotASoundError, "empty"),
    "one byte": (b"R", NotASoundError, "not a sound"),
    "text": (b"To be, or not to be.\n" * 400, NotASoundError, "not a sound"),
    "zeros": (bytes(100_000), NotASoundError, "not a sound"),
    "noise": (random.Random(1).randbytes(100_000), NotASoundError, "not a sound"),
    "picture": (b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(5_000), NotASoundError, "not a sound"),
    "archive": (b"PK\x03\x04" + random.Random(3).randbytes(5_000), NotASoundError, "not a sound"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", NotASoundError, "not a sound"),
    "header alone": (wav_bytes(b""), NotASoundError, "could be decoded"),
    "half a header": (wav_bytes(SECOND)[:20], NotASoundError, "."),
    "not a number": (floats(0.1, float("nan")), NotASoundError, "not numbers .NaN or infinity."),
    "infinity": (floats(0.1, float("inf")), NotASoundError, "not numbers .NaN or infinity."),
    "minus infinity": (floats(0.1, float("-inf")), NotASoundError, "not numbers .NaN or infinity."),
    "double beyond float": (
        wav_bytes(np.array([1e300] * 800, "<f8").tobytes(), bits=64, tag=3),
        NotASoundError,
        "not numbers .NaN or infinity.",
    ),
    "rate 0": (wav_bytes(SECOND, rate_hz=0), SoundError, "."),
    "rate 1": (wav_bytes(SECOND, rate_hz=1), SoundLimitError, "samples a second"),
    "rate 999": (wav_bytes(SECOND, rate_hz=999), SoundLimitError, "samples a second"),
    "rate 768 001": (wav_bytes(SECOND, rate_hz=768_001), SoundLimitError, "samples a second"),
    "rate 2 billion": (wav_bytes(SECOND, rate_hz=2_000_000_000), SoundError, "."),
    "no channel": (wav_bytes(SECOND, channels=0), SoundError, "."),
    "65 channels": (wav_bytes(SECOND, channels=65), SoundLimitError, "channels"),
    "255 channels": (wav_bytes(SECOND, channels=255), SoundLimitError, "channels"),
    "1024 channels": (wav_bytes(SECOND, channels=1024), SoundError, "."),
    "0 bits": (wav_bytes(SECOND, bits=0), SoundError, "."),
    "unknown codec": (wav_bytes(SECOND, tag=0x4242), NotASoundError, "codec that boiler does not read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_without_sound_are_refused_with_name_and_reason(name: str, tmp_path: Path) -> None:
    data, kind, reason = REFUSED[name]
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(kind, match=reason) as caught:
            stream_module.load(source)
        assert caught.value.path == (str(path) if source is path else "the sound given")
        assert caught.value.reason
        assert str(path) not in caught.value.reason


def test_a_path_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASoundError, match="no such file"):
        stream_module.load(tmp_path / "nothing.wav")
    with pytest.raises(NotASoundError, match="not a file"):
        stream_module.load(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
    with pytest.raises(NotASoundError, match="not a file"):
        stream_module.load(tmp_path / "pipe.wav")
    with pytest.raises(NotASoundError):
        stream_module.load("/dev/zero")
    with pytest.raises(NotASoundError):
        stream_module.load("http://localhost/sound.wav")
    with pytest.raises(NotASoundError):
        stream_module.load("a\0b.wav")


def test_a_file_name_that_looks_like_an_ffmpeg_url_is_opened_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.wav", "-i.wav", "pipe:0", "%03d.wav", "data:audio.wav"):
        Path(name).write_bytes(wav_bytes(SECOND))
        assert len(stream_module.load(name)) == 16_000


@pytest.mark.parametrize("name", ["wav-s16", "mp3", "flac", "m4a-aac", "webm-opus"])
def test_tags_that_are_not_utf8_are_ignored(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"tagged{FORMATS[name].suffix}"
    plain = write(tmp_path / f"plain{FORMATS[name].suffix}", tone(440, 1.0, 48_000), 48_000, name)
    with av.open(plain) as source, av.open(path, "w") as container:
        container.metadata["title"] = "cafe in Orleans"
        stream = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    data = path.read_bytes()
    assert b"cafe in Orleans" in data
    changed = data.replace(b"cafe in Orleans", "caf\xe9 in Orl\xe9ans".encode("latin-1"))
    assert np.array_equal(stream_module.load(changed), stream_module.load(data))


# Files that are programs for FFmpeg


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".m3u8", ".ffconcat", ""])
@pytest.mark.parametrize(
    "body",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "ffconcat version 1.0\nfile 'file:{secret}'\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{secret}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\nsecret.ts\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        '<Representation id="1"><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "[playlist]\nFile1={secret}\n",
    ],
)
def test_a_playlist_in_disguise_opens_nothing(body: str, suffix: str, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.wav", tone(1_000, 1.0, 16_000), 16_000)
    path = tmp_path / f"evil{suffix}"
    path.write_text(body.format(secret=secret))
    for source in (path, path.read_bytes()):
        with pytest.raises(NotASoundError):
            stream_module.load(source)


def test_a_session_description_opens_no_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1] & ~1
    path = tmp_path / "evil.mp3"
    path.write_text(f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n")
    began = time.monotonic()
    with pytest.raises(NotASoundError):
        stream_module.load(path)
    assert time.monotonic() - began < 5


def test_a_movie_that_refers_to_another_file_does_not_read_it(tmp_path: Path) -> None:
    # A QuickTime data reference: `dref` gives the file of the samples: "this file" (flag 1), here replaced by a path.
    secret = write(tmp_path / "secret.mov", tone(1_000, 2.0, 16_000), 16_000, "mov-pcm")
    data = bytearray(secret.read_bytes())
    at = data.index(b"dref")
    assert b"url " in data[at : at + 24] or b"alis" in data[at : at + 24]
    entry = at + 12
    data[entry + 8 : entry + 12] = bytes(4)  # not in this file
    evil = tmp_path / "evil.mov"
    evil.write_bytes(bytes(data))
    try:
        samples = stream_module.load(evil)
    except SoundError:
        return
    assert abs(peak_hz(samples, SAMPLE_RATE_HZ) - 1_000) < 1  # its own samples at most


def test_ffmpeg_knows_every_container_and_codec_listed() -> None:
    assert set(CONTAINERS.split(",")) <= av.formats_available | {"m4a", "3gp", "3g2", "mj2", "mov", "mp4", "webm"}
    assert set(CODECS.split(",")) <= av.codecs_available
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert {form.suffix for form in FORMATS.values()} <= SUFFIXES


# What is there is given


@pytest.mark.parametrize(
    "name", [n for n in FORMATS if n not in ("m4a-aac", "mp4-aac", "mov-aac", "alac", "mov-pcm", "caf")]
)
def test_a_truncated_file_is_decoded_up_to_its_end(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    rate_hz = 48_000
    sound = np.stack([tone(440, 8.0, rate_hz)] * form.channels[0])
    path = write(tmp_path / f"x{form.suffix}", sound, rate_hz, name)
    whole = stream_module.load(path)
    data = path.read_bytes()
    for share in (0.4, 0.75, 0.99):
        got = stream_module.load(data[: int(len(data) * share)])
        assert share - 0.35 < len(got) / len(whole) <= 1
        n = min(len(got), int(len(whole) * share * 0.8)) - 4_000
        assert np.abs(got[:n] - whole[:n]).max() < 1e-3


def test_a_movie_truncated_before_its_index_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "x.m4a", tone(440, 4.0, 48_000), 48_000, "m4a-aac").read_bytes()
    with pytest.raises(NotASoundError):
        stream_module.load(data[: len(data) // 2])


def test_a_header_that_claims_four_gigabytes_is_not_believed() -> None:
    assert len(stream_module.load(wav_bytes(SECOND, claim=2**32 - 1))) == 16_000
    assert len(stream_module.load(wav_bytes(SECOND, claim=0))) in (0, 16_000)


@pytest.mark.parametrize("n", [1, 2, 10])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_a_file_of_a_few_samples_is_decoded(n: int, rate_hz: int) -> None:
    samples = stream_module.load(wav_bytes(SECOND[: 2 * n], rate_hz=rate_hz))
    assert len(samples) == n * 16_000 // rate_hz
    assert len(list(cut_windows([samples]))) == 1


def test_silence_constant_offset_and_clipping_are_decoded() -> None:
    assert is_silent(stream_module.load(wav_bytes(bytes(32_000))))
    direct = stream_module.load(wav_bytes(np.full(16_000, 16_384, "<i2").tobytes()))
    assert np.allclose(direct, 0.5)
    clipped = stream_module.load(wav_bytes(np.tile(np.array([32_767, -32_768], "<i2"), 8_000).tobytes()))
    assert clipped.min() == -1
    assert clipped.max() == 32_767 / 32_768


def test_a_file_with_only_cover_art_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(NotASoundError, match="no sound track"):
        stream_module.load(path)


def id3(body: bytes) -> bytes:
    size = len(body)
    syncsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + syncsafe + body


def test_an_mp3_after_ten_megabytes_of_tags_is_decoded_and_tags_alone_are_refused(tmp_path: Path) -> None:
    plain = write(tmp_path / "x.mp3", tone(440, 2.0, 44_100), 44_100, "mp3").read_bytes()
    sound = plain[plain.index(b"\xff\xfb") :] if b"\xff\xfb" in plain else plain
    text = b"TXXX" + struct.pack(">I", 0x7F) + b"\0\0" + b"x" * 0x7F
    tag = id3(text + bytes(10_000_000))
    assert peak_hz(stream_module.load(tag + sound), SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.5)
    with pytest.raises(NotASoundError):
        stream_module.load(tag)


def test_concatenated_mp3_files_are_decoded_as_one_sound(tmp_path: Path) -> None:
    # also one after which the header of the first still states its own length
    first = write(tmp_path / "a.mp3", tone(440, 3.0, 44_100), 44_100, "mp3").read_bytes()
    second = write(tmp_path / "b.mp3", tone(880, 3.0, 44_100), 44_100, "mp3").read_bytes()
    samples = stream_module.load(first + second)
    assert len(samples) / SAMPLE_RATE_HZ == pytest.approx(6.0, abs=0.2)
    assert peak_hz(samples[:40_000], SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.5)
    assert peak_hz(samples[-40_000:], SAMPLE_RATE_HZ) == pytest.approx(880, abs=0.5)


def test_channels_that_change_within_an_mp3_are_each_averaged(tmp_path: Path) -> None:
    stereo = np.stack([tone(440, 3.0, 44_100), 0.5 * tone(440, 3.0, 44_100)])
    a = write(tmp_path / "a.mp3", stereo, 44_100, "mp3").read_bytes()
    b = write(tmp_path / "b.mp3", tone(880, 3.0, 44_100), 44_100, "mp3").read_bytes()
    samples = stream_module.load(a + b + a)
    assert len(samples) / SAMPLE_RATE_HZ == pytest.approx(9.0, abs=0.3)
    peaks = [round(peak_hz(samples[i : i + 30_000], SAMPLE_RATE_HZ)) for i in (8_000, 56_000, 104_000)]
    assert peaks == [440, 880, 440]
    assert np.abs(samples[8_000:40_000]).max() == pytest.approx(0.375, rel=0.1)
    assert np.isfinite(samples).all()


def test_a_rate_that_changes_within_a_sound_stays_in_tune(tmp_path: Path) -> None:
    slow = write(tmp_path / "a.mp3", tone(440, 3.0, 32_000), 32_000, "mp3").read_bytes()
    fast = write(tmp_path / "b.mp3", tone(440, 3.0, 48_000), 48_000, "mp3").read_bytes()
    samples = stream_module.load(slow + fast)
    assert len(samples) / SAMPLE_RATE_HZ == pytest.approx(6.0, abs=0.3)
    assert peak_hz(samples[8_000:40_000], SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.3)
    assert peak_hz(samples[-40_000:-8_000], SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.3)


@pytest.mark.parametrize("name", ["mp3", "ogg-vorbis", "flac", "aac", "ogg-opus"])
def test_only_the_damaged_part_of_a_file_is_lost(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    sound = np.stack([tone(440, 8.0, 48_000)] * form.channels[0])
    data = bytearray(write(tmp_path / f"x{form.suffix}", sound, 48_000, name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3_000] = random.Random(4).randbytes(3_000)
    samples = stream_module.load(bytes(data))
    assert len(samples) > 5 * SAMPLE_RATE_HZ
    assert peak_hz(samples[8_000:40_000], SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.5)
    assert peak_hz(samples[-24_000:-8_000], SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.5)


# Limits


def test_a_decompression_bomb_is_stopped_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"  # 96 kHz, 8 channels: a second of it is 3 MB, and a few hundred bytes in the file
    write(path, np.zeros((8, 96_000 * 40)), 96_000, "flac")
    assert path.stat().st_size < 200_000
    with pytest.raises(SoundLimitError, match="longer than the 10 s"):
        for block in stream_module.stream(path, limits=Limits(max_seconds=10)):
            assert block.nbytes < 2**20


def test_decoding_time_is_limited(tmp_path: Path) -> None:
    path = write(tmp_path / "x.flac", np.zeros(48_000 * 60), 48_000, "flac")
    with pytest.raises(SoundLimitError, match="decoding it takes more than"):
        stream_module.load(path, limits=Limits(max_work_s=1e-4))


def test_time_spent_by_the_consumer_is_not_decoding_time(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", np.zeros(48_000 * 5), 48_000)
    limits = Limits(max_work_s=5.0)
    clock = [0.0]

    def later(*_: object) -> float:
        return clock[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boiler.audio.container.time.monotonic", later)
        for _ in stream_module.stream(path, limits=limits):
            clock[0] += 100.0


@pytest.mark.parametrize("limits", [Limits(max_channels=1), Limits(max_rate_hz=44_100), Limits(min_rate_hz=96_000)])
def test_channels_and_rate_are_limited(limits: Limits) -> None:
    with pytest.raises(SoundLimitError):
        stream_module.probe(wav_bytes(SECOND, rate_hz=48_000, channels=2), limits)


def test_a_mostly_damaged_file_is_refused_and_a_slightly_damaged_one_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "x.m4a", tone(440, 8.0, 44_100), 44_100, "m4a-aac")
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 2_000, data.index(b"moov") - 100  # the table of contents stays whole
    rng = random.Random(5)
    few, most = data.copy(), data.copy()
    few[begin : begin + 1_500] = rng.randbytes(1_500)
    most[begin:end] = b"\xff" * (end - begin)
    limits = Limits(max_bad_packets=10)
    assert len(stream_module.load(bytes(few), limits=limits)) > 7 * SAMPLE_RATE_HZ
    with pytest.raises(NotASoundError, match="most of it is damaged"):
        stream_module.load(bytes(most), limits=limits)


# Fuzz


def mutant(data: bytes, rng: random.Random) -> bytes:
    """The file with bytes changed, removed, repeated or cut, more often near its start where the tables are."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 5, 20, 100])):
        at = int(len(changed) * rng.random() ** rng.choice([1, 3]))
        how = rng.randrange(5)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"])
        elif how == 2:
            del changed[at : at + rng.randrange(1, 200)]
        elif how == 3:
            changed[at:at] = changed[at : at + rng.randrange(1, 200)]
        else:
            changed[at : at + 16] = rng.randbytes(16)
    if rng.random() < 0.2:
        del changed[rng.randrange(1, len(changed) + 1) :]
    return bytes(changed)


def survive(folder: Path, count: int, seed: int) -> int:
    """Decode mutants of every format; each must give finite samples or one of our errors. Returns how many decoded."""
    originals = []
    for name in FORMATS:
        form = FORMATS[name]
        sound = np.stack([tone(440, 0.6, 48_000)] * form.channels[0])
        originals.append(write(folder / f"{name}{form.suffix}", sound, 48_000, name).read_bytes())
    limits = Limits(max_seconds=600, max_work_s=20)
    decoded = 0
    for n in range(count):
        rng = random.Random(f"{seed} {n}")
        data = mutant(originals[n % len(originals)], rng)
        start_s = rng.choice([0.0, 0.0, 0.2, 5.0])
        try:
            samples = stream_module.load(data, start_s=start_s, limits=limits)
            stream_module.probe(data, limits)
        except SoundError:
            continue
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        decoded += 1
    return decoded


@pytest.mark.slow
def test_two_hundred_mutated_files_give_samples_or_a_typed_error(tmp_path: Path) -> None:
    assert survive(tmp_path, 200, seed=11) > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_files_give_samples_or_a_typed_error(tmp_path: Path) -> None:
    assert survive(tmp_path, 10_000, seed=12) > 1_000


def test_files_are_decoded_from_many_threads_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp3", tone(440, 2.0, 44_100), 44_100, "mp3")
    alone = stream_module.load(path)
    got: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: got.append(stream_module.load(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert all(np.array_equal(samples, alone) for samples in got)


def test_files_are_closed_after_use(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", tone(440, 2.0, 44_100), 44_100)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        stream_module.load(path)
        next(stream_module.stream(path))
        with pytest.raises(NotASoundError):
            stream_module.load(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_errors_name_the_source_as_it_was_given(tmp_path: Path) -> None:
    assert source_name("a/b.wav") == "a/b.wav"
    assert source_name(tmp_path / "x.wav") == str(tmp_path / "x.wav")
    assert source_name(b"RIFF") == "the sound given"
    assert source_name(io.BytesIO()) == "the sound given"
    with (tmp_path / "x.wav").open("wb+") as file:
        assert source_name(file) == str(tmp_path / "x.wav")


def test_a_track_starts_at_exactly_the_requested_second(tmp_path: Path) -> None:
    path = write(tmp_path / "x.flac", np.arange(48_000) / 60_000, 8_000, "flac")
    for from_s in range(6):
        with open_track(path, Limits()) as track:
            assert (track.rate_hz, track.channels, track.format, track.stated_s) == (8_000, 1, "flac/flac", 6.0)
            samples = np.concatenate([block for _, block in track.blocks(from_s)])
        assert len(samples) == (6 - from_s) * 8_000
        assert samples[0] == pytest.approx(from_s * 8_000 / 60_000, abs=2**-15)


# What cannot be decoded within a file


HOLED = (
    "flac",
    "mp3",
    "aac",
    "ac3",
    "eac3",
    "webm-opus",
    "mka-flac",
    "ogg-vorbis",
    "ogg-opus",
    "m4a-aac",
    "wma",
    "tta",
    "wv",
)
HOLED_S, MARKED_S = 12, 10  # seconds, and where in them the marker is


@pytest.fixture(scope="module")
def with_marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each of these formats: quiet noise, and a loud tone at second 10."""
    folder = tmp_path_factory.mktemp("marker")
    sound = np.random.default_rng(0).uniform(-0.02, 0.02, 48_000 * HOLED_S)
    sound[48_000 * MARKED_S :][:4_800] += tone(1_000, 0.1, 48_000, 0.8)
    for form in HOLED:
        channels = FORMATS[form].channels[0]
        write(folder / f"{form}{FORMATS[form].suffix}", np.stack([sound] * channels), 48_000, form)
    return folder


def marker_s(samples: stream_module.Samples) -> float:
    return float(np.abs(samples).argmax() / 16_000)


@pytest.mark.parametrize("kind", ["zeros", "noise"])
@pytest.mark.parametrize("form", HOLED)
def test_a_hole_is_silence_of_its_length_and_is_reported(
    form: str, kind: str, with_marker: Path, tmp_path: Path
) -> None:
    path = next(with_marker.glob(f"{form}.*"))
    data = path.read_bytes()
    whole = stream_module.load(path)
    begin, end = len(data) // 3, len(data) * 2 // 3
    hole = bytes(end - begin) if kind == "zeros" else np.random.default_rng(2).bytes(end - begin)
    holed = tmp_path / path.name
    holed.write_bytes(data[:begin] + hole + data[end:])
    with container.open_track(path, Limits()) as track:
        list(stream_module.track_blocks(track))
        assert track.warning == ""
    with container.open_track(holed, Limits()) as track:
        samples = np.concatenate(list(stream_module.track_blocks(track)))
        assert "s of it cannot be decoded (at " in track.warning
    assert len(samples) == pytest.approx(len(whole), abs=0.1 * 16_000)
    assert marker_s(samples) == pytest.approx(marker_s(whole), abs=0.06)
    assert np.abs(samples[6 * 16_000 : 7 * 16_000]).max() == 0 or kind == "noise"
    part = stream_module.load(holed, start_s=9.0, end_s=11.5)
    assert marker_s(part) + 9.0 == pytest.approx(marker_s(samples), abs=0.005)


TRUNCATED = ("flac", "mp3", "webm-opus", "wav-s16", "aiff", "w64", "au", "wma", "avi", "caf", "tta", "wv")


@pytest.mark.parametrize("form", TRUNCATED)
def test_a_truncated_file_reports_how_much_is_missing(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"sound{FORMATS[form].suffix}", noise_of(5.0), 48_000, form)
    data = path.read_bytes()
    with container.open_track(path, Limits()) as track:
        list(track.blocks())
        assert track.warning == ""
    path.write_bytes(data[: len(data) * 6 // 10])
    with container.open_track(path, Limits()) as track:
        list(track.blocks())
        missing = re.fullmatch(r"it ends (\d\.\d) s before the end that it states", track.warning)
    assert missing is not None
    # A frame of TTA has a second.
    assert float(missing[1]) == pytest.approx(2.0, abs=1.1 if form == "tta" else 0.15)


@pytest.mark.parametrize("form", ["ogg-vorbis", "ogg-opus", "aac", "ac3", "eac3"])
def test_a_truncated_file_that_states_no_length_is_reported(form: str, tmp_path: Path) -> None:
    sound = np.stack([noise_of(5.0)] * FORMATS[form].channels[0])
    path = write(tmp_path / f"sound{FORMATS[form].suffix}", sound, 48_000, form)
    data = path.read_bytes()
    with container.open_track(path, Limits()) as track:
        list(track.blocks())
        assert track.warning == ""
    path.write_bytes(data[: len(data) * 6 // 10])
    with container.open_track(path, Limits()) as track:
        list(track.blocks())
        assert track.warning == "it is cut off at its end, and does not state how much is missing"


def test_bytes_cut_out_of_an_mp3_are_silence_in_their_place(with_marker: Path, tmp_path: Path) -> None:
    whole = (with_marker / "mp3.mp3").read_bytes()
    path = tmp_path / "cut.mp3"
    path.write_bytes(whole[: len(whole) // 3] + whole[len(whole) // 2 :])
    with container.open_track(path, Limits()) as track:
        samples = np.concatenate(list(stream_module.track_blocks(track)))
        assert re.fullmatch(r"2\.\d s of it cannot be decoded \(at 4\.\d s\) and are silence here", track.warning)
    assert marker_s(samples) == pytest.approx(MARKED_S, abs=0.1)


def noise_of(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).uniform(-0.1, 0.1, round(48_000 * seconds))


def test_the_estimated_duration_of_an_mp3_is_nothing_to_miss(tmp_path: Path) -> None:
    path = write(tmp_path / "sound.mp3", np.concatenate([noise_of(2.0), np.zeros(96_000)]), 48_000, "mp3")
    path.write_bytes(path.read_bytes().replace(b"Info", b"xxxx").replace(b"Xing", b"xxxx"))
    with container.open_track(path, Limits()) as track:
        list(track.blocks())
        assert track.warning == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_silence_and_is_reported(value: float) -> None:
    sound = np.full(100_000, 0.5, "<f4")
    sound[40_000:40_003] = value
    with container.open_track(wav_bytes(sound.tobytes(), bits=32, tag=3), Limits()) as track:
        samples = np.concatenate([block for _, block in track.blocks()])
        assert track.warning == "3 samples are not numbers (from 2.5 s on) and are silence here"
    assert np.flatnonzero(samples == 0).tolist() == [40_000, 40_001, 40_002]
    assert len(samples) == 100_000


def test_a_file_of_mostly_no_numbers_is_refused_before_its_end() -> None:
    sound = np.full(16_000 * 60, np.nan, "<f4")
    with container.open_track(wav_bytes(sound.tobytes(), bits=32, tag=3), Limits()) as track:
        decoded_s = 0.0
        with pytest.raises(NotASoundError, match="most of its samples are not numbers"):
            for rate_hz, block in track.blocks():
                decoded_s += len(block) / rate_hz
    assert decoded_s < 10


def test_one_damaged_timestamp_makes_no_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "sound.ogg", np.stack([noise_of(5.0)] * 2), 48_000, "ogg-vorbis")
    data = bytearray(path.read_bytes())
    pages = [match.start() for match in re.finditer(b"OggS", data)]
    data[pages[len(pages) // 2] + 6 + 4] ^= 1  # of its granule position: 2**32 samples later
    samples = stream_module.load(bytes(data))
    assert len(samples) == pytest.approx(5 * 16_000, abs=1_600)


# Channels


def stereo(left: np.ndarray, right: np.ndarray, path: Path) -> Path:
    return write(path, np.stack([left, right]), 48_000, "wav-float")


@pytest.mark.parametrize("factor", [-1.0, -0.98, -0.7])
def test_channels_in_antiphase_are_not_silence(factor: float, tmp_path: Path) -> None:
    sound = noise_of(12.0)
    path = stereo(sound, factor * sound, tmp_path / "antiphase.wav")
    found = stream_module.load(path, sample_rate_hz=48_000)
    assert np.abs(found - sound).max() < 1e-6
    part = stream_module.load(path, start_s=7.0, end_s=9.0, sample_rate_hz=48_000)
    assert np.abs(part - sound[7 * 48_000 : 9 * 48_000]).max() < 1e-6


@pytest.mark.parametrize("name", ["unrelated", "one silent", "partly opposed"])
def test_other_channels_are_averaged(name: str, tmp_path: Path) -> None:
    left, other = noise_of(3.0), np.random.default_rng(9).uniform(-0.1, 0.1, 3 * 48_000)
    right = {"unrelated": other, "one silent": 0 * left, "partly opposed": 0.5 * other - 0.5 * left}[name]
    found = stream_module.load(stereo(left, right, tmp_path / "stereo.wav"), sample_rate_hz=48_000)
    assert np.abs(found - (left + right) / 2).max() < 1e-6


@pytest.mark.parametrize("channels", [4, 6, 8])
def test_one_of_many_channels_is_heard(channels: int, tmp_path: Path) -> None:
    sound = np.zeros((channels, 48_000))
    sound[2] = noise_of(1.0)
    path = write(tmp_path / "many.wav", sound, 48_000, "wav-float")
    found = stream_module.load(path, sample_rate_hz=48_000)
    assert np.abs(found - sound[2] / channels).max() < 1e-6


def test_the_channel_is_chosen_for_unsigned_samples_and_for_silence(tmp_path: Path) -> None:
    sound = noise_of(1.0) * 5
    path = write(tmp_path / "sound.wav", np.stack([sound, -sound]), 48_000, "wav-u8")
    assert np.abs(stream_module.load(path, sample_rate_hz=48_000) - sound).max() <= 2**-6
    path = write(tmp_path / "silent.wav", np.zeros((2, 48_000)), 48_000)
    assert is_silent(stream_module.load(path))


# Codecs


def other_codec(path: Path, codec: str, rate_hz: int = 48_000) -> Path:
    with av.open(path, "w") as made:
        stream = made.add_stream(codec, rate=rate_hz, layout="mono", options={"strict": "-2"})
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate_hz, stream.codec_context.frame_size or 960
        )
        sound = (noise_of(1.0)[:rate_hz] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            made.mux(stream.encode(part))
        made.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("codec", "rate_hz"), [("adpcm_g722", 16_000), ("adpcm_yamaha", 44_100)])
def test_a_codec_that_is_not_listed_is_refused_by_name(codec: str, rate_hz: int, tmp_path: Path) -> None:
    """FFmpeg's list of codecs restricts what it probes with, not what is opened."""
    path = other_codec(tmp_path / "sound.mka", codec, rate_hz)
    with pytest.raises(NotASoundError, match=r"a codec that boiler does not read \("):
        stream_module.load(path)
    with pytest.raises(NotASoundError, match=r"a codec that boiler does not read \("):
        transcode.flac_copy(path)


def test_of_two_tracks_the_one_that_can_be_read_is(tmp_path: Path) -> None:
    g722 = other_codec(tmp_path / "g722.mka", "adpcm_g722", 16_000)
    flac = write(tmp_path / "sound.flac", tone(440, 1.0, 48_000), 48_000, "flac")
    path = tmp_path / "both.mka"
    with av.open(g722) as first, av.open(flac) as second, av.open(path, "w") as both:
        streams = [(one, both.add_stream_from_template(one.streams.audio[0])) for one in (first, second)]
        for one, stream in streams:
            for packet in one.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    both.mux(packet)
    samples = stream_module.load(path)
    assert int(np.argmax(np.abs(np.fft.rfft(samples[:16_000])))) == 440


# The protocol allow-list


def test_ffmpeg_may_open_no_resource_by_name(tmp_path: Path) -> None:
    """With the options of this module a name that FFmpeg would open is refused, a file's, too."""
    path = write(tmp_path / "sound.wav", tone(440, 0.1, 16_000), 16_000)
    for name in (str(path), f"file:{path}", "tcp://127.0.0.1:9", "http://127.0.0.1:9/a.wav", f"concat:{path}"):
        with pytest.raises(
            (av.error.FFmpegError, OSError, ValueError), match=r"(?i)protocol|invalid argument|whitelist|22"
        ):
            av.open(name, "r", options=container.OPTIONS)
    with av.open(str(path), "r") as opened:  # it is the options that refuse it
        assert opened.streams.audio


# Formats that no library here writes


def test_amr_and_dsd_are_read() -> None:
    frames = b"".join(b"\x3c" + random.Random(n).randbytes(31) for n in range(100))  # of 20 ms, at 12.2 kbit/s
    assert len(stream_module.load(b"#!AMR\n" + frames)) == pytest.approx(2 * 16_000, abs=400)
    rate_hz, seconds = 2_822_400, 0.5
    wanted = tone(1_000, seconds, rate_hz, 0.4)
    rng = np.random.default_rng(0)
    bits = rng.uniform(-1, 1, len(wanted)) < wanted  # as many ones as the level says
    data = np.packbits(bits, bitorder="little")
    data = np.pad(data, (0, -len(data) % 4096)).tobytes()
    fmt = struct.pack("<IIIIIIQII", 1, 0, 1, 1, rate_hz, 1, len(bits), 4096, 0)
    chunks = b"fmt " + struct.pack("<Q", 12 + len(fmt)) + fmt + b"data" + struct.pack("<Q", 12 + len(data)) + data
    samples = stream_module.load(b"DSD " + struct.pack("<QQQ", 28, 28 + len(chunks), 0) + chunks)
    assert peak_hz(samples[2_000:6_000], 16_000) == pytest.approx(1_000, abs=5)

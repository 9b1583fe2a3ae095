"""A sound gives the same samples in every format, from every kind of source, and in parts."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from sounds import FORMATS, LAYOUTS, noise, peak_hz, tone, write

from boiler.audio import stream
from boiler.audio.stream import SAMPLE_RATE_HZ, Limits, Probe, Samples
from boiler.audio.windows import is_silent
from boiler.errors import NotASoundError, SoundError, SoundLimitError

LOSSLESS = [name for name, form in FORMATS.items() if form.exact is not None]


def rms_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.asarray(samples, np.float64) ** 2)))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_at_every_rate_and_width_keeps_tone_length_and_level(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    for rate_hz in form.rates_hz:
        for channels in form.channels:
            if form.exact is None and channels > 2:
                continue  # a lossy encoder filters the low-frequency channel away
            gains = 1 - np.arange(channels) / 10
            path = tmp_path / f"{rate_hz}-{channels}{form.suffix}"
            write(path, np.outer(gains, tone(440, 1.5, rate_hz)), rate_hz, name)
            samples = stream.load(path)
            assert samples.dtype == np.float32
            assert samples.ndim == 1
            assert len(samples) == pytest.approx(24_000, abs=3_100)  # raw AAC begins with its encoder's delay
            middle = samples[8_000:16_000]
            assert peak_hz(middle, SAMPLE_RATE_HZ) == pytest.approx(440, abs=0.2)
            level_db = 20 * np.log10(0.5 * gains.mean()) - 10 * np.log10(2)
            within_db = 0.5 if form.exact is None else 0.03 if "law" in name else 0.01
            assert rms_db(middle) == pytest.approx(level_db, abs=within_db)


@pytest.mark.parametrize("name", LOSSLESS)
def test_without_resampling_lossless_formats_give_the_exact_samples(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    sound = noise(20_000) * 0.99
    samples = stream.load(write(tmp_path / f"x{form.suffix}", sound, SAMPLE_RATE_HZ, name))
    assert np.abs(samples[: len(sound)] - sound).max() <= form.exact


def test_lossless_formats_agree_to_a_hundredth_of_a_decibel(tmp_path: Path) -> None:
    sound = np.stack([noise(66_150, 1), noise(66_150, 2)]) * 0.7
    levels_db = []
    for name in LOSSLESS:
        if "law" not in name:
            levels_db.append(rms_db(stream.load(write(tmp_path / f"x{FORMATS[name].suffix}", sound, 44_100, name))))
    assert max(levels_db) - min(levels_db) < 0.01


@pytest.mark.parametrize("channels", LAYOUTS)
def test_downmix_is_the_mean_of_the_channels(channels: int, tmp_path: Path) -> None:
    sound = np.stack([noise(16_000, n) for n in range(channels)])
    samples = stream.load(write(tmp_path / "x.wav", sound, SAMPLE_RATE_HZ, "wav-float"))
    assert np.allclose(samples, sound.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [1_000, 4_000, 11_025, 22_050, 32_000, 37_800, 88_200, 96_000, 192_000, 768_000])
def test_any_rate_is_resampled_in_tune(rate_hz: int, tmp_path: Path) -> None:
    samples = stream.load(write(tmp_path / "x.wav", tone(220, 2.0, rate_hz), rate_hz))
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE_HZ, abs=1)
    middle = samples[8_000:24_000]
    assert peak_hz(middle, SAMPLE_RATE_HZ) == pytest.approx(220, abs=0.05)
    assert rms_db(middle) == pytest.approx(-9.03, abs=0.01)


def test_resampling_does_not_alias(tmp_path: Path) -> None:
    samples = stream.load(write(tmp_path / "x.wav", tone(9_000, 1.0, 44_100), 44_100))
    assert rms_db(samples[2_000:-2_000]) < -80


def test_float_samples_may_exceed_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", 3 * tone(440, 1.0, 16_000, 1.0), 16_000, "wav-float")
    assert np.abs(stream.load(path)).max() == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("name", ["wav-s16", "flac", "mp3", "ogg-vorbis", "m4a-aac", "webm-opus"])
def test_path_bytes_and_file_object_give_the_same_samples(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    path = write(tmp_path / f"x{form.suffix}", np.stack([noise(60_000)] * 2), 48_000, name)
    whole = stream.load(path)
    read = io.BytesIO(path.read_bytes())
    read.seek(1_000)  # its current position does not matter
    assert np.array_equal(stream.load(str(path)), whole)
    assert np.array_equal(stream.load(path.read_bytes()), whole)
    assert np.array_equal(stream.load(read), whole)
    assert not read.closed
    assert np.array_equal(np.concatenate(list(stream.stream(path))), whole)


class Pipe(io.RawIOBase):
    """A file object without seek."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._data.readinto(buffer)


def test_a_file_object_that_cannot_seek_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.m4a", noise(60_000), 48_000, "m4a-aac")
    assert np.array_equal(stream.load(Pipe(path.read_bytes())), stream.load(path))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["wav-s16", "flac", "mp3", "ogg-vorbis", "ogg-opus", "m4a-aac", "webm-opus"])
def test_the_format_is_detected_from_the_content(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{FORMATS[name].suffix}", np.stack([noise(48_000)] * 2), 48_000, name)
    whole = stream.load(path)
    for other in ("x.WAV", "x.Mp3", "x.txt", "x", "x.flac.ogg"):
        renamed = tmp_path / "renamed" / other
        renamed.parent.mkdir(exist_ok=True)
        shutil.copy(path, renamed)
        assert np.array_equal(stream.load(renamed), whole)


@pytest.mark.parametrize("form", ["mp4-aac", "mov-aac", "webm-opus"])
def test_the_sound_track_of_a_video_is_decoded(form: str, tmp_path: Path) -> None:
    sound = np.stack([tone(440, 3.0, 48_000)] * 2)
    suffix = FORMATS[form].suffix
    plain = stream.load(write(tmp_path / f"plain{suffix}", sound, 48_000, form))
    filmed = stream.load(write(tmp_path / f"film{suffix}", sound, 48_000, form, video=True))
    assert np.array_equal(plain, filmed)


PARTS = [(0.0, 0.5), (0.3, 0.31), (1.0, 2.0), (4.25, 6.0), (9.123456, 11.87654), (12.0, 12.5), (13.37, None)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_is_that_slice_of_the_whole(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    rate_hz = 48_000 if 44_100 not in form.rates_hz else 44_100
    size = (form.channels[0], 14 * rate_hz)
    sound = np.cumsum(np.random.default_rng(3).normal(0, 0.02, size), axis=1) % 0.5 - 0.25
    path = write(tmp_path / f"x{form.suffix}", sound, rate_hz, name)
    whole = stream.load(path)
    for start_s, end_s in PARTS:
        part = stream.load(path, start_s=start_s, end_s=end_s)
        first = round(start_s * SAMPLE_RATE_HZ)
        last = len(whole) if end_s is None else round(end_s * SAMPLE_RATE_HZ)
        assert len(part) == len(whole[first:last])
        assert np.abs(part - whole[first:last]).max() < (1e-6 if form.exact is not None else 1e-3)


def test_a_part_of_a_real_recording_is_that_slice_of_it(test_data: Path) -> None:
    for path in sorted(test_data.glob("esc10/*/*.ogg"))[::40]:
        whole = stream.load(path)
        for start_s, end_s in [(1.0, 2.0), (2.5, 4.0), (3.3, None)]:
            part = stream.load(path, start_s=start_s, end_s=end_s)
            last = len(whole) if end_s is None else round(end_s * SAMPLE_RATE_HZ)
            assert np.abs(part - whole[round(start_s * SAMPLE_RATE_HZ) : last]).max() < 1e-3


def test_concatenated_parts_are_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "x.flac", noise(10 * 44_100), 44_100, "flac")
    whole = stream.load(path)
    cuts = [0.0, 1.7, 3.3333, 7.0, 9.99]
    parts = [stream.load(path, start_s=a, end_s=b) for a, b in zip(cuts, [*cuts[1:], None], strict=True)]
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-6


def test_an_end_after_the_sound_is_accepted_but_a_start_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", noise(32_000), 16_000)
    assert len(stream.load(path, start_s=1.0, end_s=99.0)) == 16_000
    for start_s in (2.0, 50.0):
        with pytest.raises(SoundError, match="ends before second"):
            stream.load(path, start_s=start_s)


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, None), (1.0, 1.0), (2.0, 1.0), (0.0, 0.0)])
def test_an_invalid_part_is_refused_at_once(start_s: float, end_s: float | None) -> None:
    with pytest.raises(ValueError, match="a part of a sound"):
        stream.stream(b"never looked at", start_s=start_s, end_s=end_s)


def test_probe_states_duration_rate_channels_and_format(tmp_path: Path) -> None:
    sound = np.stack([noise(66_150)] * 2)
    assert stream.probe(write(tmp_path / "x.wav", sound, 44_100)) == Probe(1.5, 44_100, 2, "wav/pcm_s16le")
    assert stream.probe(write(tmp_path / "x.flac", sound, 44_100, "flac")) == Probe(1.5, 44_100, 2, "flac/flac")
    mp3 = stream.probe(write(tmp_path / "x.mp3", sound, 44_100, "mp3"))
    assert mp3.format == "mp3/mp3"
    assert mp3.duration_s == pytest.approx(1.5, abs=0.06)


def test_a_missing_duration_is_measured(tmp_path: Path) -> None:
    # FLAC as a streaming encoder writes it: the number of samples in its header is 0.
    path = write(tmp_path / "x.flac", noise(40_000), 16_000, "flac")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert stream.probe(bytes(data)).duration_s == pytest.approx(2.5, abs=0.01)


def test_the_duration_limit_holds_for_a_wrong_header(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", noise(16_000 * 20), 16_000)
    limits = Limits(max_seconds=5)
    got = 0
    with pytest.raises(SoundLimitError, match="longer than the 5 s"):
        for block in stream.stream(path, limits=limits):
            got += len(block)
    assert got <= 5 * SAMPLE_RATE_HZ
    assert len(stream.load(path, start_s=14, end_s=18, limits=limits)) == 4 * SAMPLE_RATE_HZ


def test_streaming_stops_reading_where_the_part_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", noise(16_000 * 60), 16_000)
    with path.open("rb") as file:
        for _ in stream.stream(file, end_s=1.0):
            pass
        assert file.tell() < path.stat().st_size / 4


def test_loading_does_not_depend_on_earlier_loads(labelled_folder: Path) -> None:
    paths = sorted(labelled_folder.rglob("*.wav"))
    first = [stream.load(path) for path in paths]
    for path, samples in zip(reversed(paths), reversed(first), strict=True):
        assert np.array_equal(stream.load(path), samples)


def test_real_recordings_are_five_seconds_and_not_silent(test_data: Path) -> None:
    for path in sorted(test_data.glob("esc10/*/*.ogg"))[::50]:
        samples = stream.load(path)
        assert len(samples) / SAMPLE_RATE_HZ == pytest.approx(stream.probe(path).duration_s, abs=0.02)
        assert not is_silent(samples)
        assert np.abs(samples).max() < 1.5


def test_errors_name_the_source(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("these are notes, no sound\n" * 50)
    for source, name in [(text, str(text)), (str(text), str(text)), (text.read_bytes(), "the sound given")]:
        with pytest.raises(NotASoundError, match="not a sound in a format") as caught:
            stream.load(source)
        assert caught.value.path == name
    with text.open("rb") as file, pytest.raises(NotASoundError) as caught:
        stream.probe(file)
    assert caught.value.path == str(text)

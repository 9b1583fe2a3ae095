"""`SegmentDataset`: sounds are decoded once and cached, batches are determined by the seed, bad files are skipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import tone, write

from boiler.audio import stream
from boiler.audio.windows import WINDOW_SAMPLES, Window
from boiler.errors import CorpusError
from boiler.model.mel import LogMel, MelSettings
from boiler.training import dataset
from boiler.training.dataset import PairSampler, SegmentDataset, Split, WindowBatches, prepare_dataset

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short, long, silent, duplicate and broken sounds, a file that is no sound, and a sound in a subfolder."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "deep").mkdir()
    write(folder / "short.wav", tone(440, 0.5, RATE_HZ), RATE_HZ)
    write(
        folder / "deep" / "long.WAV", np.concatenate([tone(200 * (n + 1), 8.192, RATE_HZ) for n in range(3)]), RATE_HZ
    )
    write(folder / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    shutil.copy(folder / "short.wav", folder / "twin.wav")
    (folder / "broken.wav").write_bytes(b"RIFF and nothing that follows")
    (folder / "notes.txt").write_text("not a sound")
    return folder


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def sounds(mixed: Path, cache_dir: Path) -> SegmentDataset:
    return prepare_dataset(mixed, cache_dir)


def test_usable_sounds_are_listed_and_so_are_failures(sounds: SegmentDataset) -> None:
    assert sounds.ids == ["deep/long.WAV", "short.wav", "twin.wav"]
    assert sounds.silent == ["silent.wav"]
    assert [failure.id for failure in sounds.failures] == ["broken.wav"]
    assert sounds.failures[0].reason


def test_a_long_sound_is_cut_without_a_gap_and_a_short_one_keeps_its_length(sounds: SegmentDataset) -> None:
    assert sounds.sound.tolist() == [0, 0, 0, 1, 2]
    assert sounds.length.tolist() == [WINDOW_SAMPLES] * 3 + [RATE_HZ // 2] * 2


def test_samples_are_read_back_up_to_a_gain(sounds: SegmentDataset, mixed: Path) -> None:
    for segment, name, start in ((1, "deep/long.WAV", WINDOW_SAMPLES), (3, "short.wav", 0)):
        original = stream.load(mixed / name)
        original = original[start : start + WINDOW_SAMPLES] / np.abs(original).max()
        window = sounds.window(segment)
        assert window.dtype == np.float32
        assert window.shape == (WINDOW_SAMPLES,)
        expected = np.resize(original, WINDOW_SAMPLES)  # repeated to fill
        np.testing.assert_allclose(window, expected, atol=2e-4)


def test_a_short_sound_is_repeated(sounds: SegmentDataset) -> None:
    whole = sounds.samples(3, 0, RATE_HZ // 2)
    np.testing.assert_array_equal(sounds.samples(3, 7000, 3000), np.concatenate([whole[7000:], whole[:2000]]))


def test_nothing_is_decoded_twice(mixed: Path, cache_dir: Path, sounds: SegmentDataset, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was decoded again")

    clean = mixed.parent / "clean"
    shutil.copytree(mixed, clean, ignore=shutil.ignore_patterns("broken.wav"), copy_function=shutil.copy2)
    monkeypatch.setattr(dataset, "Decoders", refuse)
    assert prepare_dataset(clean, cache_dir).ids == sounds.ids
    shutil.rmtree(clean)


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.wav"
    path.parent.mkdir()
    write(path, tone(440, 0.5, RATE_HZ), RATE_HZ)
    assert prepare_dataset(path.parent, tmp_path / "cache").length.tolist() == [RATE_HZ // 2]
    write(path, tone(440, 0.25, RATE_HZ), RATE_HZ)
    assert prepare_dataset(path.parent, tmp_path / "cache").length.tolist() == [RATE_HZ // 4]


@pytest.mark.slow
def test_a_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.wav", tone(440, 0.5, RATE_HZ), RATE_HZ)
    for spoil in ("known.json", "*/*.int16"):
        prepare_dataset(folder, tmp_path / "cache")
        for path in (tmp_path / "cache").glob(spoil):
            path.unlink()
        assert prepare_dataset(folder, tmp_path / "cache").ids == ["a.wav"]
    (tmp_path / "cache" / "known.json").write_text("{ broken")
    assert prepare_dataset(folder, tmp_path / "cache").ids == ["a.wav"]


@pytest.mark.parametrize("content", ["nothing", "broken", "silent"])
def test_a_folder_without_usable_sounds_is_refused(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if content == "broken":
        (folder / "a.wav").write_bytes(b"hello")
    if content == "silent":
        write(folder / "a.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(CorpusError, match=str(folder)):
        prepare_dataset(folder, tmp_path / "run" / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]  # no cache is left behind


def test_the_refusal_uses_the_singular_for_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"hello")
    with pytest.raises(CorpusError, match=r"of 1 file, 1 cannot be decoded and 0 are silent: a\.wav: "):
        prepare_dataset(tmp_path, tmp_path / "cache")


@pytest.mark.slow
def test_decoding_ends_at_its_time_limit_and_is_resumed_by_the_next_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(4):
        write(folder / f"{n}.wav", tone(200 + n, 0.2, RATE_HZ), RATE_HZ)
    counts = []
    for max_s in (0.0, 0.0, float("inf")):
        dataset = prepare_dataset(folder, tmp_path / "cache", max_s=max_s)
        assert len(dataset.ids) + dataset.n_skipped == 4
        counts.append(len(dataset.ids))
    assert counts == [1, 2, 4]


def test_a_time_limit_that_leaves_only_silence_is_the_reason_given(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(3):
        write(folder / f"{n}.wav", np.zeros(RATE_HZ), RATE_HZ)
    for n_left in (2, 1):
        with pytest.raises(CorpusError, match=rf"only time to decode 0 sounds, {n_left} more files? .*--max_minutes"):
            prepare_dataset(folder, tmp_path / "cache", max_s=0.0)
    with pytest.raises(CorpusError, match="of 3 files, 0 cannot be decoded and 3 are silent"):
        prepare_dataset(folder, tmp_path / "cache", max_s=0.0)


def test_decoded_sounds_survive_an_interrupted_run(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(3):
        write(folder / f"{n}.wav", tone(200 + n, 0.2, RATE_HZ), RATE_HZ)
    decode = dataset._decode

    def interrupted(*args):
        yield next(decode(*args))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(dataset, "_decode", interrupted)
        prepare_dataset(folder, tmp_path / "cache")
    assert prepare_dataset(folder, tmp_path / "cache", max_s=0.0).n_skipped == 1


def test_a_very_long_sound_is_sampled_at_even_intervals(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dataset, "SEGMENTS_PER_SOUND", 4)
    kept = dataset._EvenSample()
    for n in range(9):
        samples = np.full(WINDOW_SAMPLES, n + 1, np.float32)
        kept.add(Window(samples, WINDOW_SAMPLES, n * 8.192, (n + 1) * 8.192, False))
    assert [window[0] for window in kept.windows] == [1, 5, 9]


def test_a_split_separates_whole_sounds_and_is_reproducible(sounds: SegmentDataset) -> None:
    many = SegmentDataset(sounds.cache_dir, [(str(n), sounds._paths[0]) for n in range(20)], [], [])
    split, again, other = Split(many, 0.2, 0), Split(many, 0.2, 0), Split(many, 0.2, 1)
    assert len(split.validation) == 4 * 3
    assert not set(many.sound[split.train]) & set(many.sound[split.validation])
    assert split.validation.tolist() == again.validation.tolist() != other.validation.tolist()


def test_with_few_sounds_none_is_held_out(sounds: SegmentDataset) -> None:
    split = Split(sounds, 0.2, 0)
    assert split.n_held_sounds == 0
    assert split.train.tolist() == split.validation.tolist() == [0, 1, 2, 3, 4]


def pairs(sounds: SegmentDataset, seed: int = 0, batch: int = 4) -> PairSampler:
    return PairSampler(sounds, np.arange(5), LogMel(MelSettings()), batch, 61, seed)


def test_a_batch_holds_two_crops_of_each_segment(sounds: SegmentDataset) -> None:
    drawn = pairs(sounds, batch=5).sample(0)
    assert drawn.shape == (10, 1, 80, 61)
    assert drawn.dtype == torch.float32
    loudest = drawn.mean(-1).argmax(-2)[:, 0]  # each segment is a tone of its own pitch
    assert torch.equal(loudest[:5], loudest[5:])
    assert not torch.equal(drawn[:5], drawn[5:])


def test_a_batch_depends_on_the_step_and_not_on_earlier_ones(sounds: SegmentDataset) -> None:
    first, second = pairs(sounds), pairs(sounds)
    for step in range(5):
        first.sample(step)
    assert torch.equal(first.sample(5), second.sample(5))
    assert not torch.equal(first.sample(5), pairs(sounds, seed=1).sample(5))


def test_a_batch_is_never_larger_than_the_folder(sounds: SegmentDataset) -> None:
    assert pairs(sounds, batch=128).batch == 5


def test_windows_are_the_same_each_time(sounds: SegmentDataset) -> None:
    windows = WindowBatches(sounds, np.arange(5), 3, 0, torch.device("cpu"))
    assert len(windows) == 1
    first, again = torch.cat(list(windows)), torch.cat(list(windows))
    assert first.shape == (3, 1, WINDOW_SAMPLES)
    assert torch.equal(first, again)


def test_the_cache_holds_a_sound_at_several_rates(mixed: Path, tmp_path: Path) -> None:
    low = prepare_dataset(mixed, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.int16")}
    high = prepare_dataset(mixed, tmp_path, sample_rate_hz=32_000)
    assert (high.spec.sample_rate_hz, high.spec.window_s) == (32_000, low.spec.window_s)
    assert high.length.tolist() == [2 * length for length in low.length]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list(tmp_path.rglob("*.int16"))) == 2 * len(files)
    assert prepare_dataset(mixed, tmp_path).length.tolist() == low.length.tolist()
    spectrum = np.abs(np.fft.rfft(high.samples(3, 0, high.length[3])))
    assert spectrum.argmax() / len(spectrum) * 16_000 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("offset", [0, 1, 7_999, 8_000, 20_003])
def test_a_short_segment_is_repeated_from_any_offset(sounds: SegmentDataset, offset: int) -> None:
    once = sounds.samples(3, 0, RATE_HZ // 2)
    found = sounds.samples(3, offset, WINDOW_SAMPLES)
    assert np.array_equal(found, once[(offset + np.arange(WINDOW_SAMPLES)) % len(once)])

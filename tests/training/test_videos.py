"""Seconds of video for training: what is decoded, cached, refused and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_videos import write_tonal_videos
from sounds import tone
from videos import plain_frames, write_video

from boiler.errors import CorpusError
from boiler.training.videos import VideoDataset, prepare_videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tonal_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoDataset:
    return prepare_videos(folder, tmp_path_factory.mktemp("cache"), image_shrink=4, workers=1)


def test_sound_and_picture_are_of_the_same_second(tmp_path: Path) -> None:
    """A video that changes in its middle, from dark and low to bright and high."""
    sound = np.concatenate([tone(300, 3, 48_000), tone(3_000, 3, 48_000)]).astype(np.float32)
    write_video(tmp_path / "in" / "a.mp4", plain_frames([30] * 30 + [220] * 30), sound, rate_hz=10)
    one = prepare_videos(tmp_path / "in", tmp_path / "cache", image_shrink=2, workers=1)
    assert one.side_px == 128
    begins = [0, 48_000, 4 * 48_000, one.videos[0].last_begin]
    levels = one.pictures([0] * 4, begins).mean(dim=(1, 2, 3))
    assert levels[:2].max() < -0.6 < 0.6 < levels[2:].min()
    spectrum = np.abs(np.fft.rfft(one.sounds([0] * 4, begins)[:, 0].numpy()))
    assert [
        abs(int(peak) - hz) <= 2 for peak, hz in zip(spectrum.argmax(axis=1), [300, 300, 3_000, 3_000], strict=True)
    ]
    assert one.videos[0].last_begin == pytest.approx(5 * 48_000, abs=2_400)


@pytest.mark.slow
def test_the_second_run_reads_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare_videos(folder, tmp_path, image_shrink=4, workers=1)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = prepare_videos(folder, tmp_path, image_shrink=4, workers=1)
    assert again.videos == first.videos
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    # Pictures of another size are others.
    other = prepare_videos(folder, tmp_path, image_shrink=2, workers=1)
    assert {video.pictures for video in other.videos}.isdisjoint(kept)


def test_files_that_cannot_be_used_are_listed_with_the_reason(tmp_path: Path) -> None:
    write_tonal_videos(tmp_path / "in", n=1)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video" * 100)
    write_video(tmp_path / "in" / "mute.mp4", plain_frames([9] * 20))
    write_video(tmp_path / "in" / "silent.mp4", plain_frames([9] * 20), np.zeros(48_000))
    found = prepare_videos(tmp_path / "in", tmp_path / "cache", image_shrink=4, workers=1)
    assert [video.id for video in found.videos] == ["00.mp4"]
    reasons = dict(found.failures)
    assert sorted(reasons) == ["broken.mp4", "mute.mp4", "silent.mp4"]
    assert "nothing but silence" in reasons["silent.mp4"]
    assert all(reasons.values())
    assert not any("in/" in reason for reason in reasons.values())


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no videos: .*\.mp4"):
        prepare_videos(tmp_path, tmp_path / "cache", 4)
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(CorpusError, match=r"no video that can be used, of 1; the first, broken\.mp4: "):
        prepare_videos(tmp_path, tmp_path / "cache", 4)


def test_the_split_is_of_whole_videos_and_needs_four(dataset: VideoDataset) -> None:
    trained, held = dataset.split(0.15, seed=0)
    assert sorted(trained + held) == list(range(6))
    assert len(held) == 2
    assert dataset.split(0.15, seed=0) == (trained, held)
    assert len({tuple(dataset.split(0.15, seed)[1]) for seed in range(8)}) > 1
    with pytest.raises(CorpusError, match="at least 4 videos"):
        VideoDataset(dataset.videos[:3], [], 64).split(0.2, 0)


def test_a_batch_has_each_video_once_and_all_seconds_are_drawn(dataset: VideoDataset) -> None:
    rng = np.random.default_rng(0)
    drawn = [dataset.draw([1, 2, 4], 3, rng) for _ in range(50)]
    assert all(sorted(numbers) == [1, 2, 4] for numbers, _ in drawn)
    begins = [begin for _, some in drawn for begin in some]
    last = dataset.videos[0].last_begin
    assert min(begins) < last / 10 < 9 * last / 10 < max(begins) <= last
    assert sorted(dataset.draw([1, 2], 4, rng)[0]) == [1, 1, 2, 2]


def test_pictures_for_training_vary_and_for_measuring_do_not(dataset: VideoDataset) -> None:
    plain = dataset.pictures([3, 3], [0, 0])
    assert plain.shape == (2, 3, 56, 56)
    assert (plain[0] == plain[1]).all()
    varied = dataset.pictures([3, 3], [0, 0], np.random.default_rng(0))
    assert (varied[0] != varied[1]).any()
    assert varied.abs().max() <= 1

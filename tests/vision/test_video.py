"""Frames of a video: all of them, at a constant rate and in one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write
from videos import plain_frames, write_video

from boiler.errors import NotASoundError, SoundLimitError
from boiler.vision import video
from boiler.vision.video import FrameSize, VideoLimits


def levels(path: Path, rate_hz: float | None = None) -> list[float]:
    return [float(picture.mean()) for _, picture in video.frames(path, rate_hz=rate_hz)]


def test_all_frames_are_returned_in_order_at_the_rate_of_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames(range(20, 240, 20)), tone(440, 1.1, 48_000))
    found = list(video.frames(path))
    assert {rate for rate, _ in found} == {10}
    assert {picture.shape for _, picture in found} == {(224, 224, 3)}
    assert [float(picture.mean()) for _, picture in found] == pytest.approx(list(range(20, 240, 20)), abs=3)


def test_frames_at_another_rate_are_those_shown_at_that_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames(range(20, 240, 20)))
    assert levels(path, 5) == pytest.approx([20, 60, 100, 140, 180, 220], abs=3)
    assert levels(path, 20)[:5] == pytest.approx([20, 20, 40, 40, 60], abs=3)


def test_a_frame_shown_for_longer_is_repeated(tmp_path: Path) -> None:
    """A screen recording writes a frame only when something changes."""
    path = write_video(tmp_path / "a.mkv", plain_frames([40, 200]), times=[0, 4])
    assert levels(path, 10) == pytest.approx([40, 40, 40, 40, 200], abs=3)


def test_the_middle_is_taken_in_proportion(tmp_path: Path) -> None:
    frame = np.zeros((256, 512, 3), np.uint8)
    frame[:, 128:384] = 255  # the middle 256 x 256
    path = write_video(tmp_path / "a.mp4", [frame] * 3)
    (_, picture), *_ = video.frames(path)
    assert picture.mean() > 250
    (_, small), *_ = video.frames(path, size=FrameSize(64, 64))
    assert small.shape == (64, 64, 3)
    assert small.mean() > 245


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sound.wav", tone(440, 0.2, 16_000), 16_000)
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("sound.wav", "text.mp4", "missing.mp4"):
        with pytest.raises(NotASoundError, match=name):
            list(video.frames(tmp_path / name))


def test_limits_hold_for_wrong_headers(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames([0] * 11))
    for limits in (VideoLimits(max_seconds=0.5), VideoLimits(max_pixels=100), VideoLimits(max_rate_hz=9)):
        with pytest.raises(SoundLimitError):
            list(video.frames(path, limits=limits))
    with pytest.raises(ValueError, match="crop"):
        FrameSize(100, 200)


def test_a_truncated_video_gives_its_complete_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", plain_frames(range(20, 240, 10)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 3 < len(list(video.frames(path))) < 22


@pytest.mark.parametrize("playlist", ["ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:1,\nsecret.ts\n"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, playlist: str) -> None:
    write_video(tmp_path / "secret.mp4", plain_frames([0] * 3))
    (tmp_path / "list.mp4").write_text(playlist)
    with pytest.raises(NotASoundError):
        list(video.frames(tmp_path / "list.mp4"))

"""The answers of the frame worker, called directly without a process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import plain_frames, write_video

from boiler.vision.frame_worker import PICTURES_AN_ANSWER, FrameReader, as_floats, as_pixels


@pytest.mark.parametrize("shape", [[1, 1, 3], [2, 2, 1], [5, 7, 3]])
def test_pixels_survive_the_transport_as_floats(shape: list[int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    carried = as_floats(pixels)
    assert carried.dtype == np.float32
    assert np.array_equal(as_pixels(carried, shape), pixels)


def test_an_image_is_sent_in_one_part(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "a.png")
    (part,), carried = FrameReader().answer("picture", str(tmp_path / "a.png"), False, 100, None)
    assert part == {"shape": [2, 3, 3], "samples": len(carried)}
    assert as_pixels(carried, part["shape"])[0, 0].tolist() == [1, 2, 3]


def test_a_video_is_sent_some_frames_at_a_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames([0] * (PICTURES_AN_ANSWER + 1)))
    reader = FrameReader()
    (first,), _ = reader.answer("frames", str(path), None, 64, 32)
    (second,), _ = reader.answer("more")
    assert first["shape"] == [PICTURES_AN_ANSWER, 32, 32, 3]
    assert second["shape"] == [1, 32, 32, 3]
    assert ("ended" in first, "ended" in second) == (False, True)


def test_an_error_is_sent_as_an_answer(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("neither")
    (part,), carried = FrameReader().answer("picture", str(tmp_path / "text"), False, 100, None)
    assert "no picture" in part["refused"] or "not a picture" in part["refused"]
    assert not carried.size
    (part,), _ = FrameReader().answer("frames", str(tmp_path / "text"), None, 64, 32)
    assert part["error"][0] == "NotASoundError"

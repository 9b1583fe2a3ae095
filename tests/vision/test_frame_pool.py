"""Images and frames read in a worker process: the same pixels; a file that kills the worker loses only itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import plain_frames, write_video

from boiler.audio import worker_process
from boiler.errors import EmbeddingError
from boiler.vision import image, video
from boiler.vision.frame_pool import FramePool


@pytest.fixture(scope="module")
def pool() -> Iterator[FramePool]:
    with FramePool() as made:
        yield made


def test_pixels_equal_those_read_in_this_process(pool: FramePool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)  # 105 bytes: no whole floats
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(pool.picture(tmp_path / "a.png"), pixels)
    assert np.array_equal(pool.picture((tmp_path / "a.png").read_bytes()), image.read_picture(tmp_path / "a.png"))
    path = write_video(tmp_path / "a.mp4", plain_frames(range(0, 250, 6)))
    found = list(pool.frames(path))
    assert len(found) > 1  # more than fits an answer
    assert {frames.rate_hz for frames in found} == {10}
    expected = np.stack([picture for _, picture in video.frames(path)])
    assert np.array_equal(np.concatenate([frames.pictures for frames in found]), expected)


def test_errors_name_the_file_and_the_next_one_is_read(pool: FramePool, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("neither")
    for read in (pool.picture, lambda path: list(pool.frames(path))):
        with pytest.raises(EmbeddingError, match=r"text\.mp4: "):
            read(tmp_path / "text.mp4")
    path = write_video(tmp_path / "a.mp4", plain_frames([0] * 40))
    frames = pool.frames(path)
    next(frames)
    frames.close()  # in the middle of it
    assert sum(len(some.pictures) for some in pool.frames(path)) == 40


def test_a_file_that_kills_its_worker_loses_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, end = worker_process.PROGRAM.split("from importlib")
    hostile = (
        "import boiler.vision.image as image, os, signal\n"
        "read = image.read_picture\n"
        "def fatal(source, **options):\n"
        f"    if 'crash' in str(source): os.kill(os.getpid(), {int(signal.SIGSEGV)})\n"
        "    return read(source, **options)\n"
        "image.read_picture = fatal\n"
    )
    monkeypatch.setattr(worker_process, "PROGRAM", f"{begin}\nexec({hostile!r}); from importlib{end}")
    for name in ("crash.png", "good.png"):
        Image.new("RGB", (3, 2)).save(tmp_path / name)
    with FramePool() as pool:
        with pytest.raises(EmbeddingError, match=r"crash\.png: its decoder crashed \(SIGSEGV\)"):
            pool.picture(os.fspath(tmp_path / "crash.png"))
        assert pool.picture(tmp_path / "good.png").shape == (2, 3, 3)

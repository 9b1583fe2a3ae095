"""Seconds of video for training: the sound and a picture of the same second.

Videos are decoded once, in worker processes, to two files each in a cache: the sound as 16-bit samples, and a few
pictures for each second, already as small as the network takes them. They are read from there in pieces, so that
memory does not depend on their length.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boiler import files
from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import Decoders
from boiler.catalog import scan
from boiler.errors import BoilerError, CorpusError
from boiler.model.l3 import FRAME_SAMPLES, IMAGE_SIZE, SAMPLE_RATE_HZ
from boiler.progress import meter
from boiler.vision.frame_pool import FramePool
from boiler.vision.image import SHORT_SIDE
from boiler.vision.video import SUFFIXES, FrameSize

PICTURES_HZ = 2.0
FULL_SCALE = 32_767
QUIET = 1e-4
"""A second whose peak is lower, of 1, is silent and teaches nothing."""
BRIGHTNESS = 0.15
CONTRAST = 0.2


@dataclass(frozen=True)
class DecodedVideo:
    """One video in the cache."""

    id: str
    sound: Path
    pictures: Path
    n_samples: int
    n_pictures: int

    @property
    def last_begin(self) -> int:
        """The last sample at which a whole second with a picture begins."""
        by_pictures = int(self.n_pictures / PICTURES_HZ * SAMPLE_RATE_HZ)
        return max(0, min(self.n_samples, by_pictures) - FRAME_SAMPLES)


class VideoDataset:
    """The decoded videos of a folder.

    Attributes: `videos`; `failures`, the id and the reason of each file that cannot be used; `side_px` of the pictures
    in the cache, which are square.
    """

    def __init__(self, videos: list[DecodedVideo], failures: list[tuple[str, str]], side_px: int) -> None:
        self.videos = videos
        self.failures = failures
        self.side_px = side_px

    def split(self, held_share: float, seed: int) -> tuple[list[int], list[int]]:
        """Numbers of the videos to train on and of those that are held out, at least two of each; by their ids, so that
        a video stays where it is when others come.

        Raises: CorpusError: there are fewer than four videos.
        """
        if len(self.videos) < 4:
            raise CorpusError(f"training needs at least 4 videos with sound, and there are {len(self.videos)}")
        keys = [hashlib.sha256(f"{seed} {video.id}".encode()).digest() for video in self.videos]
        order = sorted(range(len(keys)), key=lambda n: keys[n])
        n_held = min(max(2, round(held_share * len(order))), len(order) - 2)
        return sorted(order[n_held:]), sorted(order[:n_held])

    def sounds(self, numbers: list[int], begins: list[int]) -> Tensor:
        """One second each, from a sample on. Shape: [N, 1, 48000]."""
        rows = [self._sound(self.videos[n], begin) for n, begin in zip(numbers, begins, strict=True)]
        return torch.from_numpy(np.stack(rows))[:, None]

    def pictures(self, numbers: list[int], begins: list[int], rng: np.random.Generator | None = None) -> Tensor:
        """The picture in the middle of each second, values from -1 to 1; with `rng` cropped at random, mirrored, and of
        another brightness. Shape: [N, 3, S, S], S the side that the network takes."""
        side = self.side_px * IMAGE_SIZE // SHORT_SIDE
        rows = []
        for n, begin in zip(numbers, begins, strict=True):
            pixels = self._picture(self.videos[n], begin)
            free = self.side_px - side
            top, left = (free // 2, free // 2) if rng is None else rng.integers(0, free + 1, 2)
            pixels = pixels[top : top + side, left : left + side]
            if rng is not None:
                pixels = pixels[:, :: int(rng.choice([-1, 1]))]
                pixels = pixels * rng.uniform(1 - CONTRAST, 1 + CONTRAST) + rng.uniform(-BRIGHTNESS, BRIGHTNESS)
            rows.append(pixels.clip(-1, 1).astype(np.float32).transpose(2, 0, 1))
        return torch.from_numpy(np.stack(rows))

    def draw(self, chosen: list[int], batch: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """A random second of each of `batch` of the chosen videos, no video twice while there are enough."""
        numbers: list[int] = []
        while len(numbers) < batch:
            numbers += [chosen[n] for n in rng.permutation(len(chosen))[: batch - len(numbers)]]
        return numbers, [int(rng.integers(0, self.videos[n].last_begin + 1)) for n in numbers]

    def evenly(self, chosen: list[int], seconds: int) -> tuple[list[int], list[int]]:
        """Up to so many seconds of each chosen video, evenly spaced, for measuring."""
        numbers, begins = [], []
        for n in chosen:
            last = self.videos[n].last_begin
            for begin in sorted({int(last * (2 * step + 1) / (2 * seconds)) for step in range(seconds)}):
                numbers.append(n)
                begins.append(begin)
        return numbers, begins

    def _sound(self, video: DecodedVideo, begin: int) -> Float32Array:
        samples = np.zeros(FRAME_SAMPLES, np.float32)
        kept = np.memmap(video.sound, "<i2", "r")[begin : begin + FRAME_SAMPLES]
        samples[: len(kept)] = kept
        samples /= FULL_SCALE
        return samples

    def _picture(self, video: DecodedVideo, begin: int) -> Float32Array:
        number = min(round((begin / SAMPLE_RATE_HZ + 0.5) * PICTURES_HZ), video.n_pictures - 1)
        shape = (video.n_pictures, self.side_px, self.side_px, 3)
        pixels = np.memmap(video.pictures, np.uint8, "r", shape=shape)[number]
        return np.asarray(pixels, np.float32) * (2 / 255) - 1


def prepare_videos(video_dir: Path, cache_dir: Path, image_shrink: int, workers: int = 2) -> VideoDataset:
    """Decode the videos of a folder that are not in the cache yet, and open all of them.

    Raises: CorpusError: there is no such folder, no video in it, or none that can be used.
    """
    found = sorted(scan.walk(video_dir, SUFFIXES), key=lambda file: file.id)
    if not found:
        raise CorpusError(f"{video_dir} has no videos: {', '.join(sorted(SUFFIXES))} are looked for")
    side_px = SHORT_SIDE // image_shrink
    cache_dir.mkdir(parents=True, exist_ok=True)
    videos: list[DecodedVideo] = []
    failures: list[tuple[str, str]] = []
    with (
        Decoders(workers) as decoders,
        FramePool(workers) as frame_pool,
        meter("decoding videos", len(found)) as progress,
    ):
        for file in found:
            path = video_dir / file.id
            try:
                videos.append(_decoded(file.id, path, cache_dir, side_px, decoders, frame_pool))
            except (BoilerError, OSError) as error:
                failures.append((file.id, str(error).removeprefix(f"{path}: ")))
            progress.step()
    if not videos:
        id, reason = failures[0]
        raise CorpusError(f"{video_dir} has no video that can be used, of {len(found)}; the first, {id}: {reason}")
    return VideoDataset(videos, failures, side_px)


def _decoded(
    id: str, path: Path, cache_dir: Path, side_px: int, decoders: Decoders, frame_pool: FramePool
) -> DecodedVideo:
    """The video in the cache. Raises: BoilerError: it has no pictures, no sound, or only silence."""
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {side_px}".encode()).hexdigest()[:32]
    sound, pictures = cache_dir / f"{key}.s16", cache_dir / f"{key}.rgb"
    if not pictures.is_file():  # it is written last
        peak = 0.0
        with files.replacing(sound) as aside, aside.open("wb") as stream:
            for block in decoders.stream(path, sample_rate_hz=SAMPLE_RATE_HZ):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                stream.write((block.clip(-1, 1) * FULL_SCALE).round().astype("<i2").tobytes())
        if peak < QUIET:
            sound.unlink()
            raise CorpusError("there is nothing but silence in it")
        with files.replacing(pictures) as aside, aside.open("wb") as stream:
            for _, some in frame_pool.frames(path, rate_hz=PICTURES_HZ, size=FrameSize(side_px, side_px)):
                stream.write(some.tobytes())
    return DecodedVideo(id, sound, pictures, sound.stat().st_size // 2, pictures.stat().st_size // (3 * side_px**2))

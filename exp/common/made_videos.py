"""Made-up videos with known kinds: a shape of one colour for each kind of sound, moving before a varied background.

>>> write_videos(Path("videos"), per_kind=12)  # doctest: +SKIP
"""

from __future__ import annotations

import colorsys
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boiler.arrays import UInt8Array
from boiler.audio import synthesis

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from videos import write_video

WIDTH, HEIGHT = 320, 240
RATE_HZ = 5
SECONDS = 4

Grid = NDArray[np.float64]
Shape = Callable[[Grid, Grid], NDArray[np.bool_]]
"""Whether a point belongs to the shape; coordinates from -1 to 1 inside its square."""

SHAPES: tuple[Shape, ...] = (
    lambda x, y: x**2 + y**2 < 1,
    lambda x, y: (abs(x) < 0.85) & (abs(y) < 0.85),
    lambda x, y: (y > -0.8) & (y < 0.9) & (abs(x) < (0.9 - y) * 0.55),
    lambda x, y: ((abs(x) < 0.3) | (abs(y) < 0.3)) & (abs(x) < 1) & (abs(y) < 1),
    lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.4),
    lambda x, y: (abs(x) < 1) & (abs(y) < 1) & (np.floor(y * 3) % 2 == 0),
)


def write_videos(folder: Path, *, per_kind: int, kinds: int | None = None, seed: int = 0) -> list[Path]:
    """Write FOLDER/KIND/NNN.mp4, `per_kind` of each of the first `kinds` of `synthesis.KINDS`, or of all."""
    names = list(synthesis.KINDS)[:kinds]
    paths = []
    for number, kind in enumerate(names):
        for n in range(per_kind):
            rng = np.random.default_rng((seed, number, n))
            path = folder / kind / f"{n:03d}.mp4"
            sound = np.resize(synthesis.synthesize(kind, rng), SECONDS * synthesis.RATE_HZ)
            frames = pictures(number, len(names), rng)
            write_video(path, frames, sound, rate_hz=RATE_HZ, sample_rate_hz=synthesis.RATE_HZ)
            paths.append(path)
    return paths


def pictures(number: int, of: int, rng: np.random.Generator) -> Iterator[UInt8Array]:
    """The frames of a video of kind `number`: neighbours have other shapes and other colours. Shape: [H, W, 3]."""
    shape, hue = SHAPES[number % len(SHAPES)], number * 5 % of / of
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    light = rng.uniform(0.1, 0.6)
    background = light + rng.uniform(-0.2, 0.2) * x / WIDTH + rng.uniform(-0.2, 0.2) * y / HEIGHT
    noise = rng.normal(0, 0.04, (HEIGHT, WIDTH, 1))
    size = rng.uniform(35, 75)
    at, speed = [rng.uniform(80, 240), rng.uniform(80, 160)], [rng.uniform(-8, 8), rng.uniform(-8, 8)]
    colour = colorsys.hsv_to_rgb((hue + rng.uniform(-0.02, 0.02)) % 1, rng.uniform(0.7, 1), rng.uniform(0.7, 1))
    for _ in range(SECONDS * RATE_HZ):
        inside = shape((x - at[0]) / size, (y - at[1]) / size)[..., None]
        frame = np.where(inside, np.array(colour), background[..., None]) + noise
        yield (frame.clip(0, 1) * 255).astype(np.uint8)
        at = [place + step for place, step in zip(at, speed, strict=True)]

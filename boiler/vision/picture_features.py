"""The features of many pictures, or frames of videos, by a network that classifies pictures: what its last layer
receives.

Files are decoded in a worker process, and what was computed is kept in a file, so that a run that is repeated or
resumed computes only what is new.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler import files
from boiler.arrays import Float32Array, UInt8Array
from boiler.errors import BoilerError, EmbeddingError
from boiler.progress import meter
from boiler.vision.frame_pool import FramePool
from boiler.vision.picture_network import PictureNetwork
from boiler.vision.video import SUFFIXES, FrameSize

FRAMES_HZ = 2.0
"""Frames of a video are taken at multiples of half a second."""
FRAME_SIZE = FrameSize(224, 224)
SAVE_EVERY = 500


class PictureSource(NamedTuple):
    """A picture file; or the frame that a video shows at a time, by default at its beginning."""

    path: Path
    at_s: float = 0.0

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in SUFFIXES

    @property
    def frame(self) -> int:
        """The number of the frame, of those at `FRAMES_HZ`."""
        return round(self.at_s * FRAMES_HZ)

    def __str__(self) -> str:
        return f"{self.path} at {self.at_s:g} s" if self.is_video else str(self.path)


def features_of(
    sources: Sequence[PictureSource], network: PictureNetwork, cache: Path
) -> tuple[dict[PictureSource, Float32Array], dict[PictureSource, str]]:
    """The features of each picture, [E], and the reason for each that has none.

    cache: a file of features; those that are missing are added, and those of another network replaced
    """
    cached = _load(cache, network)
    found: dict[PictureSource, Float32Array] = {}
    failures: dict[PictureSource, str] = {}
    keys: dict[PictureSource, str] = {}
    for source in dict.fromkeys(sources):
        try:
            keys[source] = _key(source)
        except OSError as error:
            failures[source] = error.strerror or str(error)
    missing = [source for source, key in keys.items() if key not in cached]
    n_unsaved = 0
    try:
        with FramePool() as pool, meter("looking at pictures", len(missing)) as progress:
            for source, pixels in _decoded(missing, pool):
                if isinstance(pixels, str):
                    failures[source] = pixels
                else:
                    cached[keys[source]] = network.look(pixels).features
                    n_unsaved += 1
                if n_unsaved == SAVE_EVERY:
                    _save(cache, cached, network)
                    n_unsaved = 0
                progress.step()
    finally:
        if n_unsaved:
            _save(cache, cached, network)
    found = {source: cached[key] for source, key in keys.items() if source not in failures}
    return found, failures


def _decoded(sources: Sequence[PictureSource], pool: FramePool) -> Iterator[tuple[PictureSource, UInt8Array | str]]:
    """Each with its pixels, or why there are none. A video is decoded once for all of its frames."""
    videos: dict[Path, list[PictureSource]] = defaultdict(list)
    for source in sources:
        if source.is_video:
            videos[source.path].append(source)
            continue
        try:
            yield source, pool.picture(source.path, on_white=True)
        except EmbeddingError as error:
            yield source, _reason(error, source.path)
    for path, frames in videos.items():
        yield from _frames(path, frames, pool)


def _frames(
    path: Path, sources: Sequence[PictureSource], pool: FramePool
) -> Iterator[tuple[PictureSource, UInt8Array | str]]:
    waiting = sorted(sources, key=lambda source: source.frame)
    reason = "the video ends before that"
    n_read = 0
    frames = pool.frames(path, rate_hz=FRAMES_HZ, size=FRAME_SIZE)
    try:
        while waiting and (some := next(frames, None)) is not None:
            while waiting and waiting[0].frame < n_read + len(some.pictures):
                source = waiting.pop(0)
                yield source, some.pictures[source.frame - n_read]
            n_read += len(some.pictures)
    except BoilerError as error:
        reason = _reason(error, path)
    finally:
        frames.close()
    for source in waiting:
        yield source, reason


def _reason(error: BoilerError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _key(source: PictureSource) -> str:
    """Raises: OSError: there is no such file."""
    stat = source.path.stat()
    frame = source.frame if source.is_video else 0
    text = f"{source.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {frame}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _load(cache: Path, network: PictureNetwork) -> dict[str, Float32Array]:
    """Nothing if the file is missing, damaged or of another network: it is only a cache."""
    try:
        with cache.open("rb") as stream, np.load(stream) as arrays:
            if str(arrays["network"]) != network.sha256:
                return {}
            return dict(zip(arrays["keys"].tolist(), arrays["features"], strict=True))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _save(cache: Path, cached: dict[str, Float32Array], network: PictureNetwork) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(cache) as aside, aside.open("wb") as stream:
        np.savez(
            stream, network=np.array(network.sha256), keys=np.array([*cached]), features=np.stack([*cached.values()])
        )

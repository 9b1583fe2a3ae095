"""Training data: every sound of a folder, decoded once into a cache, and batches drawn from it.

The cache has one file per distinct sound and sampling rate, named after the SHA-256 of the original file: 16-bit
samples, scaled to the sound's own peak. It never becomes outdated: a changed file has another hash, a renamed or copied
file has the same one. It may be deleted at any time.

A sound is read in *segments*: a short one is one segment of its own length; a longer one is cut into windows of 8.192 s
without gaps, and silent windows are left out. Up to `SEGMENTS_PER_SOUND` evenly spaced windows of a very long
sound are kept.

Batches depend on the seed and the number of the step only, so a resumed run draws the same ones.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from boiler import files as files_module
from boiler.arrays import Float16Array, Float32Array, Int64Array
from boiler.audio.decoder_pool import DecodedSound, DecodedWindows, DecodeFailure, Decoders
from boiler.audio.stream import SUFFIXES
from boiler.audio.windows import SAMPLE_RATE_HZ, WINDOW_SAMPLES, Window, WindowSpec
from boiler.catalog.items import Failure
from boiler.catalog.scan import FoundFile, Unreadable, walk
from boiler.errors import CorpusError
from boiler.model.mel import LogMel
from boiler.progress import meter

SEGMENTS_PER_SOUND = 256
"""35 minutes of one sound are enough to learn from; a ten-hour recording would outweigh the others and fill the
disk."""
MIN_SOUNDS_TO_HOLD_OUT = 10

WINDOWS = WindowSpec(SAMPLE_RATE_HZ, WINDOW_SAMPLES, hop_s=WINDOW_SAMPLES / SAMPLE_RATE_HZ)
"""The windows that a network is trained on, at the default rate, without overlap."""

FULL_SCALE = 32_767
SAMPLE_BYTES = 2
KNOWN_FILE = "known.json"


@dataclass
class _EvenSample:
    """Every m-th window of a sound; m doubles whenever there are more than `SEGMENTS_PER_SOUND`."""

    every: int = 1
    seen: int = 0
    windows: list[Float32Array] = field(default_factory=list)

    def add(self, window: Window) -> None:
        if self.seen % self.every == 0:
            self.windows.append(window.clip)
            if len(self.windows) > SEGMENTS_PER_SOUND:
                self.windows = self.windows[::2]
                self.every *= 2
        self.seen += 1

    def write(self, path: Path) -> None:
        """Write the windows as 16-bit samples. The level is not kept, because spectrograms are computed from windows
        normalised by their peaks."""
        samples = np.concatenate(self.windows)
        with files_module.replacing(path) as aside:
            (samples * (FULL_SCALE / np.abs(samples).max())).round().astype("<i2").tofile(aside)


class SegmentDataset:
    """The decoded segments of a folder.

    Attributes:
        ids: the usable sounds, sorted.
        failures: the files that cannot be used, with reasons.
        silent: ids of the sounds that are silent throughout.
        n_skipped: number of files left out because the time for decoding was over.
        spec: the windows that long sounds are cut into.
        sound: int64 `[S]`, the index into `ids` of each segment's sound.
        length: int64 `[S]`, samples of each segment.
    """

    def __init__(
        self,
        cache_dir: Path,
        files: list[tuple[str, Path]],
        failures: list[Failure],
        silent: list[str],
        n_skipped: int = 0,
        spec: WindowSpec = WINDOWS,
    ) -> None:
        self.cache_dir = cache_dir
        self.spec = spec
        self.ids = [id for id, _ in files]
        self.failures = failures
        self.silent = silent
        self.n_skipped = n_skipped
        self._paths = [path for _, path in files]
        sound: list[int] = []
        start: list[int] = []
        length: list[int] = []
        for number, path in enumerate(self._paths):
            n_samples = path.stat().st_size // SAMPLE_BYTES
            for at in range(0, n_samples, spec.window_samples):
                sound.append(number)
                start.append(at)
                length.append(min(spec.window_samples, n_samples - at))
        self.sound, self._start, self.length = (np.array(each, np.int64) for each in (sound, start, length))

    def samples(self, segment: int, offset: int, n_samples: int) -> Float32Array:
        """`n_samples` of a segment from `offset` on. A segment shorter than a window is repeated, as in an index; for a
        full window the range must be inside the window."""
        length = int(self.length[segment])
        is_window = length == self.spec.window_samples
        begin, count = (offset, n_samples) if is_window else (0, length)
        with self._paths[self.sound[segment]].open("rb") as stream:
            stream.seek(SAMPLE_BYTES * (int(self._start[segment]) + begin))
            samples = np.frombuffer(stream.read(SAMPLE_BYTES * count), "<i2").astype(np.float32)
        samples /= FULL_SCALE
        if is_window:
            return samples
        return np.resize(np.roll(samples, -offset), n_samples)  # repeats it

    def window(self, segment: int) -> Float32Array:
        """The segment as one window of an index: float32 `[spec.window_samples]`."""
        return self.samples(segment, 0, self.spec.window_samples)


def prepare_dataset(
    wav_dir: Path,
    cache_dir: Path,
    workers: int = 2,
    *,
    seed: int = 0,
    max_s: float = float("inf"),
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> SegmentDataset:
    """Decode the sounds of a folder that are not in the cache yet, and open all of them.

    Arguments:
        workers: decoding processes.
        seed: of the random order of decoding, so that `max_s` selects a random part of the folder, not the first names.
        max_s: seconds after which decoding ends. The files left over are skipped, and a later call decodes them.
        sample_rate_hz: of the samples.

    Raises: `CorpusError` when the folder cannot be read, or none of its files can be used. No cache folder is left
    behind then.
    """
    unreadable = Unreadable()
    found = sorted(walk(wav_dir, SUFFIXES, unreadable=unreadable), key=lambda each: each.id)
    if not found:
        raise CorpusError(f"{wav_dir}: there is no sound in this folder ({', '.join(sorted(SUFFIXES))})")
    failures = [Failure(id, reason) for id, reason in unreadable.reasons.items()]
    created = _create(cache_dir)
    known = _read_known(cache_dir)
    spec = WINDOWS.at_rate(sample_rate_hz)
    fresh = [each for each in found if not _is_known(each, known, cache_dir, spec)]
    np.random.default_rng([seed, 4]).shuffle(fresh)
    n_decoded, deadline = 0, time.monotonic() + max_s
    if fresh:
        try:
            with meter("decoding", len(fresh)) as progress, Decoders(workers=workers) as decoders:
                for each, hash_or_failure in _decode(decoders, wav_dir, cache_dir, fresh, spec):
                    if isinstance(hash_or_failure, Failure):
                        failures.append(hash_or_failure)
                    else:
                        known[each.id] = [each.size_bytes, each.mtime_ns, hash_or_failure]
                    n_decoded += 1
                    progress.step()
                    if time.monotonic() >= deadline:
                        break
        finally:
            _write_known(cache_dir, known)  # also when interrupted: decoded sounds need not be decoded again
    bad = {failure.id for failure in failures}
    usable = [each for each in found if each.id not in bad and _is_known(each, known, cache_dir, spec)]
    files = [(each.id, _path(cache_dir, known[each.id][2], spec)) for each in usable]
    audible = [(id, path) for id, path in files if path.stat().st_size]
    silent = [id for id, path in files if not path.stat().st_size]
    n_skipped = len(fresh) - n_decoded
    if not audible and n_skipped:
        raise time_over(wav_dir, 0, n_skipped)
    if not audible:
        if created is not None:
            shutil.rmtree(created)
        reasons = "; ".join(f"{failure.id}: {failure.reason}" for failure in failures[:3])
        raise CorpusError(
            f"{wav_dir}: no sounds to train on: of {len(found)} file{'s' * (len(found) != 1)}, {len(failures)} cannot "
            f"be decoded and {len(silent)} {'is' if len(silent) == 1 else 'are'} silent{': ' * bool(reasons)}{reasons}"
        )
    return SegmentDataset(cache_dir, audible, failures, silent, n_skipped, spec)


def time_over(wav_dir: Path, n_sounds: int, n_skipped: int) -> CorpusError:
    """The error where decoding had time for too few sounds."""
    return CorpusError(
        f"{wav_dir}: there was only time to decode {n_sounds} sound{'s' * (n_sounds != 1)}, {n_skipped} more"
        f" file{'s' * (n_skipped != 1)} {'was' if n_skipped == 1 else 'were'} not reached, and training needs at"
        " least two sounds: allow more minutes (--max_minutes). The next run continues with what was decoded"
    )


def _create(folder: Path) -> Path | None:
    """Create a folder; the topmost folder that had to be created for it, if any."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[-1] if missing else None


def _decode(
    decoders: Decoders, wav_dir: Path, cache_dir: Path, files: list[FoundFile], spec: WindowSpec
) -> Iterator[tuple[FoundFile, str | Failure]]:
    """Each file with its hash, when it is in the cache, or with the reason why it cannot be decoded."""
    samples: dict[str, _EvenSample] = {}
    by_id = {each.id: each for each in files}
    jobs = ((each.id, each.path(wav_dir)) for each in files)
    for event in decoders.windows(jobs, spec):
        match event:
            case DecodedWindows(id, windows):
                for window in windows:
                    samples.setdefault(id, _EvenSample()).add(window)
            case DecodedSound(id, sha256=sha256):
                path = _path(cache_dir, sha256, spec)
                if not path.is_file():
                    path.parent.mkdir(exist_ok=True)
                    if id in samples:
                        samples[id].write(path)
                    else:
                        path.touch()  # empty: the sound is silent
                samples.pop(id, None)
                yield by_id[id], sha256
            case DecodeFailure(id, error):
                samples.pop(id, None)
                yield by_id[id], Failure(id, error.reason)


def _path(cache_dir: Path, sha256: str, spec: WindowSpec) -> Path:
    rate = "" if spec == WINDOWS else f".{spec.sample_rate_hz}"
    return cache_dir / sha256[:2] / f"{sha256}{rate}.int16"


def _is_known(found: FoundFile, known: dict[str, list[Any]], cache_dir: Path, spec: WindowSpec) -> bool:
    size_bytes, mtime_ns, sha256 = known.get(found.id, (None, None, None))
    unchanged = (size_bytes, mtime_ns) == (found.size_bytes, found.mtime_ns)
    return unchanged and sha256 is not None and _path(cache_dir, sha256, spec).is_file()


def _read_known(cache_dir: Path) -> dict[str, list[Any]]:
    """By id: size, modification time and hash of the file when it was decoded, so that it is not hashed again."""
    try:
        known: dict[str, list[Any]] = json.loads((cache_dir / KNOWN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}  # without it, files are hashed again
    return known


def _write_known(cache_dir: Path, known: dict[str, list[Any]]) -> None:
    with files_module.replacing(cache_dir / KNOWN_FILE) as aside:
        aside.write_text(json.dumps(known), encoding="utf-8")


class Split:
    """Training and validation segments. Whole sounds are held out, drawn at random with the seed.

    With fewer than `MIN_SOUNDS_TO_HOLD_OUT` sounds nothing is held out: `validation` is the training segments.
    """

    def __init__(self, dataset: SegmentDataset, held_share: float, seed: int) -> None:
        n_sounds = len(dataset.ids)
        may_hold_out = n_sounds >= MIN_SOUNDS_TO_HOLD_OUT and held_share > 0
        self.n_held_sounds = max(1, round(held_share * n_sounds)) if may_hold_out else 0
        held = np.random.default_rng([seed, 1]).permutation(n_sounds)[: self.n_held_sounds]
        is_held = np.isin(dataset.sound, held)
        self.train: Int64Array = np.flatnonzero(~is_held)
        self.validation: Int64Array = np.flatnonzero(is_held) if self.n_held_sounds else self.train


class PairSampler:
    """Draws training batches of positive pairs: two crops of the spectrogram of each of `batch` segments.

    A sound is drawn with a probability proportional to the square root of its length: there is more to learn from long
    sounds, but they must not outweigh short ones. The spectrogram of a whole window is computed when it is first drawn,
    and kept in a temporary file beside the cache (40 KB per window, whose samples take 260 KB).
    """

    def __init__(
        self, dataset: SegmentDataset, segments: Int64Array, mel: LogMel, batch: int, frames: int, seed: int
    ) -> None:
        self.batch = min(batch, len(segments))
        self.frames = frames
        self._dataset = dataset
        self._segments = segments
        self._mel = mel
        self._seed = seed
        whole = np.bincount(dataset.sound[segments], dataset.length[segments], minlength=len(dataset.ids))
        weight = dataset.length[segments] / np.sqrt(whole[dataset.sound[segments]])
        self._probability = weight / weight.sum()
        shape = (len(dataset.sound), *self._spectrogram(int(segments[0])).shape)
        with tempfile.TemporaryFile(dir=dataset.cache_dir) as file:  # unlinked at once; the map keeps it alive
            self._spectrograms = np.memmap(file, np.float16, "w+", shape=shape)
        self._is_computed = np.zeros(len(dataset.sound), dtype=bool)

    def sample(self, step: int) -> Tensor:
        """The batch of this step, float32 `[2 B, 1, M, F]`: rows i and B + i are crops of the same segment."""
        random = np.random.default_rng([self._seed, 2, step])
        drawn = random.choice(self._segments, self.batch, replace=False, p=self._probability)
        for segment in drawn:
            if not self._is_computed[segment]:
                self._spectrograms[segment] = self._spectrogram(segment)
                self._is_computed[segment] = True
        first = random.integers(self._spectrograms.shape[-1] - self.frames + 1, size=2 * self.batch)
        rows = [
            self._spectrograms[segment, :, at : at + self.frames]
            for segment, at in zip((*drawn, *drawn), first, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)[:, None]).float()

    @torch.no_grad()
    def _spectrogram(self, segment: int) -> Float16Array:
        # One at a time: in a batch of another size the last bits may differ, and a resumed run must not.
        mel: Tensor = self._mel(torch.from_numpy(self._dataset.window(segment))[None, None])
        return np.asarray(mel[0, 0].half())


class WindowBatches:
    """Up to `limit` whole windows in batches, the same windows in the same order on every iteration.

    >>> for batch in WindowBatches(dataset, split.train, 512, 0, torch.device("cpu")): ...  # doctest: +SKIP
    """

    batch_size: ClassVar[int] = 32

    def __init__(
        self, dataset: SegmentDataset, segments: Int64Array, limit: int, seed: int, device: torch.device
    ) -> None:
        # In random order, so that the first batches are a random sample, too.
        self.segments: Int64Array = np.random.default_rng([seed, 3]).permutation(segments)[:limit]
        self._dataset = dataset
        self._device = device

    def __len__(self) -> int:
        return -(-len(self.segments) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """Float32 `[B, 1, T]`, T as in `SegmentDataset.window`."""
        for at in range(0, len(self.segments), self.batch_size):
            windows = [self._dataset.window(segment) for segment in self.segments[at : at + self.batch_size]]
            yield torch.from_numpy(np.stack(windows)[:, None]).to(self._device)

"""What training reads: every sound of a folder, decoded once, kept beside the run, and random stretches of it.

The cache holds one file per sound, named after the sha256 of its bytes: 16-bit samples at 16 kHz, scaled by the
sound's own peak. It is never stale: a file that changes has another hash, a file that was renamed or copied has the
same. It may be deleted at any time. A sound is kept in *segments*: a short one is one segment of its own length; a
longer one is cut into windows of 2**17 samples without a gap, its silent ones left out; of a very long one up to
`SEGMENTS_PER_SOUND` windows are kept, evenly spread.

Which stretches a step sees depends on the seed and the number of the step alone, so that a run that was stopped goes on
with the very same ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boiler import files as files_module
from boiler.arrays import Float16Array, Float32Array, Int64Array
from boiler.audio.decoder_pool import Decoders, Done, Failed, Piece
from boiler.audio.stream import SUFFIXES
from boiler.audio.windows import SAMPLE_RATE_HZ, WINDOW_SAMPLES, Window, WindowSpec
from boiler.catalog.scan import FoundFile, Unreadable, walk
from boiler.errors import CorpusError
from boiler.model.mel import LogMel
from boiler.progress import meter

SEGMENTS_PER_SOUND = 256
"""35 minutes of one sound are enough to learn from; a ten-hour recording would crowd out the others, and the disk."""

WINDOWS = WindowSpec(SAMPLE_RATE_HZ, WINDOW_SAMPLES, hop_s=WINDOW_SAMPLES / SAMPLE_RATE_HZ)
"""What the network is trained on, whatever other encoders take; the windows do not overlap."""

FULL_SCALE = 32_767
SAMPLE_BYTES = 2


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why."""

    id: str
    reason: str


@dataclass
class _Kept:
    """Every m-th window of a sound, m doubled whenever there are too many."""

    every: int = 1
    seen: int = 0
    windows: list[Float32Array] = field(default_factory=list)

    def add(self, window: Window) -> None:
        if self.seen % self.every == 0:
            length = round((window.end_s - window.start_s) * SAMPLE_RATE_HZ)
            self.windows.append(window.samples[: min(length, WINDOW_SAMPLES)].astype(np.float32))
            if len(self.windows) > SEGMENTS_PER_SOUND:
                self.windows = self.windows[::2]
                self.every *= 2
        self.seen += 1

    def write(self, path: Path) -> None:
        """The scale is lost on purpose: every spectrogram is made of a window divided by its own peak."""
        samples = np.concatenate(self.windows)
        with files_module.replacing(path) as aside:
            (samples * (FULL_SCALE / np.abs(samples).max())).round().astype("<i2").tofile(aside)


class Sounds:
    """The decoded segments of a folder.

    Attributes:
        ids: the sounds that can be used, in order of their names.
        failures: those that cannot, with reasons. `silent`: ids of those with nothing but silence.
        sound: int64 `[S]`, for each segment the number of its sound. `length`: int64 `[S]`, its samples.
    """

    def __init__(
        self, cache_dir: Path, files: list[tuple[str, Path]], failures: list[Failure], silent: list[str]
    ) -> None:
        self.cache_dir = cache_dir
        self.ids = [id for id, _ in files]
        self.failures = failures
        self.silent = silent
        self._paths = [path for _, path in files]
        sound: list[int] = []
        start: list[int] = []
        length: list[int] = []
        for number, path in enumerate(self._paths):
            n_samples = path.stat().st_size // SAMPLE_BYTES
            for at in range(0, n_samples, WINDOW_SAMPLES):
                sound.append(number)
                start.append(at)
                length.append(min(WINDOW_SAMPLES, n_samples - at))
        self.sound, self._start, self.length = (np.array(each, np.int64) for each in (sound, start, length))

    def stretch(self, segment: int, offset: int, n_samples: int) -> Float32Array:
        """`n_samples` of a segment from `offset` on, going round and round in one that is shorter than a window, as an
        index does; in a full window the stretch must lie inside."""
        length = int(self.length[segment])
        begin, count = (offset, n_samples) if length == WINDOW_SAMPLES else (0, length)
        with self._paths[self.sound[segment]].open("rb") as stream:
            stream.seek(SAMPLE_BYTES * (int(self._start[segment]) + begin))
            samples = np.frombuffer(stream.read(SAMPLE_BYTES * count), "<i2").astype(np.float32)
        samples /= FULL_SCALE
        if length == WINDOW_SAMPLES:
            return samples
        return samples[(offset + np.arange(n_samples)) % length]

    def window(self, segment: int) -> Float32Array:
        """The segment as an index sees it: float32 `[WINDOW_SAMPLES]`."""
        return self.stretch(segment, 0, WINDOW_SAMPLES)


def prepare(wav_dir: Path, cache_dir: Path, workers: int = 2) -> Sounds:
    """Decode what is not decoded yet, in processes of their own, and open it all.

    Raises: `CorpusError` when the folder cannot be read, or none of its files can be used.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    unreadable = Unreadable()
    found = sorted(walk(wav_dir, SUFFIXES, unreadable=unreadable), key=lambda each: each.id)
    if not found:
        raise CorpusError(f"{wav_dir}: there is no sound in this folder ({', '.join(sorted(SUFFIXES))})")
    failures = [Failure(id, reason) for id, reason in unreadable.reasons.items()]
    known = _read_known(cache_dir)
    fresh = [each for each in found if not _is_known(each, known, cache_dir)]
    if fresh:
        with meter("decoding", len(fresh)) as progress, Decoders(workers=workers) as decoders:
            for each, hash_or_reason in _decode(decoders, wav_dir, cache_dir, fresh):
                if isinstance(hash_or_reason, Failure):
                    failures.append(hash_or_reason)
                else:
                    known[each.id] = [each.size_bytes, each.mtime_ns, hash_or_reason]
                progress.step()
        _write_known(cache_dir, known)
    bad = {failure.id for failure in failures}
    usable = [each for each in found if each.id not in bad]
    files = [(each.id, _path(cache_dir, known[each.id][2])) for each in usable]
    sounding = [(id, path) for id, path in files if path.stat().st_size]
    silent = [id for id, path in files if not path.stat().st_size]
    if not sounding:
        told = "; ".join(f"{failure.id}: {failure.reason}" for failure in failures[:3])
        raise CorpusError(
            f"{wav_dir}: none of its {len(found)} files can be learned from ({len(failures)} broken, {len(silent)} "
            f"silent){': ' + told if told else ''}"
        )
    return Sounds(cache_dir, sounding, failures, silent)


def _decode(
    decoders: Decoders, wav_dir: Path, cache_dir: Path, files: list[FoundFile]
) -> Iterator[tuple[FoundFile, str | Failure]]:
    """Each file with the hash under which it is now in the cache, or with why it is not."""
    kept: dict[str, _Kept] = {}
    by_id = {each.id: each for each in files}
    jobs = ((each.id, each.path(wav_dir)) for each in files)
    for event in decoders.windows(jobs, WINDOWS):
        match event:
            case Piece(id, windows):
                for window in windows:
                    kept.setdefault(id, _Kept()).add(window)
            case Done(id, sha256=sha256):
                path = _path(cache_dir, sha256)
                if not path.is_file():
                    path.parent.mkdir(exist_ok=True)
                    if id in kept:
                        kept[id].write(path)
                    else:
                        path.touch()  # empty: nothing but silence
                kept.pop(id, None)
                yield by_id[id], sha256
            case Failed(id, error):
                kept.pop(id, None)
                yield by_id[id], Failure(id, error.reason)


def _path(cache_dir: Path, sha256: str) -> Path:
    return cache_dir / sha256[:2] / f"{sha256}.int16"


def _is_known(found: FoundFile, known: dict[str, list[Any]], cache_dir: Path) -> bool:
    size_bytes, mtime_ns, sha256 = known.get(found.id, (None, None, None))
    unchanged = (size_bytes, mtime_ns) == (found.size_bytes, found.mtime_ns)
    return unchanged and sha256 is not None and _path(cache_dir, sha256).is_file()


def _read_known(cache_dir: Path) -> dict[str, list[Any]]:
    """Id to size, time and hash of the file when it was decoded, so that it need not be read to be found again."""
    try:
        known: dict[str, list[Any]] = json.loads((cache_dir / "known.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}  # it only saves time
    return known


def _write_known(cache_dir: Path, known: dict[str, list[Any]]) -> None:
    with files_module.replacing(cache_dir / "known.json") as aside:
        aside.write_text(json.dumps(known), encoding="utf-8")


class Split:
    """The segments to learn from, and those held out: whole sounds, drawn by the seed.

    With fewer than 10 sounds nothing is held out: `held` then is the training segments themselves.
    """

    def __init__(self, sounds: Sounds, held_share: float, seed: int) -> None:
        n_sounds = len(sounds.ids)
        n_held = max(1, round(held_share * n_sounds)) if n_sounds >= 10 and held_share > 0 else 0
        held = np.random.default_rng([seed, 1]).permutation(n_sounds)[:n_held]
        is_held = np.isin(sounds.sound, held)
        self.n_held_sounds = n_held
        self.train: Int64Array = np.flatnonzero(~is_held)
        self.held: Int64Array = np.flatnonzero(is_held) if n_held else self.train


class Pairs:
    """Training batches: of each drawn segment two stretches of its spectrogram, to be told from those of the others.

    A sound is drawn with a chance in proportion to the square root of its seconds: long ones hold more to learn, but
    must not crowd out the short ones. The spectrogram of a whole window is made when it is drawn first, and kept in a
    temporary file beside the cache (40 KB a window, where its samples have 260).
    """

    def __init__(self, sounds: Sounds, segments: Int64Array, mel: LogMel, batch: int, frames: int, seed: int) -> None:
        self.batch = min(batch, len(segments))
        self.frames = frames
        self._sounds = sounds
        self._segments = segments
        self._mel = mel
        self._seed = seed
        whole = np.bincount(sounds.sound[segments], sounds.length[segments], minlength=len(sounds.ids))
        chance = sounds.length[segments] / np.sqrt(whole[sounds.sound[segments]])
        self._chance = chance / chance.sum()
        shape = (len(sounds.sound), *self._spectrogram(int(segments[0])).shape)
        with tempfile.TemporaryFile(dir=sounds.cache_dir) as file:  # lives on, without a name, while it is mapped
            self._kept = np.memmap(file, np.float16, "w+", shape=shape)
        self._is_kept = np.zeros(len(sounds.sound), dtype=bool)

    def draw(self, step: int) -> Tensor:
        """Float32 `[2 B, 1, M, F]` for this step: row i and row B + i come from the same segment."""
        random = np.random.default_rng([self._seed, 2, step])
        drawn = random.choice(self._segments, self.batch, replace=False, p=self._chance)
        for segment in drawn:
            if not self._is_kept[segment]:
                self._kept[segment] = self._spectrogram(segment)
                self._is_kept[segment] = True
        first = random.integers(self._kept.shape[-1] - self.frames + 1, size=2 * self.batch)
        rows = [
            self._kept[segment, :, at : at + self.frames] for segment, at in zip((*drawn, *drawn), first, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)[:, None]).float()

    @torch.no_grad()
    def _spectrogram(self, segment: int) -> Float16Array:
        # One at a time: in a batch of another size the last bits may differ, and a resumed run must not.
        mel: Tensor = self._mel(torch.from_numpy(self._sounds.window(segment))[None, None])
        return np.asarray(mel[0, 0].half())


class Windows:
    """Whole windows in batches, the same ones in the same order each time: what learners and held-out losses read.

    >>> for batch in Windows(sounds, split.train, limit=512, seed=0): ...  # doctest: +SKIP
    """

    def __init__(self, sounds: Sounds, segments: Int64Array, limit: int, seed: int, device: torch.device) -> None:
        order = np.random.default_rng([seed, 3]).permutation(segments)[:limit]
        self.segments: Int64Array = np.sort(order)
        self.batch = 32
        self._sounds = sounds
        self._device = device

    def __len__(self) -> int:
        return -(-len(self.segments) // self.batch)

    def __iter__(self) -> Iterator[Tensor]:
        """Float32 `[B, 1, WINDOW_SAMPLES]`."""
        for at in range(0, len(self.segments), self.batch):
            windows = [self._sounds.window(segment) for segment in self.segments[at : at + self.batch]]
            yield torch.from_numpy(np.stack(windows)[:, None]).to(self._device)

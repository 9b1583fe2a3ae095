"""Compares a trained encoder with MFCC statistics on its own folder, without labels and without an index.

Sounds of the training folder are altered as in `boiler.evaluation.robustness`, and used as queries against the sounds
themselves, embedded by both encoders. The better encoder finds the original first more often.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch

from boiler import encoder
from boiler.arrays import Float32Array, batches
from boiler.audio.windows import fill_window
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.encoder.runtime import EncoderRuntime
from boiler.evaluation.ranking import Collection
from boiler.evaluation.robustness import ALTERATIONS, measure_alterations
from boiler.progress import meter
from boiler.training.dataset import SegmentDataset

MAX_SOUNDS = 128
MAX_QUERY_SOUNDS = 64
MAX_S = 30.0
UNALTERED = next(iter(ALTERATIONS))
EMBEDDING_SHARE = 0.3
"""The maximum fraction of the time to spend on embedding the unaltered sounds."""
_CHUNK = 8


@dataclass(frozen=True)
class BaselineComparison:
    """How often an altered sound finds its original first, 0 to 1, by each encoder, over `n_queries` queries."""

    encoder: str
    baseline: str
    found: float
    baseline_found: float
    n_queries: int

    @property
    def is_better(self) -> bool:
        """Whether the encoder is better than the baseline, or both are perfect."""
        return self.found > self.baseline_found or self.found == self.baseline_found == 1.0

    def __str__(self) -> str:
        return (
            f"altered sounds find their original in {100 * self.found:.1f} % of {self.n_queries} queries with"
            f" {self.encoder}, in {100 * self.baseline_found:.1f} % with {self.baseline}"
        )


def compare_with_baseline(
    pt_path: Path, dataset: SegmentDataset, *, max_s: float = MAX_S, seed: int = 0, device: str = "cpu"
) -> BaselineComparison:
    """Compare the default encoder of a checkpoint with MFCC statistics, on sounds drawn with the seed.

    max_s: the approximate time limit in seconds; fewer sounds are compared if it is too short for all
    """
    began = time.monotonic()
    max_s = min(max_s, MAX_S)
    segments = _segments(dataset, seed)
    trained = EncoderRuntime(encoder.create(encoder.DEFAULT, pt_path, device), device=device)
    vectors = []
    for chunk in batches(segments, _CHUNK):
        vectors.append(trained.embed(_windows(dataset, chunk)))
        if time.monotonic() - began > EMBEDDING_SHARE * max_s:
            break
    collection = Collection(np.concatenate(vectors))
    segments = segments[: len(collection)]

    statistics = MFCCStats()
    spec = MFCCStats.window_spec()
    at_rate = [_clip(dataset, segment, spec.sample_rate_hz) for segment in segments]
    windows = [np.stack([fill_window(clip) for clip in chunk]) for chunk in batches(at_rate, _CHUNK)]
    statistics.fit(torch.from_numpy(chunk)[:, None] for chunk in windows)
    baseline = EncoderRuntime(statistics.eval())
    by_baseline = np.concatenate([baseline.embed(chunk) for chunk in windows])
    contestants = ((trained, collection, dataset.spec), (baseline, Collection(by_baseline), spec))

    n_found, n_queries = np.zeros(len(contestants)), 0
    numbers = range(min(len(segments), MAX_QUERY_SOUNDS))
    with meter(f"comparing with {MFCCStats.__name__}", len(numbers)) as progress:
        for chunk in batches(numbers, _CHUNK):
            for which, (runtime, items, of) in enumerate(contestants):
                sounds = [_clip(dataset, segments[n], of.sample_rate_hz) for n in chunk]
                results = measure_alterations(items, chunk, items.vectors[chunk], sounds, runtime.embed, of, seed=seed)
                altered = [result for name, result in results.items() if name != UNALTERED]
                n_found[which] += sum(result.n_sounds * result.first.mean for result in altered)
            n_queries += len(chunk) * (len(ALTERATIONS) - 1)
            progress.step(len(chunk))
            if time.monotonic() - began > max_s:
                break
    found, baseline_found = (n_found / n_queries).tolist()
    return BaselineComparison(encoder.DEFAULT, MFCCStats.__name__, found, baseline_found, n_queries)


def _segments(dataset: SegmentDataset, seed: int) -> list[int]:
    """The first segments of up to `MAX_SOUNDS` sounds, drawn with the seed."""
    _, first = np.unique(dataset.sound, return_index=True)
    drawn: list[int] = np.random.default_rng([seed, 5]).permutation(first)[:MAX_SOUNDS].tolist()
    return drawn


def _clip(dataset: SegmentDataset, segment: int, sample_rate_hz: int) -> Float32Array:
    """The samples of a segment at a sampling rate."""
    samples = dataset.samples(segment, 0, int(dataset.length[segment]))
    if sample_rate_hz == dataset.spec.sample_rate_hz:
        return samples
    return np.asarray(soxr.resample(samples, dataset.spec.sample_rate_hz, sample_rate_hz, quality="HQ"), np.float32)


def _windows(dataset: SegmentDataset, segments: list[int]) -> Float32Array:
    return np.stack([dataset.window(segment) for segment in segments])

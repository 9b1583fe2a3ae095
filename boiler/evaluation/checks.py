"""Measurements that need the encoder or the sounds: baseline, robustness, codebook usage; and the engine's recall.

A function that cannot measure returns the reason as text: an index copied to another machine has no sounds beside it,
and one published from vectors alone has no encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boiler.arrays import Int64Array
from boiler.audio import stream
from boiler.audio.windows import fill_window
from boiler.engine import selection
from boiler.errors import SoundError
from boiler.evaluation import labelled_index, metrics
from boiler.evaluation import robustness as alterations
from boiler.evaluation.labelled_index import LabelledIndex
from boiler.evaluation.metrics import CodebookStats
from boiler.evaluation.ranking import Collection
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import EngineRecall

if TYPE_CHECKING:
    from boiler.encoder.runtime import EncoderRuntime

BASELINE = "MFCCStats"
MAX_BASELINE_SOUNDS = 5_000  # decoding more takes longer than the rest of the evaluation
ENGINE_QUERIES = 1_000
ENGINE_K = 10
CODEBOOK_SOUNDS = 200
UNUSED_SHARE = 0.01  # under soft assignment, a code below this fraction of the uniform share counts as unused

Advance = Callable[[int], None]
"""Progress: called with the number of items done since the last call."""


def compute_baseline(index: LabelledIndex, wanted: str, advance: Advance) -> Collection | str:
    """The same items embedded by MFCC statistics, or the reason why there are none. `wanted`: auto, always or never."""
    paths = index.paths()
    if index.generation.header.encoder == BASELINE:
        return "it is the encoder that is evaluated"
    if wanted == "never":
        return "switched off by --baseline never"
    if paths is None:
        return "the sounds are not on this machine (give their folder with --wav_dir)"
    if wanted == "auto" and len(paths) > MAX_BASELINE_SOUNDS:
        return f"more than {MAX_BASELINE_SOUNDS:,} sounds would have to be decoded (do so with --baseline always)"
    try:
        return labelled_index.baseline_collection(index, paths, advance)
    except SoundError as error:
        return f"{Path(error.path).name}: {error.reason}"


def measure_robustness(
    index: LabelledIndex, n_sounds: int, seed: int, device: str, advance: Advance
) -> dict[str, Robustness] | str:
    """Robustness on up to `n_sounds`, drawn with the seed among those whose first window is indexed; or the reason why
    it was not measured."""
    opened, paths = index.generation, index.paths()
    if paths is None or not opened.header.encoder_sha256:
        return f"the {'sounds are not on this machine' if paths is None else 'index has no encoder'}"
    numbers = _sample(index, n_sounds, seed)
    runtime = _runtime(index, device)
    spec = opened.header.window_spec
    sounds = (stream.load(paths[number], end_s=spec.window_s, sample_rate_hz=spec.sample_rate_hz) for number in numbers)
    originals = opened.vectors[index.first_rows[numbers]]
    try:
        return alterations.measure_alterations(
            index.collection,
            numbers.tolist(),
            originals,
            sounds,
            runtime.embed,
            spec,
            seed=seed,
            advance=advance,
        )
    except SoundError as error:
        return f"{Path(error.path).name}: {error.reason}"


def measure_codebook(index: LabelledIndex, seed: int, device: str) -> CodebookStats | None:
    """Codebook usage of an encoder whose vectors are bags of codes; None for other encoders.

    Counts the `codes` of a sample of the sounds. Without the sounds, usage is estimated from the vectors, which are the
    square roots of the codes' soft shares.
    """
    opened, paths = index.generation, index.paths()
    if not opened.header.encoder_sha256:
        return None
    runtime = _runtime(index, device)
    if not runtime.has_activations:
        return None
    if paths is None or not runtime.has_codes:
        return metrics.codebook_stats(np.square(np.asarray(opened.vectors), dtype=np.float64), min_share=UNUSED_SHARE)
    spec, counts = opened.header.window_spec, []
    for number in _sample(index, CODEBOOK_SOUNDS, seed):
        samples = stream.load(paths[number], end_s=spec.window_s, sample_rate_hz=spec.sample_rate_hz)
        window = fill_window(samples, spec.window_samples)
        counts.append(np.bincount(runtime.codes(window[None])[0], minlength=opened.header.dim))
    return metrics.codebook_stats(np.stack(counts))


def _sample(index: LabelledIndex, n_sounds: int, seed: int) -> Int64Array:
    """Up to `n_sounds` items whose first window is indexed, drawn with the seed, sorted."""
    starts = np.flatnonzero(index.generation.rows["start_s"][index.first_rows] == 0)
    return np.sort(np.random.default_rng(seed).permutation(starts)[:n_sounds])


def _runtime(index: LabelledIndex, device: str) -> EncoderRuntime:
    # Imported here because it imports torch, which the other checks do not need.
    from boiler.encoder.runtime import EncoderRuntime

    return EncoderRuntime.load(index.generation.path / "encoder.pt", device)


def measure_engine_recall(index: LabelledIndex, seed: int) -> EngineRecall:
    """Recall of the annoy file at the settings of a search, over a sample of the rows as queries."""
    opened = index.generation
    vectors = np.asarray(opened.vectors)
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:ENGINE_QUERIES])
    found, exact = (
        selection.load_engine(opened.path, opened.header.engine, name, vectors).query(vectors[rows], ENGINE_K)
        for name in ("annoy", "exact")
    )
    recall = metrics.ann_recall(vectors[rows], vectors, found.rows, exact.rows)
    answers = str(opened.header.engine.get("name", "exact"))
    published = opened.header.engine.get("annoy", {}).get("recall_at_10")
    return EngineRecall(answers, ENGINE_K, len(rows), recall, published)

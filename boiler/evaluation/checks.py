"""What needs the encoder itself or the sounds: the floor, altered sounds, words counted, the engine against the truth.

Each function gives what it found, or why it could not: an index copied to another machine has no sounds beside it, and
one published from vectors alone has no encoder.
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
from boiler.evaluation.labelled_index import Labelled
from boiler.evaluation.metrics import Words
from boiler.evaluation.ranking import Collection
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import EngineRecall

if TYPE_CHECKING:
    from boiler.encoder.runtime import EncoderRuntime

FLOOR = "MFCCStats"
FLOOR_UP_TO = 5_000  # sounds: decoding more takes longer than everything else together
ENGINE_QUERIES = 1_000
ENGINE_K = 10
WORD_SOUNDS = 200
USED = 0.01  # counted softly, a word with less than this part of its even share of all sounds is not used

Step = Callable[[int], None]


def floor(index: Labelled, wanted: str, step: Step) -> Collection | str:
    """The same items by MFCC statistics, or why not. `wanted`: auto, always or never."""
    paths = index.paths()
    if index.opened.header.encoder == FLOOR:
        return "the encoder is that itself"
    if wanted == "never":
        return "it was not wanted (--floor never)"
    if paths is None:
        return "the sounds are not here (--wav_dir names their folder)"
    if wanted == "auto" and len(paths) > FLOOR_UP_TO:
        return f"there are more than {FLOOR_UP_TO:,} sounds to decode (--floor always)"
    try:
        return labelled_index.floor(index, paths, step)
    except SoundError as error:
        return f"{Path(error.path).name}: {error.reason}"


def robustness(index: Labelled, n_sounds: int, seed: int, device: str, step: Step) -> dict[str, Robustness] | str:
    """Sounds drawn by the seed, altered and asked for, or why not. Only those whose first window was indexed."""
    opened, paths = index.opened, index.paths()
    if paths is None or not opened.header.encoder_sha256:
        return f"{'the sounds are' if paths is None else 'the encoder is'} not here"
    numbers = _sample(index, n_sounds, seed)
    runtime = _runtime(index, device)
    spec = opened.header.window_spec
    sounds = (stream.load(paths[number], end_s=spec.window_s, sample_rate_hz=spec.sample_rate_hz) for number in numbers)
    originals = opened.vectors[index.first_rows[numbers]]
    try:
        return alterations.measure(
            index.collection,
            numbers.tolist(),
            originals,
            sounds,
            runtime.embed,
            spec,
            seed=seed,
            step=step,
        )
    except SoundError as error:
        return f"{Path(error.path).name}: {error.reason}"


def words(index: Labelled, seed: int, device: str) -> Words | None:
    """How the codebook is used, where the encoder is a bag of words; None where it is not.

    Counted in a sample of the sounds (the nearest word of each cell: the encoder's `codes`). Where they are not here,
    the vectors tell, which are the square roots of the words' soft shares.
    """
    opened, paths = index.opened, index.paths()
    if not opened.header.encoder_sha256:
        return None
    runtime = _runtime(index, device)
    if not runtime.has_activations:
        return None
    if paths is None or not runtime.has_codes:
        return metrics.words(np.square(np.asarray(opened.vectors), dtype=np.float64), least=USED)
    spec, counts = opened.header.window_spec, []
    for number in _sample(index, WORD_SOUNDS, seed):
        samples = stream.load(paths[number], end_s=spec.window_s, sample_rate_hz=spec.sample_rate_hz)
        window = fill_window(samples, spec.window_samples)
        counts.append(np.bincount(runtime.codes(window[None])[0], minlength=opened.header.dim))
    return metrics.words(np.stack(counts))


def _sample(index: Labelled, n_sounds: int, seed: int) -> Int64Array:
    """Items whose first window was indexed, drawn by the seed, in order."""
    starts = np.flatnonzero(index.opened.rows["start_s"][index.first_rows] == 0)
    return np.sort(np.random.default_rng(seed).permutation(starts)[:n_sounds])


def _runtime(index: Labelled, device: str) -> EncoderRuntime:
    # Imported here because it imports torch, which the other checks do not need.
    from boiler.encoder.runtime import EncoderRuntime

    return EncoderRuntime.load(index.opened.path / "encoder.pt", device)


def engine_recall(index: Labelled, seed: int) -> EngineRecall:
    """What the annoy file finds, asked as searches ask it, for a sample of the rows."""
    opened = index.opened
    vectors = np.asarray(opened.vectors)
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:ENGINE_QUERIES])
    found, exact = (
        selection.load_engine(opened.path, opened.header.engine, name, vectors).query(vectors[rows], ENGINE_K)
        for name in ("annoy", "exact")
    )
    recall = metrics.engine_recall(vectors[rows], vectors, found.rows, exact.rows)
    answers = str(opened.header.engine.get("name", "exact"))
    published = opened.header.engine.get("annoy", {}).get("recall_at_10")
    return EngineRecall(answers, ENGINE_K, len(rows), recall, published)

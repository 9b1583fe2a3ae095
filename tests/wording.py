"""Word models of few classes, and an index that one of them scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boiler.arrays import Float32Array
from boiler.catalog.items import Item
from boiler.crossmodal.common_space import DIM, WordSpace, mean_vector, words_of
from boiler.crossmodal.word_model import WordModel
from boiler.store import build, generation
from boiler.store.header import Header, rows_of

CLASSES = ("Dog", "Bark", "Rain", "Rain on surface", "Violin, fiddle", "Sneeze")


def word_model(classes: Sequence[str] = CLASSES, encoder_sha256: str = "", dim: int | None = None) -> WordModel:
    """A model whose class n is the more probable the larger number n of a vector is."""
    n, dim = len(classes), dim or len(classes)
    eye = np.eye(dim, n, dtype=np.float32)
    weights = {
        "mean": np.zeros(dim, np.float32),
        "scale": np.ones(dim, np.float32),
        "hidden_weight": eye,
        "hidden_bias": np.zeros(n, np.float32),
        "weight": 8 * np.eye(n, dtype=np.float32),
        "bias": np.zeros(n, np.float32),
    }
    return WordModel(tuple(classes), weights, encoder_sha256)


def common_space(labels: Sequence[str], encoder_sha256: str = "") -> WordSpace:
    """A space in which a vector lies where the label is whose number n is that of its largest number."""
    vectors = [vector for label in labels if (vector := mean_vector(words_of(label))) is not None]
    eye = np.eye(len(vectors[0]), DIM, dtype=np.float32)
    weights = {
        "mean": np.zeros(len(vectors), np.float32),
        "scale": np.full(len(vectors), 0.1, np.float32),
        "sound_weight": np.stack(vectors) @ eye,
        "sound_bias": np.sum(vectors, axis=0) @ eye * 50,
        "query_weight": eye,
        "query_bias": np.zeros(DIM, np.float32),
    }
    return WordSpace(weights, encoder_sha256, tuple(labels))


def publish_with_words(
    model_dir: Path,
    vectors: Float32Array,
    numbers: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> None:
    """An index of these vectors [N, `CLASSES`], one row an item unless `numbers` say otherwise, with word scores."""
    model = word_model()
    file = model_dir.with_suffix(".safetensors")
    model.save(file)
    numbers = range(len(vectors)) if numbers is None else numbers
    items = [
        Item(n, f"{n}.wav" if ids is None else ids[n], url=f"{n}.wav", label=None if labels is None else labels[n])
        for n in sorted({*numbers})
    ]
    words = build.WordScoring(file, len(CLASSES), model.scores)
    header = Header("JoinedGeneral", vectors.shape[1])
    generation.publish(model_dir, header, np.asarray(vectors, np.float32), rows_of(list(numbers)), items, words=words)

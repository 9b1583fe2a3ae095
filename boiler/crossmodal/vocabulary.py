"""Word vectors: 51,000 English words, each as 50 numbers of unit length, near to words that are used alike.

They are GloVe's (Pennington, Socher and Manning, 2014; public domain), shrunk by `exp.words.vocabulary` to 8 bits a
number. numpy only; loaded once a process, in some hundredths of a second.

>>> vocabulary = load()
>>> [word for word, _ in vocabulary.nearest(vocabulary.vector("dog"), 3)]
['dog', 'cat', 'dogs']
>>> vocabulary.vector("qwrtz") is None
True
"""

from __future__ import annotations

import difflib
import functools
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from boiler import files
from boiler.arrays import Float32Array
from boiler.errors import CheckpointError, first_line

FILE = Path(__file__).with_name("vocabulary.safetensors")
_STOP_WORDS = """
a an and any are as at be been being but by can could did do does for from had has have he her his i if in into is it
its like me my no not of off on onto or our out over she so some sound sounds that the their them then there these they
this those to under up us very was we were what when where which who will with you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say nothing of how something sounds."""
_MAX_GUESSES = 3


class WordVectors:
    """Words and their vectors, unit length. Shape: vectors float32 [N, 50]"""

    def __init__(self, words: Sequence[str], vectors: Float32Array) -> None:
        self.words = tuple(words)
        self.vectors = vectors
        self._place = {word: n for n, word in enumerate(self.words)}

    def __contains__(self, word: object) -> bool:
        return word in self._place

    def __len__(self) -> int:
        return len(self.words)

    def vector(self, word: str) -> Float32Array | None:
        """Of a word in lower case; None if it is unknown. Shape: [50]"""
        place = self._place.get(word)
        return None if place is None else self.vectors[place]

    def nearest(self, vector: Float32Array, k: int) -> list[tuple[str, float]]:
        """The k words whose vectors are nearest, with the cosine, nearest first. Shape: vector [50]"""
        similarity = self.vectors @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        best = np.argpartition(-similarity, min(k, len(self.words) - 1))[:k]
        best = best[np.argsort(-similarity[best], kind="stable")]
        return [(self.words[n], float(similarity[n])) for n in best.tolist()]

    def spelled_alike(self, word: str) -> list[str]:
        """Up to 3 known words with a similar spelling, the most similar first."""
        alike = [known for known in self.words if abs(len(known) - len(word)) <= 2 and {*known[:2]} & {*word[:2]}]
        return difflib.get_close_matches(word, alike, _MAX_GUESSES, 0.7)


def save(path: Path, words: Sequence[str], vectors: Float32Array) -> None:
    """Write words and vectors, 8 bits a number. Shape: vectors [N, D]"""
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    step = (high - low) / 255
    arrays = {
        "vectors": np.round((vectors - low) / step).astype(np.uint8),
        "low": low.astype(np.float32),
        "step": step.astype(np.float32),
        "words": np.frombuffer(zlib.compress("\n".join(words).encode(), 9), np.uint8),
    }
    with files.replacing(path) as aside:
        save_file(arrays, aside)


@functools.lru_cache(2)
def load(path: Path = FILE) -> WordVectors:
    """The words of the package, or of another file that `save` wrote.

    Raises: CheckpointError: it is missing or damaged.
    """
    try:
        arrays = load_file(path)
        words = zlib.decompress(arrays["words"].tobytes()).decode().split("\n")
        vectors = arrays["vectors"].astype(np.float32) * arrays["step"] + arrays["low"]
        if len(words) != len(vectors):
            raise ValueError(f"{len(words)} words, {len(vectors)} vectors")
    except (OSError, SafetensorError, KeyError, ValueError, zlib.error) as error:
        raise CheckpointError(
            f"{path}: these are no word vectors ({first_line(error)}): install boiler anew"
        ) from error
    return WordVectors(words, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

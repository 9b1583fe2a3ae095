"""What a sound answers to: a tagger whose class names make the bridge from words to sounds.

A `WordModel` gives the vector of a sound the probability of each of some hundred classes, such as *bark* or *rain on
surface*. A query need not be one of their names: it goes to the classes whose names are nearest by word vectors
(`boiler.crossmodal.vocabulary`), so *hound* finds what *dog* finds, though no label ever said so. The model of the
package is trained by `exp.words.train`; `boiler index` stores its scores of every window beside the vectors, so that a
query in words reads a few columns of bytes and needs neither torch nor the vectors.

>>> model = load()
>>> model.nearest_classes(["hound"])[0].name
'dog'

The file is safetensors, with a JSON header in its metadata; it holds no code. numpy only.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from boiler import files
from boiler.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from boiler.crossmodal import vocabulary
from boiler.errors import CheckpointError, QueryError, first_line

FORMAT = "boiler word model"
FORMAT_VERSION = 1
FILE = Path(__file__).with_name("words.safetensors")
NEAREST_CLASSES = 3
"""Classes that a query goes to."""
SHARPNESS = 0.05
"""How much nearer a class must be to weigh e times as much as another one, as a cosine."""
LOG_STEP = 1 / 16
"""Of stored scores: natural logarithms of probabilities, from -255 / 16 to 0."""
_PROBABILITIES = np.exp(LOG_STEP * (np.arange(256) - 255)).astype(np.float32)
_BATCH = 1_024
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class and its probability, or its weight in a query."""

    name: str
    score: float


class _Names(NamedTuple):
    """The names of classes: the number of the class, ascending, and the vector of each; and the words in them, each by
    itself and by its stem."""

    numbers: Int64Array
    vectors: Float32Array
    forms: Mapping[str, str]

    @property
    def firsts(self) -> Int64Array:
        """The place of the first name of each class."""
        return np.flatnonzero(np.diff(self.numbers, prepend=-1))


@dataclass(frozen=True)
class WordModel:
    """C classes of vectors of D numbers.

    classes: their names; a comma separates names of the same class
    weights: of a network of one hidden layer, float32: `mean`, `scale` [D], `hidden_weight` [D, H], `hidden_bias`,
        `weight` [H, C], `bias`
    encoder_sha256: of the weights of the general encoder that made the vectors
    """

    classes: tuple[str, ...]
    weights: Mapping[str, AnyArray]
    encoder_sha256: str

    def __post_init__(self) -> None:
        if not len(self._names.numbers):
            raise ValueError("no class has a name of known words")

    @functools.cached_property
    def _titles(self) -> tuple[str, ...]:
        return tuple(re.split(r"[,(]", name)[0].strip().lower() for name in self.classes)

    @functools.cached_property
    def _number_of(self) -> dict[str, int]:
        return {title: n for n, title in reversed([*enumerate(self._titles)])}

    @functools.cached_property
    def _names(self) -> _Names:
        known = vocabulary.load()
        numbers, vectors = [], []
        forms: dict[str, str] = {}
        for number, name in enumerate(self.classes):
            words = [word for word in _WORD.findall(name.lower()) if word in known]
            forms |= {stem(word): word for word in words} | {word: word for word in words}
            for one in name.lower().split(","):  # "Whimper (dog)" is not a name of dogs
                found = [known.vector(word) for word in _WORD.findall(one)]
                if present := [vector for vector in found if vector is not None]:
                    numbers.append(number)
                    vectors.append(_mean(present))
        return _Names(np.array(numbers, np.int64), np.array(vectors, np.float32), forms)

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return len(self.weights["mean"])

    def log_probabilities(self, vectors: Float32Array) -> Float32Array:
        """Natural logarithms of the probabilities of the classes, which compete: those of a sound add up to 1.

        Shape: [N, D] to [N, C]

        Raises: QueryError: vectors of another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise QueryError(f"this word model takes vectors of {self.dim} numbers, not {list(vectors.shape)}")
        weights = self.weights
        hidden = (vectors - weights["mean"]) / weights["scale"] @ weights["hidden_weight"] + weights["hidden_bias"]
        logits = np.maximum(hidden, 0) @ weights["weight"] + weights["bias"]
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.float32)

    def scores(self, vectors: Float32Array) -> UInt8Array:
        """The log probabilities as they are stored, in steps of `LOG_STEP`. Shape: [N, D] to [N, C]"""
        found = np.empty((len(vectors), len(self.classes)), np.uint8)
        for begin in range(0, len(vectors), _BATCH):
            logs = self.log_probabilities(np.asarray(vectors[begin : begin + _BATCH], np.float32))
            found[begin : begin + _BATCH] = np.round(logs / LOG_STEP + 255).clip(0, 255)
        return found

    def nearest_classes(self, words: Sequence[str], k: int = NEAREST_CLASSES) -> list[ClassScore]:
        """The k classes whose names are nearest to known words in lower case, with weights that add up to 1.

        The similarity of a class is the mean of that to all words together and of those to each, so that one of several
        words that names a class exactly counts. A form of a word in a name counts as that word: *sneezing* as *sneeze*.

        Raises: QueryError: none of the words is known.
        """
        similarity = self._similarity(words)
        if similarity is None:
            raise QueryError(f"no known word among {', '.join(words) or 'none'}")
        return self._weighted(similarity, k)

    def nearest_to_names(
        self, names: Sequence[Sequence[str]], k: int = NEAREST_CLASSES
    ) -> tuple[list[ClassScore], float]:
        """As `nearest_classes` for several names of the same thing, each of some words: a class is as near as it is to
        the nearest name. Also the similarity of the nearest class, up to 1. Nothing and 0 if no word is known."""
        found = [similarity for words in names if (similarity := self._similarity(words)) is not None]
        if not found:
            return [], 0.0
        best: Float32Array = np.max(found, axis=0)
        return self._weighted(best, k), float(best.max())

    def _similarity(self, words: Sequence[str]) -> Float32Array | None:
        """Of words to the classes that have a name, in the order of their numbers; None if no word is known."""
        known = vocabulary.load()
        names = self._names
        called = [names.forms.get(word) or names.forms.get(stem(word), word) for word in words]
        vectors = [vector for word in called if (vector := known.vector(word)) is not None]
        if not vectors:
            return None
        to_names = names.vectors @ np.stack([_mean(vectors), *vectors]).T
        each = np.maximum.reduceat(to_names, names.firsts, axis=0)  # a class is as near as the nearest of its names
        return np.asarray((each[:, 0] + each[:, 1:].mean(axis=1)) / 2, np.float32)

    def _weighted(self, similarity: Float32Array, k: int) -> list[ClassScore]:
        order = np.argsort(-similarity, kind="stable")[:k]
        similarity, best = similarity[order], self._names.numbers[self._names.firsts[order]]
        weight = np.exp((similarity - similarity[0]) / SHARPNESS)
        weight /= weight.sum()
        return [ClassScore(self.title(n), float(one)) for n, one in zip(best.tolist(), weight, strict=True)]

    def title(self, number: int) -> str:
        """The first name of a class, in lower case.

        >>> load().title(load().classes.index("Baby cry, infant cry"))
        'baby cry'
        """
        return self._titles[number]

    def numbers_of(self, classes: Sequence[ClassScore]) -> list[int]:
        """The numbers of classes that `nearest_classes` returned."""
        return [self._number_of[one.name] for one in classes]

    def top(self, scores: UInt8Array, k: int) -> list[ClassScore]:
        """The k most probable classes of one sound, most probable first. Shape: scores [C]"""
        order = np.argsort(-scores.astype(np.int16), kind="stable")[:k].tolist()
        return [ClassScore(self.title(n), round(float(_PROBABILITIES[scores[n]]), 4)) for n in order]

    def save(self, path: Path) -> None:
        """Write the file, atomically; weights in half precision. The same model gives the same bytes."""
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": self.classes,
            "encoder_sha256": self.encoder_sha256,
        }
        tensors = {name: np.ascontiguousarray(value, np.float16) for name, value in self.weights.items()}
        with files.replacing(path) as aside:
            save_file(tensors, aside, {"boiler": json.dumps(header, ensure_ascii=False, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> WordModel:
        """Raises: CheckpointError: missing, damaged, not a word model, or of a later version."""
        try:
            with safe_open(path, "np") as file:
                header = json.loads((file.metadata() or {})["boiler"])
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            if header["format"] != FORMAT:
                raise KeyError(FORMAT)
            if header["format_version"] != FORMAT_VERSION:
                raise CheckpointError(f"{path}: format {header['format_version']} of a newer boiler: update boiler")
            model = cls(tuple(header["classes"]), tensors, header["encoder_sha256"])
            if model.log_probabilities(np.zeros((1, model.dim), np.float32)).shape != (1, len(model.classes)):
                raise ValueError("its arrays do not match its classes")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a word model, or damaged ({first_line(error)})") from error
        return model


@functools.lru_cache(4)
def load(path: Path = FILE) -> WordModel:
    """`WordModel.load`, once a process for each file; by default that of the package."""
    return WordModel.load(path)


def query_probabilities(columns: Sequence[UInt8Array], weights: Sequence[float]) -> Float32Array:
    """The weighted mean of stored probabilities. Shape: columns, one a class, [N], to [N]"""
    total = np.zeros(columns[0].shape, np.float32)
    for column, weight in zip(columns, weights, strict=True):
        total += (np.float32(weight) * _PROBABILITIES)[column]
    return total


def stem(word: str) -> str:
    """What the forms of a word share, roughly.

    >>> {stem(word) for word in ("sneeze", "sneezes", "sneezed", "sneezing")}, stem("chopping") == stem("chop")
    ({'sneez'}, True)
    """
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) >= len(ending) + 3:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _mean(vectors: Sequence[Float32Array]) -> Float32Array:
    """Of unit length."""
    total = np.sum(vectors, axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)

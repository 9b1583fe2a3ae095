"""Spaces that sounds share with words, or with pictures. `boiler.train_words` and `boiler.train_pictures` write them,
search reads them.

The vector of a sound and that of a query (a word vector, or the features of a picture) are each projected once, to
`DIM` numbers of unit length; their cosine says how well they match. A word need not be a label of the training: its
GloVe vector says which labels it is near to. numpy only.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from boiler import files
from boiler.arrays import AnyArray, Float32Array
from boiler.crossmodal import vocabulary
from boiler.crossmodal.word_model import ClassScore
from boiler.errors import CheckpointError, QueryError, WrongEncoderError, first_line

if TYPE_CHECKING:
    from boiler.crossmodal.sentences import SentenceEncoder

FORMAT_VERSION = 1
DIM = 128
NEAREST_LABELS = 3
"""Labels that are named as nearest to a query."""
UNSAVED = ("weights", "sentences")
"""Fields that are not in the header of a file."""
_BATCH = 4_096
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class CommonSpace:
    """Projections of vectors of sounds, D numbers, and of vectors of queries, E numbers.

    weights: float32: `mean`, `scale` [D], `sound_weight` [D, DIM], `sound_bias` [DIM], `query_weight` [E, DIM],
        `query_bias` [DIM]
    encoder_sha256: of the encoder that made the vectors of the training
    """

    FORMAT: ClassVar[str]
    NAME: ClassVar[str]
    """Of the queries; the files of a run are called NAME_NNN.pt."""
    FILE: ClassVar[str]
    COMMAND: ClassVar[str]

    weights: Mapping[str, Float32Array]
    encoder_sha256: str

    @property
    def dim(self) -> int:
        """The length of a vector of a sound, D."""
        return len(self.weights["mean"])

    @property
    def query_dim(self) -> int:
        """The length of a vector of a query, E."""
        return len(self.weights["query_weight"])

    def of_sounds(self, vectors: Float32Array) -> Float32Array:
        """Shape: [N, D] to [N, DIM], unit length"""
        weights = self.weights
        found = np.empty((len(vectors), DIM), np.float32)
        for begin in range(0, len(vectors), _BATCH):
            scaled = (np.asarray(vectors[begin : begin + _BATCH]) - weights["mean"]) / weights["scale"]
            found[begin : begin + _BATCH] = _unit(scaled @ weights["sound_weight"] + weights["sound_bias"])
        return found

    def of_queries(self, vectors: Float32Array) -> Float32Array:
        """Shape: [N, E] to [N, DIM], unit length"""
        return _unit(vectors @ self.weights["query_weight"] + self.weights["query_bias"])

    def check_encoder(self, encoder_sha256: str, where: Path) -> None:
        """Raises: WrongEncoderError: the vectors of `where` are of another encoder than those of the training."""
        if self.encoder_sha256 != encoder_sha256:
            raise WrongEncoderError(
                f"this model of {self.NAME} was trained on vectors of the encoder"
                f" {self.encoder_sha256[:12] or '(none)'}, but those of {where} are of the encoder"
                f" {encoder_sha256[:12] or '(none)'}: train one with python -m boiler.{self.COMMAND} --model_dir"
                f" {where}"
            )

    def save(self, path: Path) -> None:
        """Write the file, atomically. The same model gives the same bytes."""
        header = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in UNSAVED}
        header |= {"format": self.FORMAT, "format_version": FORMAT_VERSION}
        tensors = {name: np.ascontiguousarray(value, np.float32) for name, value in self.weights.items()}
        with files.replacing(path) as aside:
            save_file(tensors, aside, {"boiler": json.dumps(header, ensure_ascii=False, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: CheckpointError: missing, damaged, something else, or of a later version."""
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file. python -m boiler.{cls.COMMAND} writes {cls.FILE}")
        try:
            with safe_open(path, "np") as file:
                header = json.loads((file.metadata() or {})["boiler"])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            if header.pop("format") != cls.FORMAT:
                raise KeyError(cls.FORMAT)
            if (version := header.pop("format_version")) != FORMAT_VERSION:
                raise CheckpointError(f"{path}: format {version} of a newer boiler: update boiler")
            header = {name: tuple(value) if isinstance(value, list) else value for name, value in header.items()}
            space = cls(weights=weights, **header)
            space.of_sounds(np.zeros((1, space.dim), np.float32))
            space.of_queries(np.zeros((1, space.query_dim), np.float32))
            space._check()
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, QueryError) as error:
            raise CheckpointError(f"{path}: not a model of {cls.COMMAND}, or damaged ({first_line(error)})") from error
        return space

    def _check(self) -> None:
        """Raises: QueryError, TypeError, ValueError: it cannot be searched with."""


@dataclass(frozen=True)
class WordSpace(CommonSpace):
    """Words and sounds.

    labels: those of the training that hold a known word, sorted
    sentence_sha256: of the model that makes the vectors of words; empty: they are GloVe's
    sentences: that model, opened by `with_sentences`
    """

    FORMAT: ClassVar[str] = "boiler common space"
    NAME: ClassVar[str] = "words"
    FILE: ClassVar[str] = "words.safetensors"
    COMMAND: ClassVar[str] = "train_words"

    labels: tuple[str, ...]
    sentence_sha256: str = ""
    sentences: SentenceEncoder | None = field(default=None, compare=False, repr=False)

    def with_sentences(self, folder: Path) -> WordSpace:
        """The same with its model of sentences, if it needs one. folder: of that model

        Raises: CheckpointError: there is none, or another one than that of the training.
        """
        if not self.sentence_sha256:
            return self
        from boiler.crossmodal import sentences  # loads transformers

        found = sentences.load(folder)
        if found.sha256 != self.sentence_sha256:
            raise CheckpointError(
                f"this model of words was trained with the sentence model {self.sentence_sha256[:12]}, not with that of"
                f" {folder} ({found.sha256[:12]}): give it with --sentence_model"
            )
        return replace(self, sentences=found)

    def of_words(self, words: Sequence[str]) -> Float32Array:
        """Of known words together, in their order. Shape: [DIM], unit length

        Raises: QueryError: none of them is known.
        """
        vector = mean_vector(words) if self.sentences is None else self.sentences.embed([" ".join(words)])[0]
        if vector is None:
            raise QueryError(f"no known word among {', '.join(words) or 'none'}")
        projected: Float32Array = self.of_queries(vector[None])[0]
        return projected

    def words_of(self, name: str) -> tuple[str, ...]:
        """The words in the name of a label: the known ones, or all with a model of sentences."""
        return words_of(name, any_word=bool(self.sentence_sha256))

    @functools.cached_property
    def _label_vectors(self) -> Float32Array:
        """Shape: [labels, DIM]"""
        return np.stack([self.of_words(self.words_of(label)) for label in self.labels])

    def label_scores(self, vectors: Float32Array) -> Float32Array:
        """The cosine of each label to each vector of the space. Shape: [N, DIM] to [N, labels]"""
        return np.asarray(vectors @ self._label_vectors.T, np.float32)

    def nearest_labels(self, vectors: Float32Array, k: int = NEAREST_LABELS) -> list[ClassScore]:
        """The k labels that are nearest to any of some vectors of the space, with the cosine. Shape: [N, DIM]"""
        scores = self.label_scores(vectors).max(axis=0)
        order = np.argsort(-scores, kind="stable")[:k].tolist()
        return [ClassScore(" ".join(self.words_of(self.labels[n])), round(float(scores[n]), 4)) for n in order]

    def _check(self) -> None:
        if not self.sentence_sha256:
            self.label_scores(np.zeros((1, DIM), np.float32))


@dataclass(frozen=True)
class PictureSpace(CommonSpace):
    """Pictures and sounds. image_sha256: of the network whose features pictures have, `PictureNetwork.sha256`"""

    FORMAT: ClassVar[str] = "boiler common space of pictures"
    NAME: ClassVar[str] = "pictures"
    FILE: ClassVar[str] = "pictures.safetensors"
    COMMAND: ClassVar[str] = "train_pictures"

    image_sha256: str

    def of_picture(self, features: Float32Array, image_sha256: str) -> Float32Array:
        """Of the features of a picture, [E]. Shape: [DIM], unit length

        Raises: CheckpointError: they are of another network than those of the training.
        """
        if image_sha256 != self.image_sha256:
            raise CheckpointError(
                f"this model of pictures was trained on features of the network {self.image_sha256[:12]}, not of"
                f" {image_sha256[:12]}: give that one with --image_model, or train another with boiler.train_pictures"
            )
        projected: Float32Array = self.of_queries(features[None])[0]
        return projected


@dataclass(frozen=True)
class Spaces:
    """The models that an index is searched with in words and by pictures, instead of those that come with it."""

    words: WordSpace | None = None
    pictures: PictureSpace | None = None

    def check_encoder(self, encoder_sha256: str, where: Path) -> None:
        """Raises: WrongEncoderError: one of them is of another encoder."""
        for space in (self.words, self.pictures):
            if space is not None:
                space.check_encoder(encoder_sha256, where)


def words_of(name: str, *, any_word: bool = False) -> tuple[str, ...]:
    """The known words in the name of a label, a folder or a file, or with `any_word` all, without those that say
    nothing of a sound.

    >>> words_of("dog_bark-2"), words_of("BabyCry"), words_of("x17")
    (('dog', 'bark'), ('baby', 'cry'), ())
    """
    known = vocabulary.load()
    words = _WORD.findall(_CAMEL_CASE.sub(" ", name).lower())
    said = [one for one in words if len(one) > 1 and one not in vocabulary.STOP_WORDS]
    return tuple(dict.fromkeys(one for one in said if any_word or one in known))


def mean_vector(words: Sequence[str]) -> Float32Array | None:
    """The mean direction of the known ones among some words; None if there is none. Shape: [E], unit length"""
    known = vocabulary.load()
    found = [vector for word in words if (vector := known.vector(word)) is not None]
    return _unit(np.sum(found, axis=0)[None])[0] if found else None


def _unit(rows: AnyArray) -> Float32Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)

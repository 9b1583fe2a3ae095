"""What a common space is learned from: sounds, and the labels or pictures that belong to them.

The two kinds have the same arrays. They differ in what a query is, in how sounds are held out of training, and in what
is measured on these.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from boiler.arrays import BoolArray, Float16Array, Float32Array, Int64Array
from boiler.crossmodal.common_space import CommonSpace, PictureSpace, WordSpace, mean_vector, words_of
from boiler.errors import CorpusError

if TYPE_CHECKING:
    from boiler.crossmodal.sentences import SentenceEncoder

RECALL_AT = (1, 10)
Space = TypeVar("Space", bound=CommonSpace)


@dataclass(frozen=True)
class TrainingPairs(ABC, Generic[Space]):
    """N sounds, and M labels or pictures that belong to some of them.

    vectors: [N, D], of the sounds, or their spectrograms, float16 [N, M, F]; queries: [M, E], of the labels or pictures
    has: sparse, bool [N, M]: which labels or pictures a sound has; every sound at least one, none all of them
    """

    SPACE: ClassVar[type[CommonSpace]]

    vectors: Float32Array | Float16Array
    queries: Float32Array
    has: Any  # scipy's csr_array, which has no types

    @abstractmethod
    def groups(self) -> Int64Array:
        """The group of each sound, from 0; a group is trained on, or held out, as a whole. Shape: [N]"""

    @abstractmethod
    def scaling(self, trained: Int64Array) -> tuple[Float32Array, float]:
        """What is subtracted from the vectors of queries before they are projected, [E], and what they are divided
        by."""

    @abstractmethod
    def space(self, weights: Mapping[str, Float32Array], encoder_sha256: str) -> Space:
        """The model for search."""

    @abstractmethod
    def metrics(self, sounds: Float32Array, queries: Float32Array, held: Int64Array) -> dict[str, float]:
        """How well held-out sounds and queries find each other, by name. Shape: those of the sounds `held`, and of all
        queries, in the space"""

    @abstractmethod
    def summary(self, metrics: Mapping[str, float]) -> str:
        """These metrics as a sentence."""

    def of(self, chosen: Int64Array) -> BoolArray:
        """Which labels or pictures some sounds have. Shape: [B] to [B, M]"""
        return np.asarray(self.has[chosen].toarray(), bool)

    def split(self, held_share: float, seed: int) -> tuple[Int64Array, Int64Array]:
        """The sounds to train on, of at least two groups, and those held out."""
        groups = self.groups()
        n_groups = int(groups.max()) + 1
        order = np.random.default_rng(seed).permutation(n_groups)
        n_held = max(0, min(round(held_share * n_groups), n_groups - 2))
        is_held = np.isin(groups, order[:n_held])
        return np.flatnonzero(~is_held), np.flatnonzero(is_held)

    def sha256(self) -> str:
        """Of everything that a run depends on."""
        digest = hashlib.sha256()
        for array in (self.vectors, self.queries, self.has.indptr, self.has.indices):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class LabelledVectors(TrainingPairs[WordSpace]):
    """Sounds with labels, each of which holds a known word. label_names: sorted, [M]; sounds: [N], the number of the
    sound that each is a window of; sentence_sha256: of the model that made the vectors of the labels, if not GloVe"""

    SPACE: ClassVar[type[CommonSpace]] = WordSpace

    label_names: tuple[str, ...]
    sounds: Int64Array
    sentence_sha256: str = ""

    @classmethod
    def from_labels(
        cls,
        vectors: Float32Array | Float16Array,
        labels: Sequence[Sequence[str]],
        sounds: Int64Array | None = None,
        sentences: SentenceEncoder | None = None,
    ) -> LabelledVectors:
        """The sounds that have a label with a known word. Shape: vectors [N, D]; labels: those of each; sounds [N]:
        windows of one sound have the same number; sentences: makes the vectors of the labels instead of GloVe

        Raises: CorpusError: there are fewer than two labels of known words, or than two sounds with one, but not all.
        """
        every = sorted({name for names in labels for name in names})
        if sentences is None:
            found = {name: vector for name in every if (vector := mean_vector(words_of(name))) is not None}
        else:
            texts = {name: " ".join(words) for name in every if (words := words_of(name, any_word=True))}
            found = dict(zip(texts, sentences.embed([*texts.values()]), strict=True)) if texts else {}
        place = {name: n for n, name in enumerate(found)}
        pairs = [(row, place[name]) for row, names in enumerate(labels) for name in names if name in place]
        has, useful = _related(pairs, len(labels), len(found))
        if len(found) < 2 or len(useful) < 2:
            raise CorpusError(
                "there must be two sounds with different labels of known English words, such as dog and rain; the"
                f" labels are {', '.join(every[:10]) or 'none'}"
            )
        numbers = np.arange(len(labels)) if sounds is None else sounds
        sha256 = "" if sentences is None else sentences.sha256
        kept = vectors if len(useful) == len(labels) else vectors[useful]  # spectrograms stay in their file
        queries = np.stack([*found.values()])
        return cls(kept, queries, has[useful], tuple(found), numbers[useful], sha256)

    def groups(self) -> Int64Array:
        return np.unique(self.sounds, return_inverse=True)[1].astype(np.int64)

    def scaling(self, trained: Int64Array) -> tuple[Float32Array, float]:
        return np.zeros(self.queries.shape[1], np.float32), 1.0

    def space(self, weights: Mapping[str, Float32Array], encoder_sha256: str) -> WordSpace:
        return WordSpace(weights, encoder_sha256, self.label_names, self.sentence_sha256)

    def metrics(self, sounds: Float32Array, queries: Float32Array, held: Int64Array) -> dict[str, float]:
        """`label_accuracy`: the share of these sounds whose nearest label, of all, is theirs; `chance`: that of a
        random label."""
        has = self.of(held)
        best = (sounds @ queries.T).argmax(axis=1)
        return {"label_accuracy": float(has[np.arange(len(has)), best].mean()), "chance": float(has.mean())}

    def summary(self, metrics: Mapping[str, float]) -> str:
        return (
            "of sounds held out of training, {label_accuracy:.1%} were nearest to a label of theirs (by chance"
            " {chance:.1%})"
        ).format(**metrics)


@dataclass(frozen=True)
class PicturedVectors(TrainingPairs[PictureSpace]):
    """Sounds with pictures. image_sha256: of the network that made their features, `PictureNetwork.sha256`"""

    SPACE: ClassVar[type[CommonSpace]] = PictureSpace

    image_sha256: str

    @classmethod
    def from_pairs(
        cls, vectors: Float32Array, features: Float32Array, pairs: Sequence[tuple[int, int]], image_sha256: str
    ) -> PicturedVectors:
        """Arguments: vectors [N, D], features [M, E]; pairs: the numbers of a sound and of a picture

        Raises: CorpusError: there are no two sounds with different pictures.
        """
        has, useful = _related(pairs, len(vectors), len(features))
        if len(features) < 2 or len(useful) < 2:
            raise CorpusError("there must be two sounds with different pictures")
        return cls(vectors[useful], features, has[useful], image_sha256)

    def groups(self) -> Int64Array:
        """Sounds that share a picture, by however many steps, are in one group, so that no picture of the training is
        held out."""
        n = len(self.vectors)
        rows, columns = self.has.nonzero()
        edges = coo_array((np.ones(len(rows), np.int8), (rows, n + columns)), (n + len(self.queries),) * 2)
        _, component = connected_components(edges, directed=False)
        return np.unique(component[:n], return_inverse=True)[1].astype(np.int64)

    def scaling(self, trained: Int64Array) -> tuple[Float32Array, float]:
        """The mean of the pictures that are trained on, and one scale for all features: a scale of each would
        divide constant ones by zero."""
        shown = self.queries[self.of(trained).any(axis=0)]
        mean = shown.mean(axis=0)
        return mean, max(float((shown - mean).std()), 1e-4)

    def space(self, weights: Mapping[str, Float32Array], encoder_sha256: str) -> PictureSpace:
        return PictureSpace(weights, encoder_sha256, self.image_sha256)

    def metrics(self, sounds: Float32Array, queries: Float32Array, held: Int64Array) -> dict[str, float]:
        """`recall_at_k`: the share of the pictures of these sounds that have one of theirs among the k nearest;
        `chance_at_k`: that of k random ones; `n_sounds`, `n_pictures`."""
        has = self.of(held)
        shown = np.flatnonzero(has.any(axis=0))
        order = (queries[shown] @ sounds.T).argsort(axis=1, kind="stable")[:, ::-1]
        right = np.take_along_axis(has[:, shown].T, order, axis=1)
        found = {"n_sounds": float(len(held)), "n_pictures": float(len(shown))}
        for k in RECALL_AT:
            found[f"recall_at_{k}"] = float(right[:, :k].any(axis=1).mean())
            found[f"chance_at_{k}"] = float(np.mean([_chance(int(n), len(held), k) for n in right.sum(axis=1)]))
        return found

    def summary(self, metrics: Mapping[str, float]) -> str:
        return (
            "of {n_pictures:.0f} pictures held out of training, {recall_at_1:.1%} found a sound of theirs first of"
            " {n_sounds:.0f} (by chance {chance_at_1:.1%}), {recall_at_10:.1%} among the first 10 (by chance"
            " {chance_at_10:.1%})"
        ).format(**metrics)


def _chance(n_right: int, n: int, k: int) -> float:
    """The probability that there is one of the right ones among k random ones of n."""
    return 1.0 - math.comb(n - n_right, k) / math.comb(n, k) if k < n else 1.0


def _related(pairs: Sequence[tuple[int, int]], n: int, m: int) -> tuple[Any, Int64Array]:
    """The pairs as a sparse matrix [n, m], and the rows to learn from: those with a query, but not all."""
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    has = csr_array((np.ones(len(rows), bool), (rows, columns)), (n, m))
    has.sum_duplicates()
    has.sort_indices()
    counts = np.diff(has.indptr)
    return has, np.flatnonzero((counts > 0) & (counts < m))

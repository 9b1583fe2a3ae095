"""Zero-shot evaluation: retrieval of sounds of unseen classes by words or pictures.

The classes are split into two random halves, `HALVES` times. One half is seen: its sounds and labels may be learned
from. Of the other half only the names are known, and only its sounds are chosen among and ranked; among all sounds, a
method that recognises novelty would score well without any understanding. The measures:

* accuracy: the share of unseen sounds for which the name of their class, of all unseen names, matches best
* P@10, mAP: the names as queries, over the unseen sounds

With pictures of the classes, each picture is a query, and a class matches as well as its pictures do in the mean.

Two methods are compared with chance. *bridge* is the search in words, or with pictures, of the index
(`boiler.search.words`); of the seen sounds it takes the mean and the deviation of each query's match, by which the
matches of different queries are compared. *linear map* is the baseline: a ridge regression from the vectors of the
seen sounds to the word vectors of their labels, or to the features of their pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from boiler.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from boiler.crossmodal import text_query, vocabulary
from boiler.crossmodal.picture_query import see
from boiler.errors import CorpusError, QueryError
from boiler.evaluation import metrics
from boiler.evaluation.labelled_index import LabelledIndex
from boiler.evaluation.metrics import Interval
from boiler.search.snapshot import Snapshot
from boiler.search.words import Understood, WeightedWords, row_similarity, understand, understand_picture
from boiler.vision import image
from boiler.vision.image_model import ImageModelFile

HALVES = 10
MIN_CLASSES = 4
K = 10
BRIDGE, BASELINE = "bridge", "linear map"
MEASURES = ("accuracy", f"P@{K}", "mAP")
_RIDGE = 1.0


@dataclass(frozen=True)
class ZeroShot:
    """The result.

    names: the classes, as they are searched for; halves: of the unseen ones, those of each split
    n_sounds: labelled sounds; n_pictures: 0 if words were the queries
    measures: by method and measure, the mean over all unseen sounds or names of all splits with its interval (bootstrap
        over these); chance: by measure
    left_out: labels that hold no known word, or have no picture
    """

    names: Sequence[str]
    halves: Sequence[Sequence[str]]
    n_sounds: int
    n_pictures: int
    measures: Mapping[str, Mapping[str, Interval]]
    chance: Mapping[str, float]
    left_out: Sequence[str]

    def to_json(self) -> str:
        """All fields."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """A table of methods and measures."""
        what = f"{len(self.halves)} splits of {len(self.names)} classes, {self.n_sounds} sounds"
        if self.n_pictures:
            what += f", {self.n_pictures} pictures"
        lines = [
            f"| {what} | {' | '.join(MEASURES)} |",
            f"| --- |{' ---: |' * len(MEASURES)}",
        ]
        for method, found in self.measures.items():
            cells = [f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})" for one in found.values()]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append(f"| chance | {' | '.join(f'{self.chance[name]:.3f}' for name in MEASURES)} |")
        if self.left_out:
            why = "they have no picture" if self.n_pictures else "no word of theirs is known"
            lines += ["", f"Left out, as {why}: {', '.join(self.left_out)}."]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Queries:
    """Q queries for the C classes of an index of N labelled sounds.

    names: of the classes, by their labels; numbers: [Q], the class of each query
    match: [Q, N], how well each sound matches; vectors: [Q, E], of the words or pictures themselves, unit length
    left_out: labels without a query
    """

    names: Mapping[str, str]
    numbers: Int64Array
    match: Float32Array
    vectors: Float32Array
    left_out: Sequence[str]


def evaluate_zero_shot(
    index: LabelledIndex,
    *,
    unseen: int | None = None,
    seed: int = 0,
    pictures: Path | None = None,
    image_model: ImageModelFile | None = None,
) -> ZeroShot:
    """Evaluate an index whose items have labels that are words, or of which there are pictures.

    unseen: evaluate only this one of the splits, from 0; None: all `HALVES`
    pictures: a folder of pictures, as for `pictures_of`, to search with instead of the labels; image_model: the network
        that says what they show, by default EfficientNet-Lite0

    Raises: CorpusError: too few classes. QueryError: the index cannot be searched in words, several labels an item, or
    no such split. EmbeddingError, CheckpointError: a picture, or the network, cannot be read.
    """
    if index.truth.multilabel:
        raise QueryError("--zero_shot needs one label for each sound")
    if unseen is not None and not 0 <= unseen < HALVES:
        raise QueryError(f"--unseen is from 0 to {HALVES - 1}, not {unseen}")
    queries = _word_queries(index) if pictures is None else _picture_queries(index, pictures, image_model)
    place = {label: number for number, label in enumerate(queries.names)}
    label_names = index.truth.label_names
    labels = np.array([place.get(label_names[number], -1) for number in index.truth.class_indices()], np.int64)
    rng = np.random.default_rng(seed)
    splits = [np.sort(rng.permutation(len(place))[: len(place) // 2]) for _ in range(HALVES)]
    if unseen is not None:
        splits = [splits[unseen]]
    found: dict[str, dict[str, list[Float64Array]]] = {
        method: {measure: [] for measure in MEASURES} for method in (BRIDGE, BASELINE)
    }
    chance: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for hidden in splits:
        asked = np.flatnonzero(np.isin(labels, hidden))
        seen = np.flatnonzero((labels >= 0) & ~np.isin(labels, hidden))
        of_hidden = np.isin(queries.numbers, hidden)
        match = queries.match[of_hidden]
        standard = (match - match[:, seen].mean(axis=1, keepdims=True)) / (
            match[:, seen].std(axis=1, keepdims=True) + 1e-6
        )
        targets = queries.vectors if pictures is None else _centred(queries.vectors, ~of_hidden)
        of_class = np.stack([targets[queries.numbers == number].mean(axis=0) for number in range(len(place))])
        vectors = index.collection.vectors
        mapped = _mapped(vectors[seen], of_class[labels[seen]], vectors[asked]) @ targets[of_hidden].T
        truth = np.searchsorted(hidden, labels[asked])
        wanted = np.searchsorted(hidden, queries.numbers[of_hidden])
        for method, scores in ((BRIDGE, standard[:, asked].T), (BASELINE, mapped)):
            for measure, values in _measures(scores, wanted, truth).items():
                found[method][measure].append(values)
        chance["accuracy"].append(1 / len(hidden))
        gains = (truth == wanted[:, None]).astype(np.float64)
        expected = metrics.chance(gains, np.full(len(wanted), len(asked)), (K,))
        for measure in MEASURES[1:]:
            chance[measure].append(float(np.mean(expected[measure])))
    return ZeroShot(
        names=tuple(queries.names.values()),
        halves=tuple(tuple([*queries.names.values()][n] for n in hidden) for hidden in splits),
        n_sounds=int((labels >= 0).sum()),
        n_pictures=0 if pictures is None else len(queries.numbers),
        measures={
            method: {
                measure: metrics.bootstrap_intervals({measure: np.concatenate(values)}, seed=seed)[measure]
                for measure, values in by_measure.items()
            }
            for method, by_measure in found.items()
        },
        chance={measure: float(np.mean(values)) for measure, values in chance.items()},
        left_out=queries.left_out,
    )


def pictures_of(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class in a folder: CLASS/anything.jpg, or CLASS.jpg and CLASS-2.jpg. Classes are compared by
    their letters: `Dog bark` is `dog_bark`.

    Raises: CorpusError: there is no picture.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in image.SUFFIXES and path.is_file():
            name = path.stem if path.parent == folder else path.relative_to(folder).parts[0]
            found.setdefault(_letters(name), []).append(path)
    if not found:
        raise CorpusError(
            f"{folder} has no picture: a folder for each class, or pictures that are called as the classes"
        )
    return found


def _letters(name: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", name.casefold()))


def _word_queries(index: LabelledIndex) -> _Queries:
    snapshot = Snapshot(index.generation)
    names, left_out = _searchable(index.truth.label_names)
    if len(names) < MIN_CLASSES:
        raise CorpusError(f"--zero_shot needs at least {MIN_CLASSES} labels of known words, not {len(names)}")
    match = [_item_match(snapshot, index, understand(snapshot, text)) for text in names.values()]
    vectors = [_word_vector(text) for text in names.values()]
    return _Queries(names, np.arange(len(names)), np.stack(match), np.stack(vectors), left_out)


def _picture_queries(index: LabelledIndex, folder: Path, image_model: ImageModelFile | None) -> _Queries:
    snapshot = Snapshot(index.generation)
    pictures = pictures_of(folder)
    names = {label: _letters(label) for label in index.truth.label_names if _letters(label) in pictures}
    left_out = [label for label in index.truth.label_names if label not in names]
    if len(names) < MIN_CLASSES:
        raise CorpusError(
            f"--zero_shot pictures needs pictures of at least {MIN_CLASSES} labels: {folder} has those of"
            f" {', '.join(sorted(pictures)[:10])}, and the labels are {', '.join(index.truth.label_names[:10])}"
        )
    numbers, match, vectors = list[int](), list[Float32Array](), list[Float32Array]()
    for number, name in enumerate(names.values()):
        for path in pictures[name]:
            seen = see(path, image_model)
            numbers.append(number)
            match.append(_item_match(snapshot, index, understand_picture(snapshot, seen.classes)))
            vectors.append(seen.features)
    return _Queries(names, np.array(numbers, np.int64), np.stack(match), np.stack(vectors), left_out)


def _centred(vectors: Float32Array, some: BoolArray) -> Float32Array:
    """From the mean of some of them, unit length: features of pictures have most in common. Shape: [Q, E]"""
    away = vectors - vectors[some].mean(axis=0)
    return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12), np.float32)


def _searchable(labels: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The labels as queries, `dog_bark` as *dog bark*, and those that hold no known word."""
    names: dict[str, str] = {}
    left_out = []
    for label in labels:
        text = " ".join(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)))
        try:
            names[label] = " ".join(text_query.parse(text).wanted)
        except QueryError:
            left_out.append(label)
    return names, left_out


def _item_match(snapshot: Snapshot, index: LabelledIndex, understood: Understood) -> Float32Array:
    """How well each labelled item matches: its best window. Shape: [N]"""
    similarity = row_similarity(snapshot, [WeightedWords(understood, 1.0)])
    starts = index.first_rows
    rows_of_items = np.searchsorted(snapshot.numbers, [item.n for item in index.items], side="right")
    return np.array([similarity[a:b].max() for a, b in zip(starts, rows_of_items, strict=True)], np.float32)


def _word_vector(text: str) -> Float32Array:
    known = vocabulary.load()
    total = np.sum([vector for word in text.split() if (vector := known.vector(word)) is not None], axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)


def _mapped(seen: Float32Array, targets: Float32Array, asked: Float32Array) -> Float32Array:
    """Ridge regression of word vectors, unit length. Shape: [S, D], [S, E], [A, D] to [A, E]"""
    centre, middle = seen.mean(axis=0), targets.mean(axis=0)
    x = (seen - centre).astype(np.float64)
    solved = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (targets - middle))
    found = (asked - centre) @ solved + middle
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def _measures(scores: Float32Array, wanted: Int64Array, truth: Int64Array) -> dict[str, Float64Array]:
    """Shape: scores [sounds, queries]; the class of each query, wanted [queries], and of each sound, truth [sounds]"""
    order = np.argsort(-scores, axis=0, kind="stable")
    gains = (truth[order] == wanted).T.astype(np.float64)
    counts = np.full(len(gains), len(truth))
    of_classes = np.stack([scores[:, wanted == number].mean(axis=1) for number in range(int(wanted.max()) + 1)], axis=1)
    return {
        "accuracy": (of_classes.argmax(axis=1) == truth).astype(np.float64),
        f"P@{K}": metrics.precision_at(gains, K, counts),
        "mAP": metrics.average_precision(gains),
    }

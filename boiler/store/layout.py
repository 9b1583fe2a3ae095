"""The map of a collection: a position in two dimensions for each item that has rows, similar items close together.

Computed at publication and stored with the generation (`map.npy`). It is a projection: items close together on the map
are mostly similar, distances between far items mean little, and search never uses it.

Positions are a t-SNE of the item vectors (openTSNE, with neighbours from faiss and interpolated repulsion: about a
minute for 50,000 items), initialised with the first two principal components, so the same vectors give the same map,
and with a few more items it hardly changes. If there are more than `MAX_FITTED` items, a sample is fitted, and the
others are placed by their nearest neighbours in the sample. Fewer than `MIN_FITTED` items are placed by principal
components.

The map is stable: while at most a fifth of the items are new since it was fitted, the others keep their exact positions
and new ones are placed by their neighbours. After that it is fitted again, initialised with the existing positions.

Each item also belongs to a `cluster` (spherical k-means of the vectors), 0 the largest, for colours where there are no
labels.

Source: D. Kobak, P. Berens, The art of using t-SNE for single-cell transcriptomics, 2019 (initialisation with principal
components; placing further points by their neighbours); P. Poličar et al., openTSNE, 2024.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from boiler.arrays import BoolArray, Float32Array, Int64Array, StructuredArray, map_array
from boiler.engine.distance import angular_distance

MAP_FILE = "map.npy"
MAP_POINT = np.dtype([("n", "<i8"), ("x", "<f4"), ("y", "<f4"), ("cluster", "<i2"), ("later", "?")])
"""A row of `map.npy`, in the order of n. `later`: placed by its neighbours after the map was fitted."""

MIN_FITTED = 50
MAX_FITTED = 50_000
MAX_LATER_SHARE = 0.2
MAX_CLUSTERS = 9  # as many colours as colour-blind people can distinguish
PERPLEXITY = 15.0
_EXAGGERATED_STEPS, _STEPS = 150, 250  # with exaggerated attraction, which finds the global arrangement, and without
_REFIT_SCALE = 5.0  # standard deviation of existing positions as initialisation: less than in the result
_EXACT_UP_TO = 4_000  # neighbours among more items are approximate
_PROBES = 8
_PLACING_NEIGHBOURS = 5
_NEAR = 0.05  # neighbours farther than this from the nearest, on the map, are ignored
_BLOCK = 65_536


@dataclass(frozen=True)
class Map:
    """The items that have rows, in the order of n.

    Shape: n int64 [M], xy float32 [M, 2] from 0 to 1, cluster int64 [M], 0 the largest; labels [M].
    """

    n: Int64Array
    xy: Float32Array
    cluster: Int64Array
    labels: tuple[str | None, ...]


def preload() -> None:
    """Import openTSNE, which takes seconds, in a background thread, so that `layout_map` need not wait for it."""
    threading.Thread(target=importlib.import_module, args=("openTSNE",), daemon=True).start()


def layout_map(
    vectors: Float32Array, numbers: Int64Array, *, seed: int = 0, before: Path | None = None
) -> StructuredArray:
    """Positions of items, from their vectors (unit length) and numbers (ascending). `before`: the folder of the
    previous generation, whose positions are kept where possible.

    Shape: vectors [M, D], numbers [M] to [M] of `MAP_POINT`.
    """
    points = np.zeros(len(numbers), MAP_POINT)
    points["n"] = numbers
    if not len(numbers):
        return points
    old, known = _previous_points(vectors, numbers, before)
    if known.any() and (~known).mean() <= MAX_LATER_SHARE:
        points[known] = old[known]
        points["later"][~known] = True
        if points["later"].mean() <= MAX_LATER_SHARE:
            _place_by_neighbours(points, vectors, ~known, _sample(known, seed))
            return points
    points["later"] = False
    fitted = _sample(np.ones(len(numbers), np.bool_), seed)
    base = np.ascontiguousarray(vectors[fitted])
    begin = None
    if 2 * known.sum() > len(numbers):
        _place_by_neighbours(old, vectors, ~known, _sample(known, seed))
        begin = _xy(old)[fitted]
    xy = _fit(base, begin, seed)
    points["x"][fitted], points["y"][fitted] = xy[:, 0], xy[:, 1]
    points["cluster"][fitted] = _cluster(base, seed)
    others = np.ones(len(numbers), np.bool_)
    others[fitted] = False
    _place_by_neighbours(points, vectors, others, fitted)
    return points


def _previous_points(
    vectors: Float32Array, numbers: Int64Array, before: Path | None
) -> tuple[StructuredArray, BoolArray]:
    """For each item its previous point, and whether it has one: the same number with an identical vector."""
    points, known = np.zeros(len(numbers), MAP_POINT), np.zeros(len(numbers), np.bool_)
    points["n"] = numbers
    if before is None:
        return points, known
    try:
        old: StructuredArray = map_array(before / MAP_FILE)
        old_vectors: Float32Array = map_array(before / "item_vectors.npy")
    except (OSError, ValueError, EOFError):
        return points, known  # none, or damaged: fit from scratch
    if old.dtype != MAP_POINT or old_vectors.shape != (len(old), vectors.shape[1]) or not len(old):
        return points, known
    at = np.minimum(np.searchsorted(old["n"], numbers), len(old) - 1)
    for begin in range(0, len(numbers), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        known[part] = (old["n"][at[part]] == numbers[part]) & (old_vectors[at[part]] == vectors[part]).all(axis=1)
    points[known] = old[at[known]]
    return points, known


def _sample(which: BoolArray, seed: int) -> Int64Array:
    """The rows of the mask, or `MAX_FITTED` of them drawn at random."""
    rows = np.flatnonzero(which)
    if len(rows) > MAX_FITTED:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_FITTED, replace=False))
    return rows


def _fit(vectors: Float32Array, begin: Float32Array | None, seed: int) -> Float32Array:
    """Positions from 0 to 1."""
    known = begin is not None
    begin = _principal_components(vectors) if begin is None else begin
    return _scaled(begin if len(vectors) < MIN_FITTED else _tsne(vectors, begin, seed, refit=known))


def _principal_components(vectors: Float32Array) -> Float32Array:
    """The first two principal components [M, 2]. The sign makes the largest coefficient of each positive, so that the
    map does not flip."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = np.zeros((len(vectors), 2), np.float32)
    found[:, : axes.shape[1]] = centred @ axes
    return found


def _tsne(vectors: Float32Array, begin: Float32Array, seed: int, *, refit: bool) -> Float32Array:
    """t-SNE from the positions `begin`. `refit`: these are of an earlier fit, whose global arrangement is kept."""
    # Imported here because it takes a second.
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 4)
    rows, distances = _neighbours(vectors, vectors, int(3 * perplexity) + 1)
    # The first neighbour of each row is itself, except where other rows are identical.
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    rows, distances = (one[~own].reshape(len(rows), -1) for one in (rows, distances))
    affinities = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(rows, distances), perplexity=perplexity, n_jobs=1, random_state=seed
    )
    # Small, so that attraction comes first; with noise, because identical positions could never separate.
    chance = np.random.default_rng(seed)
    first = (begin - begin.mean(axis=0)) / max(float(begin.std(axis=0).max()), 1e-9)
    first = first + chance.normal(scale=0.01, size=begin.shape)
    embedding = TSNEEmbedding(
        first * (_REFIT_SCALE if refit else 1e-4),
        affinities,
        negative_gradient_method="fft" if len(vectors) > 2_500 else "bh",  # whichever is faster
        ints_in_interval=2,  # a coarser grid than the default: a third less time, the same result
        learning_rate=max(200.0, len(vectors) / 12),
        n_jobs=1,  # sums over threads are not deterministic
        random_state=seed,
    )
    if not refit:
        embedding = embedding.optimize(_EXAGGERATED_STEPS, exaggeration=12, momentum=0.5)
    embedding = embedding.optimize(_STEPS, momentum=0.8)
    return np.asarray(embedding, np.float32)


def _scaled(xy: Float32Array) -> Float32Array:
    """Centred and scaled into 0 to 1, by the same factor in both directions."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    span = float((high - low).max())
    if span == 0:
        return np.full_like(xy, 0.5)
    scaled: Float32Array = np.clip(0.5 + (xy - (low + high) / 2) / span, 0, 1).astype(np.float32)
    return scaled


def _neighbours(base: Float32Array, queries: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
    """Rows of `base` and their distances, nearest first, `min(k, len(base))` for each query; approximate."""
    k = min(k, len(base))
    base, queries = np.ascontiguousarray(base), np.ascontiguousarray(queries)
    flat = faiss.IndexFlatIP(base.shape[1])
    if len(base) <= _EXACT_UP_TO:
        flat.add(base)
        scores, rows = flat.search(queries, k)
    else:
        cells = faiss.IndexIVFFlat(flat, base.shape[1], int(np.sqrt(len(base))), faiss.METRIC_INNER_PRODUCT)
        cells.cp.min_points_per_centroid = 1
        cells.train(base)
        cells.add(base)
        cells.nprobe = _PROBES
        scores, rows = cells.search(queries, k)
        rows = np.where(rows < 0, rows[:, :1], rows)  # where the cells had fewer than k rows
        scores = np.where(np.isfinite(scores) & (scores > -2), scores, scores[:, :1])
    return rows, angular_distance(scores).astype(np.float32)


def _place_by_neighbours(points: StructuredArray, vectors: Float32Array, which: BoolArray, base: Int64Array) -> None:
    """Place the items of `which` by their neighbours among the rows `base`, in the cluster of the nearest."""
    todo = np.flatnonzero(which)
    known, positions = np.ascontiguousarray(vectors[base]), _xy(points)[base]
    for begin in range(0, len(todo), _BLOCK):
        rows = todo[begin : begin + _BLOCK]
        found, distances = _neighbours(known, vectors[rows], _PLACING_NEIGHBOURS)
        near = positions[found]
        # A mean over two distant groups would fall between them, so neighbours far from the nearest are ignored.
        weights = (np.linalg.norm(near - near[:, :1], axis=2) <= _NEAR) / (distances**2 + 1e-6)
        xy = (near * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        points["x"][rows], points["y"][rows] = xy[:, 0], xy[:, 1]
        points["cluster"][rows] = points["cluster"][base[found[:, 0]]]


def _cluster(vectors: Float32Array, seed: int) -> Int64Array:
    """The cluster of each vector, 0 the largest."""
    k = min(MAX_CLUSTERS, max(1, round(np.sqrt(len(vectors) / 2))))
    means = faiss.Kmeans(vectors.shape[1], k, niter=20, nredo=8, seed=seed, spherical=True, min_points_per_centroid=1)
    means.train(vectors)
    _, found = means.index.search(vectors, 1)
    counts = np.bincount(found[:, 0], minlength=k)
    ranks = np.empty(k, np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(k)
    return ranks[found[:, 0]]


def _xy(points: StructuredArray) -> Float32Array:
    return np.stack([points["x"], points["y"]], axis=1)


def collection_map(points: StructuredArray, labels: tuple[str | None, ...]) -> Map:
    """The contents of `map.npy` with the labels of the items."""
    return Map(np.array(points["n"]), _xy(points), points["cluster"].astype(np.int64), labels)

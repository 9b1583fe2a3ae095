"""A collection in two dimensions: a place for each item that sounds, so that what sounds alike mostly lies together.

Made at publication and kept with the generation (`map.npy`), never when somebody looks. It is a projection, not the
measure: near on the map is mostly near to the ear, far on the map says little, and answers never come from it.

Places are a t-SNE of the items' vectors (openTSNE; neighbours by faiss, repulsion by interpolation, so that 50,000 take
about a minute) that begins at the first two principal components: the same vectors give the same map, and a few more
give nearly the same. Beyond `MOST_FITTED` items a sample is laid out, and each other item goes where its nearest
neighbours of the sample are. Fewer than `FEWEST_FITTED` are placed by the principal components alone.

A map is not thrown over by every new file: while at most a fifth of the items are new since it was laid out, the others
stay exactly where they were and the new ones are put beside their neighbours. Beyond that it is laid out again,
beginning with the places there were.

Items fall into `cluster`s as well (spherical k-means of the vectors), the largest 0: colours where there are no labels.

Source: D. Kobak, P. Berens, The art of using t-SNE for single-cell transcriptomics, 2019 (beginning at the principal
components; a sample, and the others by their neighbours); P. Poličar et al., openTSNE, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from boiler.arrays import BoolArray, Float32Array, Int64Array, StructuredArray
from boiler.engine.distance import angular_distance

FILE = "map.npy"
PLACE = np.dtype([("n", "<i8"), ("x", "<f4"), ("y", "<f4"), ("cluster", "<i2"), ("later", "?")])
"""A row of `map.npy`, in the order of n; `later`: it came after the map was laid out."""

FEWEST_FITTED = 50
MOST_FITTED = 50_000
LATER_AT_MOST = 0.2
MOST_CLUSTERS = 9  # as many colours as the colour-blind can be relied on to tell apart
PERPLEXITY = 15.0
_EARLY, _LATE = 150, 250  # steps with exaggerated attraction, which sort the whole, and without, which spread it out
_SORTED = 5.0  # how wide an earlier layout begins: less than it will be, so that there is room to move
_EXACT_UP_TO = 4_000  # neighbours of fewer are looked for everywhere; of more, in the nearest cells
_PROBES = 8
_BESIDE = 5  # neighbours that an item is put beside
_NEAR = 0.05  # of the map: of those, the ones that lie this near to the nearest
_BLOCK = 65_536


@dataclass(frozen=True)
class Map:
    """The items that sound, in the order of their numbers. Shape: n int64 [M], xy float32 [M, 2] in 0 to 1, cluster
    int64 [M], 0 the largest; labels [M]."""

    n: Int64Array
    xy: Float32Array
    cluster: Int64Array
    labels: tuple[str | None, ...]


def make(vectors: Float32Array, numbers: Int64Array, *, seed: int = 0, before: Path | None = None) -> StructuredArray:
    """Lay out items: their vectors (unit length) and numbers (rising). `before`: the folder of the generation before.

    Shape: vectors [M, D], numbers [M] to [M] of `PLACE`.
    """
    places = np.zeros(len(numbers), PLACE)
    places["n"] = numbers
    if not len(numbers):
        return places
    old, known = _kept(vectors, numbers, before)
    if known.any() and (~known).mean() <= LATER_AT_MOST:
        places[known] = old[known]
        places["later"][~known] = True
        if places["later"].mean() <= LATER_AT_MOST:
            _beside(places, vectors, ~known, _some(known, seed))
            return places
    places["later"] = False
    fitted = _some(np.ones(len(numbers), np.bool_), seed)
    base = np.ascontiguousarray(vectors[fitted])
    begin = None
    if 2 * known.sum() > len(numbers):
        _beside(old, vectors, ~known, _some(known, seed))
        begin = _xy(old)[fitted]
    xy = _laid_out(base, begin, seed)
    places["x"][fitted], places["y"][fitted] = xy[:, 0], xy[:, 1]
    places["cluster"][fitted] = _clusters(base, seed)
    others = np.ones(len(numbers), np.bool_)
    others[fitted] = False
    _beside(places, vectors, others, fitted)
    return places


def _kept(vectors: Float32Array, numbers: Int64Array, before: Path | None) -> tuple[StructuredArray, BoolArray]:
    """For each item its place before, and whether it had one: the same number, with the very same vector."""
    places, known = np.zeros(len(numbers), PLACE), np.zeros(len(numbers), np.bool_)
    places["n"] = numbers
    if before is None:
        return places, known
    try:
        old: StructuredArray = np.load(before / FILE, allow_pickle=False)
        heard: Float32Array = np.load(before / "item_vectors.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return places, known  # none was made, or it is damaged: the map begins anew
    if old.dtype != PLACE or heard.shape != (len(old), vectors.shape[1]) or not len(old):
        return places, known
    at = np.minimum(np.searchsorted(old["n"], numbers), len(old) - 1)
    for begin in range(0, len(numbers), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        known[part] = (old["n"][at[part]] == numbers[part]) & (heard[at[part]] == vectors[part]).all(axis=1)
    places[known] = old[at[known]]
    return places, known


def _some(which: BoolArray, seed: int) -> Int64Array:
    """The rows that are to be laid out, or looked for as neighbours: all of these, or as many as can be, drawn."""
    rows = np.flatnonzero(which)
    if len(rows) > MOST_FITTED:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_FITTED, replace=False))
    return rows


def _laid_out(vectors: Float32Array, begin: Float32Array | None, seed: int) -> Float32Array:
    """Places in 0 to 1."""
    known = begin is not None
    begin = _principal(vectors) if begin is None else begin
    return _framed(begin if len(vectors) < FEWEST_FITTED else _tsne(vectors, begin, seed, sorted_=known))


def _principal(vectors: Float32Array) -> Float32Array:
    """The first two principal components [M, 2]; each points the way its strongest direction does, so that it does not
    flip from one day to the next."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = np.zeros((len(vectors), 2), np.float32)
    found[:, : axes.shape[1]] = centred @ axes
    return found


def _tsne(vectors: Float32Array, begin: Float32Array, seed: int, *, sorted_: bool) -> Float32Array:
    """`sorted_`: it begins with an earlier layout, so that the whole need not be sorted first, and stays as it was."""
    # Imported here: it takes a second, which opening an index need not wait for.
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 4)
    rows, distances = _neighbours(vectors, vectors, int(3 * perplexity) + 1)
    # Its own row leads the neighbours of each, but where others are the same to the last bit.
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    rows, distances = (one[~own].reshape(len(rows), -1) for one in (rows, distances))
    affinities = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(rows, distances), perplexity=perplexity, n_jobs=1, random_state=seed
    )
    # Small, so that the first steps sort it; and no two at the same place, where nothing could part them.
    chance = np.random.default_rng(seed)
    first = (begin - begin.mean(axis=0)) / max(float(begin.std(axis=0).max()), 1e-9)
    first = first + chance.normal(scale=0.01, size=begin.shape)
    embedding = TSNEEmbedding(
        first * (_SORTED if sorted_ else 1e-4),
        affinities,
        negative_gradient_method="fft" if len(vectors) > 2_500 else "bh",  # which is quicker
        ints_in_interval=2,  # a coarser grid than the default: a third less time, the same picture
        learning_rate=max(200.0, len(vectors) / 12),
        n_jobs=1,  # a sum over threads would not come out the same twice
        random_state=seed,
    )
    if not sorted_:
        embedding = embedding.optimize(_EARLY, exaggeration=12, momentum=0.5)
    embedding = embedding.optimize(_LATE, momentum=0.8)
    return np.asarray(embedding, np.float32)


def _framed(xy: Float32Array) -> Float32Array:
    """Moved and scaled into 0 to 1, the two directions alike, the middle of what there is in the middle."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    span = float((high - low).max())
    if span == 0:
        return np.full_like(xy, 0.5)
    framed: Float32Array = np.clip(0.5 + (xy - (low + high) / 2) / span, 0, 1).astype(np.float32)
    return framed


def _neighbours(base: Float32Array, queries: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
    """Rows of `base` and their distances, nearest first, `min(k, len(base))` of each query; nearly the true ones."""
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
        rows = np.where(rows < 0, rows[:, :1], rows)  # cells that held fewer than k
        scores = np.where(np.isfinite(scores) & (scores > -2), scores, scores[:, :1])
    return rows, angular_distance(scores).astype(np.float32)


def _beside(places: StructuredArray, vectors: Float32Array, which: BoolArray, base: Int64Array) -> None:
    """Put the items of `which` beside their neighbours among the rows `base`, and into the cluster of the nearest."""
    todo = np.flatnonzero(which)
    known, positions = np.ascontiguousarray(vectors[base]), _xy(places)[base]
    for begin in range(0, len(todo), _BLOCK):
        rows = todo[begin : begin + _BLOCK]
        found, distances = _neighbours(known, vectors[rows], _BESIDE)
        near = positions[found]
        # Between two far groups there is mostly nothing, so what lies far from the nearest has no say.
        weights = (np.linalg.norm(near - near[:, :1], axis=2) <= _NEAR) / (distances**2 + 1e-6)
        xy = (near * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        places["x"][rows], places["y"][rows] = xy[:, 0], xy[:, 1]
        places["cluster"][rows] = places["cluster"][base[found[:, 0]]]


def _clusters(vectors: Float32Array, seed: int) -> Int64Array:
    """Which cluster each is in, the largest 0."""
    k = min(MOST_CLUSTERS, max(1, round(np.sqrt(len(vectors) / 2))))
    means = faiss.Kmeans(vectors.shape[1], k, niter=20, nredo=8, seed=seed, spherical=True, min_points_per_centroid=1)
    means.train(vectors)
    _, found = means.index.search(vectors, 1)
    counts = np.bincount(found[:, 0], minlength=k)
    ranks = np.empty(k, np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(k)
    return ranks[found[:, 0]]


def _xy(places: StructuredArray) -> Float32Array:
    return np.stack([places["x"], places["y"]], axis=1)


def of(places: StructuredArray, labels: tuple[str | None, ...]) -> Map:
    """What `map.npy` holds, with the labels of its items."""
    return Map(np.array(places["n"]), _xy(places), places["cluster"].astype(np.int64), labels)

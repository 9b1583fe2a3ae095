"""Compare search engines in one run: recall at 10, query time, queries per second, build time, load time, memory.

    $ python -m exp.benchmarks.search --rows 10000 100000 --work /tmp/engines
    $ python -m exp.benchmarks.search --rows 100000 --dim 512 --work /tmp/engines
    $ python -m exp.benchmarks.search --rows 1000000 --trees 50 --work /tmp/engines
    $ python -m exp.benchmarks.search --rows 1000000 --filters --work /tmp/engines

The data resemble real embeddings. `bags`: the square root of code frequencies, counted over 128 tokens; there is one
cluster for every ten rows, with skewed cluster sizes and widths. Sizes and widths were set so that annoy with its
defaults has the recall that was measured on real bags of codes (see `generate`). `cloud`: Gaussian clusters around
centres of either sign. `--vectors` uses real vectors. Queries come from the same distribution and are not among the
rows.

Recall counts an answer as right if it is as near as the tenth true one. hnswlib, usearch and voyager take part if they
are installed; they, annoy with the best search_k and faiss IVF get the narrowest search that reaches .99 for these very
queries, boiler's HNSW the width that it chose when it was built, before it saw them.

Queries run on one thread, so set OMP_NUM_THREADS=1; indexes are built on `--build_threads`. p50 and p99 are of single
queries: each engine answers all of them in turn, and all engines run in turn several times, so that other load affects
them equally; the first turn is not counted. Queries per second: all of them in one call, where the engine has such a
call. Build time: CPU seconds of all threads. Memory: everything that is read to answer, vectors included.

`--work` keeps what was built for these vectors and settings, and its build time, so that a long table can be built in
parts (`--engines`) and measured in one run at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import annoy
import faiss
import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.catalog.items import Item
from boiler.engine.annoy import Annoy, AnnoyParameters
from boiler.engine.exact import Exact
from boiler.engine.hnsw import HNSW, HNSWParameters
from boiler.engine.selection import EXACT_UP_TO_ROWS, EngineChoice
from boiler.search import filters
from boiler.search.nearest import ByItem, Nearest, Options
from boiler.store import generation
from boiler.store.header import Header, rows_of

K = 10
RECALL = 0.99
TURNS = 4
WIDTHS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 2048, 4096)


def generate(kind: str, n: int, dim: int, seed: int = 0) -> Float32Array:
    """Random unit vectors in clusters, in a random order. Shape: [n, dim]

    The sizes and widths of the clusters and the sparsity of their centres were set so that annoy with its default
    search_k has the recall measured on real bags: .915 (9,344 rows, 100 trees), .87 (100,000 rows) and .72 (1,000,000
    rows, 50 trees).
    """
    random = np.random.default_rng(seed)
    n_clusters = max(1, n // 10)
    common = (np.arange(n_clusters) + 3 * (n_clusters / 934) ** 0.7) ** -1.2
    common /= common.sum()
    narrow = np.exp(random.normal(size=n_clusters))
    if kind == "bags":
        centres = random.gamma(0.1, size=(n_clusters, dim)) + 1e-12
        centres /= centres.sum(axis=1, keepdims=True)
    else:
        centres = random.normal(size=(n_clusters, dim))
    out = np.empty((n, dim), np.float32)
    for begin in range(0, n, 50_000):
        which = random.choice(n_clusters, min(50_000, n - begin), p=common)
        centre, precision = centres[which], narrow[which, None]
        if kind == "bags":
            shares = random.gamma(np.maximum(50 * precision * centre, 1e-4)) + 1e-12
            rows = np.sqrt(random.multinomial(128, shares / shares.sum(axis=1, keepdims=True)))
        else:
            rows = centre + random.normal(size=centre.shape) / np.sqrt(precision)
        out[begin : begin + len(rows)] = engine.normalize(rows)
    return out


# --- the engines -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """An engine in the comparison.

    `build` writes a file; `open` loads it; `search` returns the rows nearest to queries [Q, D]; `widths`: search widths
    to try, narrowest first; `reads_vectors`: it reads the vectors besides its file; `batch`: it takes many queries in
    one call; `needs`: the package that must be installed."""

    name: str
    build: Callable[[Float32Array, Path], Any] | None
    open: Callable[[Path, Float32Array], Any]
    search: Callable[[Any, Float32Array, int], Any]
    widths: Sequence[int] = (0,)
    reads_vectors: bool = False
    batch: bool = True
    needs: str = "faiss"
    settings: str = ""


def kinds(n: int, dim: int, n_trees: int, n_threads: int) -> dict[str, list[Kind]]:
    """All engines, by their name in `--engines`."""
    cells = round(4 * np.sqrt(n))

    def build_ivf(vectors: Float32Array, path: Path) -> None:
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.spherical, index.cp.max_points_per_centroid = True, 64
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(path))

    def build_flat(vectors: Float32Array, path: Path) -> None:
        index = faiss.IndexFlatIP(dim)
        index.add(vectors)
        faiss.write_index(index, str(path))

    def load_faiss(path: Path, _: Float32Array) -> Any:
        return faiss.read_index(str(path))

    def search_ivf(index: Any, queries: Float32Array, width: int) -> Any:
        index.nprobe = width
        return index.search(queries, K)[1]

    def search_numpy(vectors: Float32Array, queries: Float32Array, _: int) -> Any:
        scores = vectors @ queries[0]
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])][None]

    def load_annoy(path: Path, _: Float32Array) -> Any:
        index = annoy.AnnoyIndex(dim, "angular")
        index.load(str(path))
        return index

    def search_annoy(index: Any, queries: Float32Array, width: int) -> Any:
        return [index.get_nns_by_vector(query, K, width) for query in queries.tolist()]

    def growing_widths(width: float, most: int) -> Iterator[int]:
        while width < most:
            yield round(width)
            width *= 1.25

    def build_annoy(vectors: Float32Array, path: Path) -> None:
        Annoy.build(vectors, AnnoyParameters(n_trees=n_trees, search_k=1)).save(path)

    def build_hnswlib(vectors: Float32Array, path: Path) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(max_elements=n, M=16, ef_construction=200, random_seed=0)
        index.add_items(vectors, num_threads=n_threads)
        index.save_index(str(path))

    def load_hnswlib(path: Path, _: Float32Array) -> Any:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=dim)
        index.load_index(str(path), max_elements=n)
        index.set_num_threads(1)
        return index

    def search_hnswlib(index: Any, queries: Float32Array, width: int) -> Any:
        index.set_ef(width)
        return index.knn_query(queries, K)[0]

    def build_usearch(vectors: Float32Array, path: Path) -> None:
        from usearch.index import Index

        index = Index(ndim=dim, metric="ip", dtype="f32", connectivity=16, expansion_add=200)
        index.add(np.arange(n), vectors, threads=n_threads)
        index.save(str(path))

    def load_usearch(path: Path, _: Float32Array) -> Any:
        from usearch.index import Index

        return Index.restore(str(path), view=True)

    def search_usearch(index: Any, queries: Float32Array, width: int) -> Any:
        if index.expansion_search != width:
            index.expansion_search = width
        return np.atleast_2d(index.search(queries[0] if len(queries) == 1 else queries, K, threads=1).keys)

    def build_voyager(vectors: Float32Array, path: Path) -> None:
        import voyager

        index = voyager.Index(voyager.Space.Cosine, dim, M=16, ef_construction=200, random_seed=0)
        index.add_items(vectors, num_threads=n_threads)
        index.save(str(path))

    def load_voyager(path: Path, _: Float32Array) -> Any:
        import voyager

        return voyager.Index.load(str(path))

    def search_voyager(index: Any, queries: Float32Array, width: int) -> Any:
        return index.query(queries, K, num_threads=1, query_ef=width)[0]

    graph = {"widths": WIDTHS, "settings": f"M 16, ef_construction 200, built by {n_threads} threads"}
    probes = [width for width in (1, 2, 4, 8, 16, 24, *WIDTHS[5:]) if width < cells] + [cells]
    trees: dict[str, Any] = {"batch": False, "needs": "annoy", "settings": f"{n_trees} trees"}
    return {
        "exact": [Kind("ours: exact", None, lambda _, v: Exact(v), lambda e, q, _: e.query(q, K).rows, reads_vectors=True)],
        "hnsw": [
            Kind(
                "ours: hnsw",
                lambda v, path: HNSW.build(v, HNSWParameters()).save(path),
                lambda path, v: HNSW.load(path, v, HNSWParameters()),
                lambda e, q, _: e.query(q, K).rows,
                reads_vectors=True,
                settings=f"built by {n_threads} threads",
            )
        ],
        "faiss-flat": [Kind("faiss Flat, exact", build_flat, load_faiss, lambda e, q, _: e.search(q, K)[1])],
        "numpy": [Kind("numpy, exact", None, lambda _, v: v, search_numpy, reads_vectors=True, batch=False, needs="numpy")],
        "faiss-ivf": [Kind("faiss IVF,Flat", build_ivf, load_faiss, search_ivf, probes, settings=f"{cells} cells")],
        "hnswlib": [Kind("hnswlib", build_hnswlib, load_hnswlib, search_hnswlib, needs="hnswlib", **graph)],
        "usearch": [Kind("usearch", build_usearch, load_usearch, search_usearch, needs="usearch", **graph)],
        "voyager": [Kind("voyager", build_voyager, load_voyager, search_voyager, needs="voyager", **graph)],
        "annoy": [
            Kind(f"annoy, {n_trees} trees, default search_k", build_annoy, load_annoy, search_annoy, (-1,), **trees),
            Kind(
                f"annoy, {n_trees} trees, best search_k",
                build_annoy, load_annoy, search_annoy, tuple(growing_widths(500, 4 * n)), **trees,
            ),
        ],
    }  # fmt: skip


@dataclass
class Entry:
    """A loaded engine, its search width (the narrowest with enough recall), and its measurements."""

    kind: Kind
    opened: Any
    width: int
    build_s: float
    open_s: float
    bytes: int
    times: list[float] = field(default_factory=list)
    recall: float = 0.0
    per_s: float = 0.0

    def search(self, queries: Float32Array) -> Any:
        return self.kind.search(self.opened, queries, self.width)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def entry_of(
    kind: Kind, name: str, vectors: Float32Array, queries: Float32Array, kth: Float32Array, work: Path
) -> Entry:
    """Build the engine, unless `work` holds the same one; load it and find its width."""
    path, build_s = work / "unused", 0.0
    if kind.build is not None:
        # The key covers vectors, library version and settings; for our own engine also its source file.
        own = Path(str(sys.modules[HNSW.__module__].__file__)).read_bytes() if name == "hnsw" else b""
        made_of = f"{name} {kind.settings} {version('faiss-cpu' if kind.needs == 'faiss' else kind.needs)}".encode()
        key = hashlib.sha256(vectors.tobytes() + made_of + own).hexdigest()[:16]
        path, record = work / f"{name}-{key}", work / f"{name}-{key}.json"
        if not record.exists():
            start_s = time.process_time()
            kind.build(vectors, path)
            record.write_text(json.dumps({"build_s": time.process_time() - start_s}))
        build_s = json.loads(record.read_text())["build_s"]
    open_s, opened = timed(lambda: kind.open(path, vectors))
    for width in kind.widths:  # keep the last if none reaches the recall
        if len(kind.widths) == 1 or recall(vectors, queries, answers(kind, opened, queries, width), kth) >= RECALL:
            break
    size = (path.stat().st_size if path.is_file() else 0) + (vectors.nbytes if kind.reads_vectors else 0)
    return Entry(kind, opened, width, build_s, open_s, size)


def answers(kind: Kind, opened: Any, queries: Float32Array, width: int) -> list[Any]:
    if kind.batch:
        return list(kind.search(opened, queries, width))
    return [row for query in queries for row in kind.search(opened, query[None], width)]


def recall(vectors: Float32Array, queries: Float32Array, rows: Sequence[Any], kth: Float32Array) -> float:
    """The fraction of answers as near as the k-th true one; missing answers count as wrong."""
    right = 0
    for query, found, limit in zip(queries, rows, kth[:, 0], strict=True):
        found = np.asarray(found).astype(np.int64)
        offsets = vectors[found[(found >= 0) & (found < len(vectors))]].astype(np.float64) - query
        right += int(np.count_nonzero(np.sqrt((offsets**2).sum(axis=1)) <= limit + 1e-5))
    return right / (K * len(queries))


# --- the tables ------------------------------------------------------------------------------------------------------


def compare(
    chosen: Sequence[str],
    data: str,
    vectors: Float32Array,
    queries: Float32Array,
    n_trees: int,
    n_threads: int,
    work: Path,
) -> list[dict[str, Any]]:
    n, dim = vectors.shape
    kth = Exact(vectors, once=True).query(queries, K).distances[:, -1:]
    all_kinds = kinds(n, dim, n_trees, n_threads)
    table = []
    for name in chosen:
        for kind in all_kinds[name]:
            if importlib.util.find_spec(kind.needs) is None:
                print(f"{kind.needs} is not installed: left out", file=sys.stderr)
                continue
            faiss.omp_set_num_threads(n_threads)
            table.append(entry_of(kind, name, vectors, queries, kth, work))
    faiss.omp_set_num_threads(1)
    load = os.getloadavg()[0]
    found: list[list[Any]] = [[] for _ in table]
    for turn in range(TURNS):
        for entry, rows in zip(table, found, strict=True):
            for query in queries:
                one = query[None]
                start = time.perf_counter()
                answer = entry.search(one)
                took_s = time.perf_counter() - start
                if turn:
                    entry.times.append(took_s)
                else:
                    rows.append(answer[0])
    for entry, rows in zip(table, found, strict=True):
        entry.recall = recall(vectors, queries, rows, kth)
        if entry.kind.batch:
            entry.per_s = len(queries) / timed(lambda entry=entry: entry.search(queries))[0]
        else:
            entry.per_s = 1 / float(np.mean(entry.times))
    return [
        {
            "data": data, "rows": n, "dim": dim, "load": round(load, 1), "engine": entry.kind.name,
            "recall_at_10": round(entry.recall, 4), **percentiles(entry.times), "queries_per_s": round(entry.per_s),
            "build_s": round(entry.build_s, 1), "open_ms": round(entry.open_s * 1e3, 1),
            "megabytes": round(entry.bytes / 1e6, 1),
            "width": getattr(entry.opened, "width", entry.width if len(entry.kind.widths) > 1 else ""),
        }
        for entry in table
    ]  # fmt: skip


def percentiles(times_s: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}_us": round(float(np.percentile(times_s, percent)) * 1e6, 1) for percent in (5, 50, 99)}


def compare_filters(data: str, vectors: Float32Array, n_queries: int, work: Path) -> list[dict[str, Any]]:
    """Time exact answers within filters that leave 50, 5 and 0.1 % of the rows: by the engine alone, and by `Nearest`
    with the filter as JSON, at its first use and later."""
    n, dim = vectors.shape
    random = np.random.default_rng(2)
    bpm = random.integers(0, 1000, n)
    exact, lines = Exact(vectors), []
    with Nearest(_published(vectors, bpm, work)) as nearest:
        for share in (0.5, 0.05, 0.001):
            document = {"metadata.bpm": {"<": round(1000 * share)}}
            among = np.flatnonzero(bpm < round(1000 * share))
            options = Options(where=filters.from_json(document))
            first_s, _ = timed(lambda options=options: nearest.query(ByItem(0), K, options))
            alone, whole = [], []
            for row in random.integers(0, n, n_queries).tolist():
                query = vectors[row][None]
                took_s, found = timed(lambda query=query, among=among: exact.query(query, K, among))
                alone.append(took_s)
                took_s, answer = timed(lambda row=row, options=options: nearest.query(ByItem(row), K, options))
                whole.append(took_s)
                true = among[Exact(vectors[among], once=True).query(query, K + 1).rows[0]]
                assert found.rows[0].tolist() == true[:K].tolist(), "not the exact answer"
                assert [match.n for match in answer.matches] == true[true != row][:K].tolist(), "not the exact answer"
            for name, times in (("the engine", alone), (f"Nearest, {json.dumps(document)}", whole)):
                lines.append(
                    {"data": data, "rows": n, "dim": dim, "engine": f"{100 * share:g} % left, {name}"}
                    | percentiles(times)
                    | ({} if times is alone else {"first use ms": round(1e3 * first_s, 1)})
                )
    return lines


def _published(vectors: Float32Array, bpm: Any, work: Path) -> Path:
    """Publish the vectors, one item per row. Filtered search is exact, so the engine of the index is kept small."""
    model_dir = work / f"filters-{hashlib.sha256(vectors.tobytes()).hexdigest()[:16]}"
    if not (model_dir / "current").exists():
        small = EngineChoice("annoy", {"n_trees": 10, "search_k": 1000})
        items = (
            Item(row, f"kind{row % 50}/{row:07d}.wav", label=f"kind{row % 50}", duration_s=row % 60,
                 metadata={"bpm": one})
            for row, one in enumerate(bpm.tolist())
        )  # fmt: skip
        generation.publish(
            model_dir, Header("random", vectors.shape[1]), vectors, rows_of(np.arange(len(bpm))), items, engine=small
        )
    return model_dir


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table, and boiler's engine compared with the others."""
    columns = list(dict.fromkeys(name for line in lines for name in line if name not in ("load", "engine")))[3:]
    head = f"{lines[0]['rows']:,} rows of {lines[0]['dim']} ({lines[0]['data']}; load {lines[0].get('load', '')})"
    out = ["| " + " | ".join([head, *columns]) + " |", "| --- |" + " ---: |" * len(columns)]
    out += ["| " + " | ".join(str(line.get(name, "")) for name in ("engine", *columns)) + " |" for line in lines]
    by_name = {line["engine"]: line for line in lines}
    few = lines[0]["rows"] <= EXACT_UP_TO_ROWS
    ours = by_name.get("ours: exact" if few else "ours: hnsw")
    if ours is None:
        return "\n".join(out)
    for line in lines:
        if "best search_k" in line["engine"]:
            out.append(f"\n{line['engine']}: {line['p50_us'] / ours['p50_us']:.1f} times the p50 of ours, "
                       f"{line['megabytes'] / ours['megabytes']:.2f} times its memory")  # fmt: skip
    graphs = ("hnswlib", "usearch", "voyager", "faiss IVF,Flat")
    peers = [line for line in lines if line["engine"].endswith(", exact") or (not few and line["engine"] in graphs)]
    if peers := [line for line in peers if line["recall_at_10"] >= RECALL]:
        best = min(peers, key=lambda line: line["p50_us"])
        what = "the best exact scan of a library" if few else "the best other engine"
        out.append(f"\nours takes {ours['p50_us'] / best['p50_us']:.2f} times the p50 of {what}, {best['engine']}")
    return "\n".join(out)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(kinds(1, 1, 1, 1))
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--data", choices=["bags", "cloud"], default="bags")
    parser.add_argument("--vectors", type=Path, default=None, help="use the vectors.npy of an index instead")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--trees", type=int, default=100, help="number of trees of annoy")
    parser.add_argument(
        "--build_threads", type=int, default=len(os.sched_getaffinity(0)), help="threads that build the graph engines"
    )
    parser.add_argument("--engines", nargs="+", choices=names, default=names)
    parser.add_argument("--filters", action="store_true", help="measure filtered search instead")
    parser.add_argument(
        "--work", type=Path, default=None, help="keep built indexes in this folder (default: discard them)"
    )
    parser.add_argument("--out", type=Path, default=None, help="append the lines to this file, as JSON lines")
    args = parser.parse_args(argv)
    for n in args.rows if args.vectors is None else [0]:
        if args.vectors is None:
            generated, data = generate(args.data, n + args.queries, args.dim), args.data
        else:
            generated, data = engine.normalize(np.load(args.vectors)), args.vectors.stem
            generated = generated[np.random.default_rng(1).permutation(len(generated))]
        queries, vectors = generated[: args.queries], generated[args.queries :]
        with tempfile.TemporaryDirectory() as folder:
            work = args.work or Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            if args.filters:
                lines = compare_filters(data, vectors, min(args.queries, 30), work)
            else:
                lines = compare(args.engines, data, vectors, queries, args.trees, args.build_threads, work)
        print(markdown(lines), flush=True)
        if args.out is not None:
            with args.out.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(line) + "\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

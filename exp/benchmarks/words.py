"""Time of one query in words, and of the landmarks of the map, with the word scores of the package; torch is not loaded.

    $ OMP_NUM_THREADS=1 python -m exp.benchmarks.words --rows 100000 --work /tmp/words

The index has random vectors around 1,000 centres, one window an item; its map is random, too, as it is not what is
measured. `--work` keeps it: it takes minutes to build, for the trees of annoy. Queries are words of the vocabulary, one
to three at a time, a third of them with a minus, each asked once in one thread. Processor time says what a query costs
where other programs run, too. The first query of a process reads the vocabulary and the model, and is printed by
itself.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array, Int64Array, StructuredArray
from boiler.catalog.items import Item
from boiler.crossmodal import vocabulary, word_model
from boiler.search.nearest import ByText, Nearest
from boiler.store import build, generation, layout
from boiler.store.header import Header, rows_of

K = 10
N_CENTRES = 1_000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--work", type=Path, required=True, help="the folder of the index")
    args = parser.parse_args(argv)
    model_dir = args.work / f"{args.rows}"
    if not model_dir.exists():
        publish(model_dir, args.rows)
    frequent = [word for word in vocabulary.load().words[1_000:10_000] if word.isalpha() and len(word) > 1]
    frequent = [word for word in frequent if word not in vocabulary.STOP_WORDS]
    draw = random.Random(0)
    texts = []
    for n in range(args.queries):
        words = draw.sample(frequent, 1 + n % 3)
        texts.append(" ".join(words) + (f" -{draw.choice(frequent)}" if n % 3 == 2 else ""))
    with Nearest(model_dir) as nearest:
        first, _ = timed(lambda: nearest.query(ByText("dog"), K))
        print(f"{len(nearest):,} rows; first query {first:.1f} ms")
        measured = [timed(lambda text=text: nearest.query(ByText(text), K)) for text in texts]
        wall, processor = np.array(measured).T
        for name, times in (("time", wall), ("processor time", processor)):
            print(f"{name} of a query: p50 {np.median(times):.2f} ms, p99 {np.percentile(times, 99):.2f} ms")
        wall_ms, processor_ms = timed(nearest.landmarks)
        print(f"landmarks: {wall_ms:.0f} ms, processor time {processor_ms:.0f} ms")
    print("torch was", "loaded" if "torch" in sys.modules else "not loaded")
    return 0


def publish(model_dir: Path, n_rows: int) -> None:
    """An index of random vectors that the word model of the package scored."""
    model = word_model.load()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_CENTRES, model.dim)).astype(np.float32)
    vectors = centres[rng.integers(0, N_CENTRES, n_rows)] + 0.7 * rng.normal(size=(n_rows, model.dim))

    def random_map(vectors: Float32Array, numbers: Int64Array, **_: Any) -> StructuredArray:
        points = np.zeros(len(numbers), layout.MAP_POINT)
        points["n"], points["x"], points["y"] = numbers, rng.random(len(numbers)), rng.random(len(numbers))
        return points

    layout.layout_map = random_map
    items = [Item(n, f"{n}.wav", duration_s=5.0) for n in range(n_rows)]
    words = build.WordScoring(word_model.FILE, len(model.classes), model.scores)
    unit = engine.normalize(vectors.astype(np.float32))
    generation.publish(
        model_dir, Header("GeneralEncoder", model.dim), unit, rows_of(np.arange(n_rows), end_s=5.0), items, words=words
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of the clock and of the processor."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - start_cpu)


if __name__ == "__main__":
    sys.exit(main())

"""What the ways to choose answers do to real ones: before and after, on a labelled index.

    $ python -m exp.benchmarks.lists exp/esc10/MFCCStats --cap label=3 --cap metadata.recording=1
    $ python -m exp.benchmarks.lists exp/fsdd/MFCCStats --cap label=3 --cap metadata.speaker=2

The labels, and what `--cap` names, are those of the index: give them to boiler index with --metadata. Every item asks
(600 drawn at random of more). P@1 and P@10: answers of the same label, other takes of the same recording among them.
Skew: of how often an item answers; hubs make it large. Alike: the mean similarity of the answers of a list to each
other. Then for each field that is capped how many values of it a list of ten has. Batch: as many questions of mixed
kinds, one by one and in one call. Feedback: the first five are judged by their label; then the ten next of the plain
query and of the moved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boiler.search import relevance_feedback
from boiler.search.nearest import ByItem, ByVector, GroupLimit, Item, Nearest, Options

K, MOST, JUDGED = 10, 600, 5
WAYS = {
    "nearest": Options(),
    "hubs set back": Options(csls=True),
    "diversity 0.3": Options(diversity=0.3),
    "diversity 0.6": Options(diversity=0.6),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument(
        "--cap", action="append", metavar="FIELD=MOST", help="at most so many of a value (default: label=3)"
    )
    args = parser.parse_args(argv)
    caps = [GroupLimit(name, int(most)) for name, _, most in (cap.partition("=") for cap in args.cap or ["label=3"])]
    ways = WAYS | {f"{cap.most} of a {cap.field}": Options(per_group=cap) for cap in caps}
    with Nearest(args.model_dir) as nearest:
        items = [item for item in nearest.items(limit=len(nearest)) if not item.silent]
        labels = {item.n: item.label for item in items}
        groups = {cap.field: {item.n: value_of(item, cap.field) for item in items} for cap in caps}
        numbers = list(labels)
        if len(numbers) > MOST:
            numbers = np.random.default_rng(0).choice(numbers, MOST, replace=False).tolist()
        fields = "".join(f" | {name}s" for name in groups)
        print(f"| {len(items)} items, {nearest.header.encoder} | P@1 | P@10 | skew | never answer | alike{fields} |")
        print("| --- |" + " ---: |" * (5 + len(groups)))
        for name, options in ways.items():
            print(line(nearest, name, options, numbers, labels, groups))
        print(f"\n{batch(nearest, numbers)}")
        before, after = judged(nearest, numbers, labels)
        print(f"\nThe ten after the five judged: P@10 {before:.3f} before, {after:.3f} after")
    return 0


def value_of(item: Item, name: str) -> Any:
    """A field of an item, as `GroupLimit` calls it."""
    return item.metadata[name.removeprefix("metadata.")] if name.startswith("metadata.") else getattr(item, name)


def line(
    nearest: Nearest,
    name: str,
    options: Options,
    numbers: list[int],
    labels: dict[int, str | None],
    groups: dict[str, dict[int, Any]],
) -> str:
    hits, counts, alike = [], dict.fromkeys(labels, 0), []
    values: dict[str, list[int]] = {field: [] for field in groups}
    for n, answer in zip(numbers, nearest.query_many([ByItem(n) for n in numbers], K, options), strict=True):
        found = [match.n for match in answer.matches]
        assert len(found) == K, answer.shortfall
        hits.append([labels[one] == labels[n] for one in found])
        for one in found:
            counts[one] += 1
        for field, known in groups.items():
            values[field].append(len({known[one] for one in found}))
        vectors = np.stack([nearest.query_vector(ByItem(one)) for one in found])
        alike.append(((vectors @ vectors.T).sum() - K) / (K * (K - 1)))
    often = np.array(list(counts.values()))
    skew = ((often - often.mean()) ** 3).mean() / often.std() ** 3
    right = np.array(hits)
    different = "".join(f" | {np.mean(some):.1f}" for some in values.values())
    return (
        f"| {name} | {right[:, 0].mean():.3f} | {right.mean():.3f} | {skew:.2f} | {(often == 0).mean():.3f} |"
        f" {np.mean(alike):.3f}{different} |"
    )


def batch(nearest: Nearest, numbers: list[int]) -> str:
    """Items, vectors and weighted pairs, a third each; and what a product of as many vectors takes alone."""
    questions = [
        [ByItem(n), ByVector(nearest.query_vector(ByItem(n))), [ByItem(n), ByItem(numbers[0], weight=-0.3)]][at % 3]
        for at, n in enumerate(numbers[1:])
    ]
    rows = np.stack([nearest.query_vector(question) for question in questions])
    every = np.stack(
        [nearest.query_vector(ByItem(item.n)) for item in nearest.items(limit=len(nearest)) if not item.silent]
    )

    def best_ms(work: Callable[[], object]) -> float:
        took = []
        for _ in range(3):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return 1e3 * min(took)

    alone = best_ms(lambda: [nearest.query(question, K) for question in questions])
    together = best_ms(lambda: nearest.query_many(questions, K))
    product = best_ms(lambda: np.argpartition(-(rows @ every.T), K, axis=1))
    found = [[match.n for match in nearest.query(question, K).matches] for question in questions]
    assert found == [[match.n for match in answer.matches] for answer in nearest.query_many(questions, K)]
    return (
        f"{len(questions)} questions of mixed kinds: {alone:.0f} ms one by one, {together:.0f} ms in one call, the same"
        f" answers; a product with {len(every)} rows and the best ten of each take {product:.0f} ms"
    )


def judged(nearest: Nearest, numbers: list[int], labels: dict[int, str | None]) -> tuple[float, float]:
    before, after = [], []
    for n in numbers:
        query = nearest.query_vector(ByItem(n))[None]
        first = [match.n for match in nearest.by_item(n, JUDGED)]
        vectors = np.stack([nearest.query_vector(ByItem(one)) for one in first])
        good = np.array([labels[one] == labels[n] for one in first])
        for out, asked in ((before, query), (after, relevance_feedback.move(query, vectors[good], vectors[~good]))):
            found = [match.n for match in nearest.search(asked[0], K + JUDGED + 1) if match.n not in (n, *first)][:K]
            out.append(np.mean([labels[one] == labels[n] for one in found]))
    return float(np.mean(before)), float(np.mean(after))


if __name__ == "__main__":
    sys.exit(main())

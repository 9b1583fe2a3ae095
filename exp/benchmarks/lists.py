"""Effect of CSLS, diversity, group limits and feedback on the answers of a labelled index.

    $ python -m exp.benchmarks.lists exp/esc10/MFCCStats --cap label=3 --cap metadata.recording=1
    $ python -m exp.benchmarks.lists exp/fsdd/MFCCStats --cap label=3 --cap metadata.speaker=2

Labels, and the fields that `--cap` names, are those of the index: give them to boiler index with --metadata. Every item
is a query (a random 600 if there are more). Columns:

- P@1, P@10: answers with the label of the query, other takes of the same recording included.
- skew: skewness of how often each item is an answer; hubs make it large.
- never answer: the fraction of items that no query returns.
- mean similarity: of the answers of a list to each other.
- one column per capped field: how many distinct values a list of ten has.

Then as many queries of mixed kinds, one by one and as a batch. Last, feedback: the first five answers are judged by
their label, and P@10 of the next ten is given for the original query and for the one moved by the feedback.
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

K, MAX_QUERIES, JUDGED = 10, 600, 5
WAYS = {
    "nearest": Options(),
    "CSLS": Options(csls=True),
    "diversity 0.3": Options(diversity=0.3),
    "diversity 0.6": Options(diversity=0.6),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument(
        "--cap",
        action="append",
        metavar="FIELD=MOST",
        help="at most MOST answers with the same value of FIELD (default: label=3)",
    )
    args = parser.parse_args(argv)
    caps = [GroupLimit(name, int(most)) for name, _, most in (cap.partition("=") for cap in args.cap or ["label=3"])]
    ways = WAYS | {f"at most {cap.most} per {cap.field}": Options(per_group=cap) for cap in caps}
    with Nearest(args.model_dir) as nearest:
        items = [item for item in nearest.items(limit=len(nearest)) if not item.silent]
        labels = {item.n: item.label for item in items}
        groups = {cap.field: {item.n: value_of(item, cap.field) for item in items} for cap in caps}
        numbers = list(labels)
        if len(numbers) > MAX_QUERIES:
            numbers = np.random.default_rng(0).choice(numbers, MAX_QUERIES, replace=False).tolist()
        fields = "".join(f" | {name}s" for name in groups)
        print(
            f"| {len(items)} items, {nearest.header.encoder} | P@1 | P@10 | skew | never answer | mean similarity{fields} |"
        )
        print("| --- |" + " ---: |" * (5 + len(groups)))
        for name, options in ways.items():
            print(line(nearest, name, options, numbers, labels, groups))
        print(f"\n{batch(nearest, numbers)}")
        before, after = judged(nearest, numbers, labels)
        print(f"\nP@10 of the ten answers after the five judged: {before:.3f} without feedback, {after:.3f} with it")
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
    hits, counts, mean_similarity = [], dict.fromkeys(labels, 0), []
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
        mean_similarity.append(((vectors @ vectors.T).sum() - K) / (K * (K - 1)))
    often = np.array(list(counts.values()))
    skew = ((often - often.mean()) ** 3).mean() / often.std() ** 3
    right = np.array(hits)
    different = "".join(f" | {np.mean(n_distinct):.1f}" for n_distinct in values.values())
    return (
        f"| {name} | {right[:, 0].mean():.3f} | {right.mean():.3f} | {skew:.2f} | {(often == 0).mean():.3f} |"
        f" {np.mean(mean_similarity):.3f}{different} |"
    )


def batch(nearest: Nearest, numbers: list[int]) -> str:
    """Time queries by item, by vector and by weighted pair, a third each; and a bare matrix product for comparison."""
    queries = [
        [ByItem(n), ByVector(nearest.query_vector(ByItem(n))), [ByItem(n), ByItem(numbers[0], weight=-0.3)]][at % 3]
        for at, n in enumerate(numbers[1:])
    ]
    rows = np.stack([nearest.query_vector(query) for query in queries])
    all_rows = np.stack(
        [nearest.query_vector(ByItem(item.n)) for item in nearest.items(limit=len(nearest)) if not item.silent]
    )

    def best_ms(work: Callable[[], object]) -> float:
        took = []
        for _ in range(3):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return 1e3 * min(took)

    alone = best_ms(lambda: [nearest.query(query, K) for query in queries])
    together = best_ms(lambda: nearest.query_many(queries, K))
    product = best_ms(lambda: np.argpartition(-(rows @ all_rows.T), K, axis=1))
    found = [[match.n for match in nearest.query(query, K).matches] for query in queries]
    assert found == [[match.n for match in answer.matches] for answer in nearest.query_many(queries, K)]
    return (
        f"{len(queries)} queries of mixed kinds: {alone:.0f} ms one by one, {together:.0f} ms in one call, the same"
        f" answers; a matrix product with {len(all_rows)} rows and its ten largest per query: {product:.0f} ms"
    )


def judged(nearest: Nearest, numbers: list[int], labels: dict[int, str | None]) -> tuple[float, float]:
    before, after = [], []
    for n in numbers:
        query = nearest.query_vector(ByItem(n))[None]
        first = [match.n for match in nearest.by_item(n, JUDGED)]
        vectors = np.stack([nearest.query_vector(ByItem(one)) for one in first])
        good = np.array([labels[one] == labels[n] for one in first])
        for out, vector in (
            (before, query),
            (after, relevance_feedback.move_queries(query, vectors[good], vectors[~good])),
        ):
            found = [match.n for match in nearest.search(vector[0], K + JUDGED + 1) if match.n not in (n, *first)][:K]
            out.append(np.mean([labels[one] == labels[n] for one in found]))
    return float(np.mean(before)), float(np.mean(after))


if __name__ == "__main__":
    sys.exit(main())

"""Check where explanations point: a query made of two clips, explained against the second clip.

    $ python -m exp.benchmarks.explain exp/esc10/BagTopVQVAE --pairs 40

The query is clip A followed by clip B of another label at the same level; the explained answer is item B. Printed: how
often the most similar time span is in B; which fraction of the codes' shares, spread evenly over the spans of each code,
is in B (chance: one half); and the time of an explanation.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from boiler.audio import stream, windows
from boiler.search.nearest import BySamples, Nearest, TimeSpan

RATE, HALF_S = stream.SAMPLE_RATE_HZ, 4.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    right, shares, seconds = [], [], []
    with Nearest(args.model_dir) as nearest:
        items = [item for item in nearest.items(limit=len(nearest)) if not item.silent and item.duration_s >= HALF_S]
        while len(right) < args.pairs:
            a, b = (items[at] for at in rng.choice(len(items), 2, replace=False))
            if a.label == b.label:
                continue
            halves = [stream.load(nearest.path(one.n), end_s=HALF_S) for one in (a, b)]
            if any(windows.is_silent(half) for half in halves):
                continue
            query = BySamples(np.concatenate([half / half.std() for half in halves]), RATE)
            start = time.perf_counter()
            explanation = nearest.explain(query, b.n)
            seconds.append(time.perf_counter() - start)
            right.append(max(explanation.query_curve, key=lambda one: one.similarity).start_s >= HALF_S)
            if explanation.codes:
                shares.append(
                    sum(code.share * in_b(code.query_spans) for code in explanation.codes) / explanation.similarity
                )
    name = nearest.model_dir.name
    codes = f"{np.mean(shares):.2f} of the codes' shares" if shares else "no codes"
    print(f"{name}: {np.mean(right):.3f} of {len(right)} with the best span in B; {codes}; ", end="")
    print(f"{np.median(seconds):.2f} s each")
    return 0


def in_b(spans: tuple[TimeSpan, ...]) -> float:
    """The fraction of these spans that is in the second half."""
    inside = sum(max(0.0, span.end_s - max(span.start_s, HALF_S)) for span in spans)
    return inside / sum(span.end_s - span.start_s for span in spans)


if __name__ == "__main__":
    sys.exit(main())

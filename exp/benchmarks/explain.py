"""Do explanations point at the right seconds? Two clips of different labels in one sound, explained against the second.

    $ python -m exp.benchmarks.explain exp/esc10/BagTopVQVAE --pairs 40

A sound is made of A, then B, as loud as A, and asked with; the answer is B itself. Printed: how often the most similar
stretch lies in B; how much of the codes' shares, spread evenly over the seconds of each code, lies in B (half would be
chance); and the time an explanation takes.
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
    draw = np.random.default_rng(0)
    right, shares, seconds = [], [], []
    with Nearest(args.model_dir) as nearest:
        items = [item for item in nearest.items(limit=len(nearest)) if not item.silent and item.duration_s >= HALF_S]
        while len(right) < args.pairs:
            a, b = (items[at] for at in draw.choice(len(items), 2, replace=False))
            if a.label == b.label:
                continue
            halves = [stream.load(nearest.path(one.n), end_s=HALF_S) for one in (a, b)]
            if any(windows.is_silent(half) for half in halves):
                continue
            question = BySamples(np.concatenate([half / half.std() for half in halves]), RATE)
            began = time.perf_counter()
            why = nearest.explain(question, b.n)
            seconds.append(time.perf_counter() - began)
            right.append(max(why.query_curve, key=lambda one: one.similarity).start_s >= HALF_S)
            if why.codes:
                shares.append(sum(code.share * in_b(code.query_spans) for code in why.codes) / why.similarity)
    name = nearest.model_dir.name
    codes = f"{np.mean(shares):.2f} of the codes' shares" if shares else "no codes"
    print(f"{name}: {np.mean(right):.3f} of {len(right)} with the best stretch in B; {codes}; ", end="")
    print(f"{np.median(seconds):.2f} s each")
    return 0


def in_b(parts: tuple[TimeSpan, ...]) -> float:
    """How much of these parts lies in the second half."""
    inside = sum(max(0.0, part.end_s - max(part.start_s, HALF_S)) for part in parts)
    return inside / sum(part.end_s - part.start_s for part in parts)


if __name__ == "__main__":
    sys.exit(main())

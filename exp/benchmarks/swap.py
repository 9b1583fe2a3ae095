"""How soon a service under load answers from a new index: `python -m exp.benchmarks.swap --swaps 20`.

The slow test `tests/service/test_swap.py`, with the figures it measures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from tests.service import test_swap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        asked = test_swap.swapped_under_load(
            Path(work) / "m", args.swaps, workers=args.workers, clients=args.clients, every_s=3.0
        )
    late = sorted(asked.latest_s.values())
    print(
        f"{args.swaps} indexes published while {args.clients} clients asked {args.workers} workers: {asked.answers}"
        f" answers, each held against the exact answer of the index that it names; {len(asked.wrong)} wrong or"
        f" dropped. The last question that an index answered after the next one was out came {late[-1]:.2f} s later"
        f" (median {late[len(late) // 2]:.2f} s; {test_swap.TAKEN_UP_WITHIN_S:g} s are allowed). Load"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )
    return 1 if asked.wrong or late[-1] > test_swap.TAKEN_UP_WITHIN_S else 0


if __name__ == "__main__":
    sys.exit(main())

"""Time until a service under load answers from a new index: `python -m exp.benchmarks.swap --swaps 20`.

Runs the slow test `tests/service/test_swap.py` and prints its measurements.
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
        swapped = test_swap.swapped_under_load(
            Path(work) / "m", args.swaps, workers=args.workers, clients=args.clients, every_s=3.0
        )
    late = sorted(swapped.latest_s.values())
    print(
        f"{args.swaps} indexes published while {args.clients} clients queried {args.workers} workers: {swapped.answers}"
        f" answers, each compared with the exact answer of the index that it names; {len(swapped.wrong)} wrong or"
        f" dropped. The last query answered from a replaced index was sent {late[-1]:.2f} s after its replacement"
        f" (median {late[len(late) // 2]:.2f} s; {test_swap.TAKEN_UP_WITHIN_S:g} s are allowed). Load"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )
    return 1 if swapped.wrong or late[-1] > test_swap.TAKEN_UP_WITHIN_S else 0


if __name__ == "__main__":
    sys.exit(main())

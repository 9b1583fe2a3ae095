"""Kill the indexer in all of its stages, again and again: `python -m exp.stress.kill_indexer --kills 50`. The test of the same
(`pytest -m slow tests/test_index.py`), with what it counts as a table in Markdown."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import killing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = killing.write_many(Path(work) / "many")
        counts = killing.kill_repeatedly(folder, Path(work), args.kills)
    ends = counts.pop(killing.ENDED)
    print(
        f"{counts.total()} runs killed with SIGKILL, all processes of each at once (load {os.getloadavg()[0]:.1f}):\n"
    )
    print("| stage that it was in |", " | ".join(killing.STAGES), "|")
    print("| --- |" + " ---: |" * len(killing.STAGES))
    print("| runs killed |", " | ".join(str(counts[stage]) for stage in killing.STAGES), "|")
    print(
        f"\n{ends} runs came to their end, taking up what was left: each gave the metadata.tsv of an uninterrupted run"
        " to the byte, and its vectors to a cosine of 0.99999. After every kill, what was published had every byte as its"
        " manifest says."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

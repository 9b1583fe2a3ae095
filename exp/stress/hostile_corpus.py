"""Index hostile files: `python -m exp.stress.hostile_corpus`.

Writes damaged, oversized and misnamed files, indexes them together with good ones, and prints a table of file and
outcome in Markdown. The tests use the same files (`tests/hostile.py`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from boiler import arguments
from boiler.store import generation
from exp.common.process_monitor import watched

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import hostile
from sounds import tone, write


def main(argv: Sequence[str] | None = None) -> int:
    arguments.Parser(description=__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        folder, model_dir = Path(work) / "sounds", Path(work) / "index"
        ids = hostile.write_corpus(folder)
        good = [f"good/{n}.wav" for n in range(20)]
        (folder / "good").mkdir()
        for n, id in enumerate(good):
            write(folder / id, tone(200 + 20 * n, 0.5, 16_000), 16_000)
        costs = watched([sys.executable, "-m", "boiler.index", folder, "MFCCStats", "--model_dir", model_dir, "--json"])
        report = json.loads(costs.output)
        outcomes = {failure["id"]: failure["reason"] for failure in report["failures"]}
        with closing(generation.open(model_dir).connect()) as db:
            for id, seconds, silent in db.execute("SELECT id, duration_s, silent FROM items"):
                outcomes[id] = f"{seconds:.2f} s of {'silence' if silent else 'sound'}"
        # A pipe and a folder named like a sound are not files: the indexer skips them.
        kinds = Counter("indexed" if " s of " in outcomes[id] else "refused" for id in ids)
        print(
            f"{len(ids)} hostile files and {len(good)} good ones: {kinds['indexed']} of the hostile contain sound or"
            f" silence and are indexed, {kinds['refused']} are refused with a reason;"
            f" {sum(' s of sound' in outcomes[id] for id in good)} of {len(good)} good ones are indexed. Exit code"
            f" {costs.code}, {costs.wall_s:.0f} s, peak memory {costs.peak_own / 2**20:.0f} MB own and"
            f" {costs.peak_pss / 2**20:.0f} MB in all.\n"
        )
        print("| file | outcome |")
        print("| --- | --- |")
        for id, outcome in sorted(outcomes.items()):
            if id not in good:
                print(f"| {id if len(id) < 90 else f'{id[:40]} ... {id[-20:]}'} | {outcome} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Find near-duplicates in the corpus with boiler's own search: `python -m exp.general.deduplicate --corpus DIR`.

Indexes DIR/clips with MFCC statistics (DIR/duplicates-index, updated when the corpus has grown) and writes
DIR/duplicates.txt: of each group of near-duplicates all clips but the first, one name a line. `exp.general.train` leaves
them out. Two clips are near-duplicates when their vectors are nearer than --max_distance and their lengths differ by 5 %
at most; notes of one instrument at neighbouring pitches are further apart than that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings
from boiler.search import duplicates
from boiler.search.snapshot import Snapshot

MAX_DISTANCE = 0.02


def find_duplicates(corpus: Path, max_distance: float) -> list[str]:
    """All clips that a clip before them in their group is as good as."""
    pipeline.index(
        IndexSettings(corpus / "clips", encoder="MFCCStats", model_dir=corpus / "duplicates-index", workers=1)
    )
    groups = duplicates.find_groups(Snapshot.open(corpus / "duplicates-index"), max_distance)
    return sorted(id for group in groups for id in group.ids[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="what exp.general.corpus made")
    parser.add_argument("--max_distance", type=float, default=MAX_DISTANCE, help="default: %(default)s")
    args = parser.parse_args()
    found = find_duplicates(args.corpus, args.max_distance)
    aside = args.corpus / ".duplicates.txt"
    aside.write_text("".join(f"{name}\n" for name in found), encoding="utf-8")
    aside.replace(args.corpus / "duplicates.txt")
    print(f"{len(found)} near-duplicates: {args.corpus / 'duplicates.txt'}")


if __name__ == "__main__":
    main()

"""MagnaTagATune: clips of 29 seconds, with tags given by players of a game.

`annotations_final.csv` (tab-separated: clip_id, a column of 0 and 1 for each of 188 tags, mp3_path), and the sounds
below the root or `mp3/`. If there is a `clip_info_final.csv`, it gives artist and album. Several clips are cut from one
track, and the tracks of an album share players, room and mastering: track, album and artist are groups. The usual split
is by folder: 0 to b train, c validation, d to f test (van den Oord, Dieleman and Schrauwen 2014).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout, normalized_id, read_table

_SEGMENT = re.compile(r"-\d+-\d+\.mp3$", re.IGNORECASE)
_FOLD_OF = dict.fromkeys("0123456789ab", "train") | {"c": "validation"} | dict.fromkeys("def", "test")
_INFO = "clip_info_final.csv"


class MagnaTagATune(DatasetLayout):
    """25,863 clips, 188 tags."""

    title = "MagnaTagATune"
    source = (
        "E. Law, K. West, M. Mandel, M. Bay and J. S. Downie, Evaluation of Algorithms Using Games: The Case of Music"
        " Tagging, ISMIR 2009"
    )
    description = "annotations_final.csv, clip_info_final.csv and the folders 0 to f (or mp3/0 to mp3/f)"
    groups = ("album", "track", "artist")
    multilabel = True

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        within = "mp3/" if (root / "mp3").is_dir() else ""
        info = {}
        if (root / _INFO).exists():
            for row in read_table(self, root, _INFO, ("clip_id", "artist", "album"), "\t"):
                info[row["clip_id"]] = row
        for row in read_table(self, root, "annotations_final.csv", ("clip_id", "mp3_path"), "\t"):
            path = row["mp3_path"]
            if not path:
                continue
            groups = {"track": _SEGMENT.sub("", path)}
            if row["clip_id"] in info:
                of_clip = info[row["clip_id"]]
                groups |= {"album": f"{of_clip['artist']} - {of_clip['album']}", "artist": of_clip["artist"]}
            tags = tuple(sorted(tag for tag, has in row.items() if has == "1" and tag not in ("clip_id", "mp3_path")))
            yield DatasetEntry(
                normalized_id(within + path), tags, fold=_FOLD_OF.get(path[:1].lower(), ""), groups=groups
            )

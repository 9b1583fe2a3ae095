"""The table of `boiler.train_pictures`: which picture belongs to which sound.

A CSV file with the columns `picture` and `sound`. If the picture is a video, the column `picture_s` says which
second of it is shown; `sound_s` says which second of a long sound is meant (default: of a video that is both, the
same second; else the sound as a whole). A sound may have several pictures, and a picture several sounds: one line
for each pair.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from boiler.errors import CorpusError


class PicturePair(NamedTuple):
    """A line: names of files, as they are written, and seconds, if they are given."""

    picture: str
    sound: str
    picture_s: float | None = None
    sound_s: float | None = None


def read_pairs(path: Path) -> list[PicturePair]:
    """The lines of a table.

    Raises: CorpusError: it cannot be read, lacks a column, has no line, or a line is incomplete.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or [])
            if missing := [name for name in ("picture", "sound") if name not in columns]:
                raise CorpusError(
                    f"{path} has no column {' and no column '.join(missing)}, but {', '.join(columns) or 'none'}: a"
                    " table of pairs has the columns picture and sound"
                )
            pairs = [_pair(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read as a table: {error}") from error
    if not pairs:
        raise CorpusError(f"{path} lists no pairs")
    return pairs


def _pair(row: Mapping[str, str | None], where: str) -> PicturePair:
    picture, sound = ((row.get(name) or "").strip() for name in ("picture", "sound"))
    if not picture or not sound:
        raise CorpusError(f"{where}: there must be a picture and a sound")
    pair = PicturePair(picture, sound, _seconds(row, "picture_s", where), _seconds(row, "sound_s", where))
    return pair._replace(sound_s=pair.picture_s) if pair.sound_s is None and sound == picture else pair


def _seconds(row: Mapping[str, str | None], name: str, where: str) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CorpusError(f"{where}: {name} is a number of seconds from 0, not {text!r}")
    return seconds

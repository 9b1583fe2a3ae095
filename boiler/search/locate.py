"""A short sound found inside the recordings of a collection: in which, and when.

Vectors of windows of eight seconds cannot say when, and hardly whether, where other sounds cover what is looked for. So
the recordings themselves are read and compared sample by sample (`boiler.audio.matched_filter`), which needs their folder. That
costs time in proportion to what is read; where the collection is longer than `max_read_s`, the index says where to look
first: at the windows that are nearest to the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler.arrays import Float32Array
from boiler.audio import matched_filter, stream
from boiler.audio.matched_filter import Pattern
from boiler.deprecated import RenamedAttribute
from boiler.errors import QueryError, SoundError, SoundNotHereError
from boiler.search.snapshot import Snapshot

MAX_READ_S = 4 * 3600.0
"""How much sound is read by default."""
MAX_QUERY_S = matched_filter.MOST_S


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place where the sound occurs: from `start_s` to `end_s` of an item. `score`: 0 to 1, how much of what sounds
    there it is, 1 where it is alone; of what is 6 dB below the rest some .3 to .5, and below .2 it may be a chance
    likeness, of a near-silent recording above all. `certainty`: how many times as high as chance that is, 8 at least
    but where a recording is hardly longer than the sound, 1,000 at most. `gain_db`: how much louder it is there than as
    it was given."""

    id: str
    n: int
    url: str
    label: str | None
    start_s: float
    end_s: float
    score: float
    certainty: float
    gain_db: float


@dataclass(frozen=True)
class LocateResult:
    """The places, best first. `read_s` seconds of sound were read of the `total_s` that could hold it; `unread` are ids of
    recordings that could not be read, and why."""

    occurrences: tuple[Occurrence, ...]
    read_s: float
    total_s: float
    unread: tuple[tuple[str, str], ...] = ()

    found = RenamedAttribute("occurrences")
    of_s = RenamedAttribute("total_s")

    @property
    def complete(self) -> bool:
        """Whether it occurs nowhere else: everything was read."""
        return self.read_s >= self.total_s and not self.unread


class _Recording(NamedTuple):
    n: int
    id: str
    duration_s: float
    rows: range


class _Stretch(NamedTuple):
    recording: _Recording
    start_s: float
    end_s: float | None  # None: to its end


def locate(
    snapshot: Snapshot,
    samples: stream.Samples,
    embed: Callable[[], Float32Array],
    path: Callable[[int], Path],
    k: int,
    *,
    reader: stream.Reader = stream,
    within: Collection[int] | None = None,
    without: Collection[int] = (),
    max_read_s: float | None = MAX_READ_S,
    stop: Callable[[], bool] | None = None,
) -> LocateResult:
    """The k places where the sound occurs with the highest score.

    `samples` are at the rate of the index, and so are recordings read. `embed` gives the vectors of the sound and is
    called where not everything is read; `path` says where an item's sound lies, `reader` reads it. `within`: only in
    these items; `max_read_s`: read no more than that (None: everything).
    `stop`: asked at each block that is read; when it says so, what was found until then is the answer, which is not
    complete.

    Raises: QueryError: the sound is too short, too long or silent; no recording of it can be read (SoundNotHereError:
    because it is not there).
    """
    sample_rate_hz = snapshot.generation.header.sample_rate_hz
    try:
        pattern = Pattern(samples, sample_rate_hz)
    except ValueError as error:
        raise QueryError(f"{error}. Give a part of it (start_s, end_s)") from error
    recordings = _recordings(snapshot, pattern.length / pattern.sample_rate_hz, within, without)
    total_s = sum(one.duration_s for one in recordings)
    if max_read_s is None or total_s <= max_read_s:
        stretches = [_Stretch(one, 0.0, None) for one in recordings]
    else:
        stretches = _likely(snapshot, recordings, embed(), pattern, max_read_s)
    found, read_s, unread = _read(snapshot, stretches, pattern, path, reader, stop or (lambda: False))
    best = sorted(found, key=lambda one: (-one.score, one.n, one.start_s))[:k]
    return LocateResult(tuple(best), min(read_s, total_s), total_s, tuple(unread.items()))


def _recordings(
    snapshot: Snapshot, at_least_s: float, within: Collection[int] | None, without: Collection[int]
) -> list[_Recording]:
    """The items that the sound could be in, in the order of their numbers."""
    rows = snapshot.items.records(min_duration_s=at_least_s - 1e-3)
    return [
        _Recording(row["n"], row["id"], row["duration_s"], range(row["first_row"], row["first_row"] + row["n_rows"]))
        for row in rows
        if row["n"] not in without and (within is None or row["n"] in within)
    ]


def _likely(
    snapshot: Snapshot, recordings: Sequence[_Recording], queries: Float32Array, pattern: Pattern, max_read_s: float
) -> list[_Stretch]:
    """What to read where not everything can be: around the windows nearest to the sound, best first."""
    rows = np.concatenate([np.arange(one.rows.start, one.rows.stop) for one in recordings])
    owner = np.repeat(np.arange(len(recordings)), [len(one.rows) for one in recordings])
    similarity = (snapshot.vectors[rows] @ queries.T).max(axis=1)
    margin_s = pattern.length / pattern.sample_rate_hz
    chosen: dict[int, list[tuple[float, float]]] = {}
    left_s = max_read_s
    for at in np.argsort(-similarity, kind="stable").tolist():
        _, start_s, end_s = snapshot.rows[rows[at]].item()
        last_s = recordings[owner[at]].duration_s
        wider = (max(0.0, start_s - margin_s), min(last_s, end_s + margin_s))
        spans = _with(chosen.get(int(owner[at]), []), wider)
        left_s -= _length(spans) - _length(chosen.get(int(owner[at]), []))
        if left_s < 0 and chosen:
            break
        chosen[int(owner[at])] = spans
    return [_Stretch(recordings[one], *span) for one, spans in sorted(chosen.items()) for span in spans]


def _with(spans: Sequence[tuple[float, float]], new: tuple[float, float]) -> list[tuple[float, float]]:
    """The spans and one more, those that touch put together."""
    apart = [span for span in spans if span[1] < new[0] or span[0] > new[1]]
    touched = [span for span in spans if span not in apart]
    whole = (min([new[0], *(span[0] for span in touched)]), max([new[1], *(span[1] for span in touched)]))
    return sorted([*apart, whole])


def _length(spans: Sequence[tuple[float, float]]) -> float:
    return sum(end_s - start_s for start_s, end_s in spans)


def _read(
    snapshot: Snapshot,
    stretches: Sequence[_Stretch],
    pattern: Pattern,
    path: Callable[[int], Path],
    reader: stream.Reader,
    stop: Callable[[], bool],
) -> tuple[list[Occurrence], float, dict[str, str]]:
    found, read_s, unread = list[Occurrence](), 0.0, dict[str, str]()
    errors: list[QueryError | SoundError] = []
    for recording, start_s, end_s in stretches:
        reading = _Reading(stop, pattern.sample_rate_hz)
        try:
            blocks = reader.stream(
                path(recording.n), start_s=start_s, end_s=end_s, sample_rate_hz=pattern.sample_rate_hz
            )
            places = matched_filter.occurrences(pattern, reading.through(blocks))
        except (QueryError, SoundError) as error:
            unread[recording.id] = getattr(error, "reason", str(error))
            errors.append(error)
            continue
        read_s += reading.read_s if reading.stopped else (recording.duration_s if end_s is None else end_s) - start_s
        name = snapshot.names([recording.n])[0]
        found += [
            Occurrence(
                *(name.id, recording.n, name.url, name.label),
                *(start_s + one.start_s, start_s + one.start_s + pattern.duration_s),
                *(one.correlation, one.certainty, one.gain_db),
            )
            for one in places
        ]
        if reading.stopped:
            return found, read_s, unread
    if errors and not read_s:
        kind = SoundNotHereError if isinstance(errors[0], SoundNotHereError) else QueryError
        id, reason = next(iter(unread.items()))
        raise kind(f"none of the recordings can be read; {id}: {reason}") from errors[0]
    return found, read_s, unread


class _Reading:
    """A recording on its way through, until `stop` says that it is enough."""

    def __init__(self, stop: Callable[[], bool], sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self.stopped = False
        self.read_s = 0.0
        self._stop = stop

    def through(self, blocks: Iterator[stream.Samples]) -> Iterator[stream.Samples]:
        for block in blocks:
            self.stopped = self._stop()
            if self.stopped:
                return
            self.read_s += len(block) / self._sample_rate_hz
            yield block

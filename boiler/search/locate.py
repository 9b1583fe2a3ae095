"""Locate a short sound inside the recordings of a collection: in which ones it occurs, and when.

A vector describes a window of eight seconds: it does not say when a sound occurs, and hardly whether it does if louder
sounds mask it. Therefore the recordings are read and compared with the sound sample by sample
(`boiler.audio.matched_filter`). The cost is proportional to what is read; if the collection is longer than
`max_read_s`, only the surroundings of the windows whose vectors are nearest to the sound are read.
"""

from __future__ import annotations

import functools
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
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search.context import SearchContext
from boiler.search.seeds import ByItem, BySamples, BySound, check_span, mono_samples, to_seed
from boiler.search.snapshot import Snapshot

MAX_READ_S = 4 * 3600.0
"""Seconds of recordings that are read by default."""
MAX_QUERY_S = matched_filter.MAX_S
"""Length of the longest sound that can be located."""

SoundInput = ByItem | BySound | BySamples | stream.Source | int
"""The sound to locate, as a caller gives it: a str is a path."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Where the sound occurs: from `start_s` to `end_s` of an item.

    score: 0 to 1, normalised correlation: 1 if nothing else sounds there, .3 to .5 if the sound is 6 dB below others;
        below .2 it may be a coincidence, above all in a nearly silent recording
    certainty: how many times higher the match is than chance, at most 1,000; at least 8, unless the recording is
        hardly longer than the sound
    gain_db: the level there, relative to the given sound
    """

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
    """The occurrences, highest score first.

    read_s: seconds of recordings that were read, of the total_s in which the sound could occur
    unread: id and reason of each recording that could not be read
    """

    occurrences: tuple[Occurrence, ...]
    read_s: float
    total_s: float
    unread: tuple[tuple[str, str], ...] = ()

    found = RenamedAttribute("occurrences")
    of_s = RenamedAttribute("total_s")

    @property
    def complete(self) -> bool:
        """Whether everything was read, so that there are no other occurrences."""
        return self.read_s >= self.total_s and not self.unread


class _Recording(NamedTuple):
    n: int
    id: str
    duration_s: float
    rows: range


class _Stretch(NamedTuple):
    recording: _Recording
    start_s: float
    end_s: float | None  # None: to the end of the recording


def locate_sound(
    context: SearchContext,
    snapshot: Snapshot,
    sound: SoundInput,
    k: int,
    *,
    within: Collection[str | int] | None,
    max_read_s: float | None,
    stop: Callable[[], bool] | None,
    on_progress: ProgressCallback,
) -> LocateResult:
    """Load a sound, and find its occurrences. The arguments are those of `Nearest.locate_result`.

    Raises: as `locate_samples`; UnknownItemError; SoundError.
    """
    if isinstance(sound, str):
        sound = BySound(sound)
    seed = sound if isinstance(sound, ByItem | BySound | BySamples) else to_seed(sound)
    if not isinstance(seed, ByItem | BySound | BySamples):
        raise QueryError(f"an item or a sound can be located, not {type(sound).__name__}")
    numbers = None if within is None else {snapshot.item(one).n for one in within}
    without = set[int]()
    rate_hz = snapshot.generation.header.sample_rate_hz
    if isinstance(seed, BySamples):
        samples = mono_samples(seed, rate_hz)
    else:
        check_span(seed.start_s, seed.end_s)
        # One second more than the limit, so that a sound that is too long is refused and not cut.
        end_s = min(seed.start_s + MAX_QUERY_S + 1, np.inf if seed.end_s is None else seed.end_s)
        source = context.sound_path(snapshot, seed.id_or_n) if isinstance(seed, ByItem) else seed.source
        samples = context.reader.load(source, start_s=seed.start_s, end_s=end_s, sample_rate_hz=rate_hz)
        if isinstance(seed, ByItem):
            without = {snapshot.item(seed.id_or_n).n} - (numbers or set())

    def embed() -> Float32Array:
        embedded = context.embedder.embed(snapshot.generation, [samples], "the sound to locate")
        return np.stack([one.vector for one in embedded])

    return locate_samples(
        snapshot,
        samples,
        embed,
        lambda n: context.sound_path(snapshot, n),
        k,
        reader=context.reader,
        within=numbers,
        without=without,
        max_read_s=max_read_s,
        stop=stop,
        on_progress=on_progress,
    )


def locate_samples(
    snapshot: Snapshot,
    samples: stream.Samples,
    embed: Callable[[], Float32Array],
    path_of: Callable[[int], Path],
    k: int,
    *,
    reader: stream.Reader = stream,
    within: Collection[int] | None = None,
    without: Collection[int] = (),
    max_read_s: float | None = MAX_READ_S,
    stop: Callable[[], bool] | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> LocateResult:
    """The k occurrences with the highest scores.

    samples: the sound, [T], at the rate of the index, at which the recordings are read, too
    embed: returns the vectors of the sound; called only if not everything is read
    path_of: returns the path of the item with this number; reader: decodes it
    within, without: item numbers: read only these, skip these
    max_read_s: seconds of recordings to read at most; None: all
    stop: called for every block; once it returns True, reading ends and the result is what was found until then
    on_progress: called with the fraction that has been read

    Raises: QueryError: the sound is too short, too long or silent; no recording of it can be read (SoundNotHereError:
    because none is there); and what `on_progress` raises.
    """
    sample_rate_hz = snapshot.generation.header.sample_rate_hz
    try:
        pattern = Pattern(samples, sample_rate_hz)
    except ValueError as error:
        raise QueryError(f"{error}. Give a part of it (start_s, end_s)") from error
    recordings = _candidates(snapshot, pattern.length / pattern.sample_rate_hz, within, without)
    total_s = sum(one.duration_s for one in recordings)
    if max_read_s is None or total_s <= max_read_s:
        stretches = [_Stretch(one, 0.0, None) for one in recordings]
    else:
        stretches = _nearest_stretches(snapshot, recordings, embed(), pattern, max_read_s)
    found, read_s, unread = _read(snapshot, stretches, pattern, path_of, reader, stop or (lambda: False), on_progress)
    best = sorted(found, key=lambda one: (-one.score, one.n, one.start_s))[:k]
    return LocateResult(tuple(best), min(read_s, total_s), total_s, tuple(unread.items()))


def _candidates(
    snapshot: Snapshot, min_duration_s: float, within: Collection[int] | None, without: Collection[int]
) -> list[_Recording]:
    """The items in which the sound could occur, in the order of their numbers."""
    return [
        _Recording(row["n"], row["id"], row["duration_s"], range(row["first_row"], row["first_row"] + row["n_rows"]))
        for row in snapshot.items.records(min_duration_s=min_duration_s - 1e-3)
        if row["n"] not in without and (within is None or row["n"] in within)
    ]


def _nearest_stretches(
    snapshot: Snapshot, recordings: Sequence[_Recording], queries: Float32Array, pattern: Pattern, max_read_s: float
) -> list[_Stretch]:
    """At most `max_read_s` of the recordings: the surroundings of the windows nearest to the sound."""
    rows = np.concatenate([np.arange(one.rows.start, one.rows.stop) for one in recordings])
    recording_of = np.repeat(np.arange(len(recordings)), [len(one.rows) for one in recordings])
    similarity = (snapshot.vectors[rows] @ queries.T).max(axis=1)
    margin_s = pattern.length / pattern.sample_rate_hz
    spans_of: dict[int, list[tuple[float, float]]] = {}
    left_s = max_read_s
    for at in np.argsort(-similarity, kind="stable").tolist():
        recording = int(recording_of[at])
        _, start_s, end_s = snapshot.rows[rows[at]].item()
        span = (max(0.0, start_s - margin_s), min(recordings[recording].duration_s, end_s + margin_s))
        before = spans_of.get(recording, [])
        spans = _union(before, span)
        left_s -= _total_s(spans) - _total_s(before)
        if left_s < 0 and spans_of:
            break
        spans_of[recording] = spans
    return [_Stretch(recordings[one], *span) for one, spans in sorted(spans_of.items()) for span in spans]


def _union(spans: Sequence[tuple[float, float]], new: tuple[float, float]) -> list[tuple[float, float]]:
    """The spans and one more, merged where they touch."""
    apart = [span for span in spans if span[1] < new[0] or span[0] > new[1]]
    touching = [span for span in spans if span not in apart]
    merged = (min([new[0], *(span[0] for span in touching)]), max([new[1], *(span[1] for span in touching)]))
    return sorted([*apart, merged])


def _total_s(spans: Sequence[tuple[float, float]]) -> float:
    return sum(end_s - start_s for start_s, end_s in spans)


def _read(
    snapshot: Snapshot,
    stretches: Sequence[_Stretch],
    pattern: Pattern,
    path_of: Callable[[int], Path],
    reader: stream.Reader,
    stop: Callable[[], bool],
    on_progress: ProgressCallback,
) -> tuple[list[Occurrence], float, dict[str, str]]:
    found, read_s, unread = list[Occurrence](), 0.0, dict[str, str]()
    errors: list[QueryError | SoundError] = []
    lengths_s = [(one.recording.duration_s if one.end_s is None else one.end_s) - one.start_s for one in stretches]
    planned_s, passed_s = sum(lengths_s), 0.0

    def report(before_s: float, read_s: float) -> None:
        on_progress(min((before_s + read_s) / planned_s, 1.0))

    for (recording, start_s, end_s), length_s in zip(stretches, lengths_s, strict=True):
        stoppable = _StoppableReader(stop, functools.partial(report, passed_s), pattern)
        passed_s += length_s
        try:
            blocks = reader.stream(
                path_of(recording.n), start_s=start_s, end_s=end_s, sample_rate_hz=pattern.sample_rate_hz
            )
            places = matched_filter.find_occurrences(pattern, stoppable.blocks(blocks))
        except (QueryError, SoundError) as error:
            unread[recording.id] = getattr(error, "reason", str(error))
            errors.append(error)
            continue
        read_s += stoppable.read_s if stoppable.stopped else length_s
        name = snapshot.names([recording.n])[0]
        found += [
            Occurrence(
                *(name.id, recording.n, name.url, name.label),
                *(start_s + one.start_s, start_s + one.start_s + pattern.duration_s),
                *(one.correlation, one.certainty, one.gain_db),
            )
            for one in places
        ]
        if stoppable.stopped:
            return found, read_s, unread
    if errors and not read_s:
        kind = SoundNotHereError if isinstance(errors[0], SoundNotHereError) else QueryError
        id, reason = next(iter(unread.items()))
        raise kind(f"none of the recordings can be read; {id}: {reason}") from errors[0]
    return found, read_s, unread


class _StoppableReader:
    """Yields the blocks of a recording until `stop` returns True, and reports the seconds read to `on_read`."""

    def __init__(self, stop: Callable[[], bool], on_read: Callable[[float], None], pattern: Pattern) -> None:
        self._sample_rate_hz = pattern.sample_rate_hz
        self._stop = stop
        self._on_read = on_read
        self.stopped = False
        self.read_s = 0.0

    def blocks(self, blocks: Iterator[stream.Samples]) -> Iterator[stream.Samples]:
        for block in blocks:
            self.stopped = self._stop()
            if self.stopped:
                return
            self.read_s += len(block) / self._sample_rate_hz
            self._on_read(self.read_s)
            yield block

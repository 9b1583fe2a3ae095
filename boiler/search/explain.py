"""Why two sounds are similar: which windows match, which codes contribute, and at which seconds.

>>> from boiler.search.nearest import ByItem, Nearest
>>> why = Nearest("exp/esc10/BagTopVQVAE").explain(ByItem("rain/a.ogg"), "rain/b.ogg")  # doctest: +SKIP
>>> why.similarity, why.codes[0].code, why.codes[0].share, why.codes[0].answer_spans  # doctest: +SKIP
(0.93, 17, 0.31, (TimeSpan(start_s=0.0, end_s=2.5),))

As in every search, two sounds are as similar as their best pair of windows. Where the encoder counts the codes of a
codebook (its script has `activations`), the cosine of that pair is the sum of `query[c] * match[c]` over the codes `c`:
these products are the shares, exactly. A code is active where its activation is at least half of its maximum.

Similarity over time works with every encoder: each short stretch of one sound is repeated until it fills a window, like
any short sound, and compared with the windows of the other. It covers the whole sound or, if that is long, the
surroundings of the window that matched. A stretch below the noise floor of the encoders has similarity 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from boiler.arrays import Float32Array, Float64Array
from boiler.audio import stream
from boiler.audio.windows import DEFAULT_WINDOWS, fill_window, is_silent
from boiler.deprecated import RenamedAttribute, module_getattr
from boiler.errors import QueryError
from boiler.progress import ProgressCallback
from boiler.search.context import SearchContext
from boiler.search.embedder import BATCH_WINDOWS, Embedder, TimeSpan
from boiler.search.resolve import resolve_seed, row_spans
from boiler.search.seeds import (
    ByItem,
    ByPicture,
    BySamples,
    BySound,
    ByText,
    ByVector,
    ByWindows,
    QueryInput,
    mono_samples,
    to_seeds,
)
from boiler.search.snapshot import Snapshot
from boiler.store.generation import Generation

__getattr__ = module_getattr(__name__, {"WordShare": "CodeShare", "COURSE_S": "CURVE_S"})

MAX_WINDOW_MATCHES = 16
CURVE_S = 2 * DEFAULT_WINDOWS.window_s
"""Similarity over time covers this much of a sound, or two windows if that is more, around the window that matched."""
STRETCH_S = 0.5
"""Long enough to recognise most sounds: a bark, a syllable, a drum stroke."""
MIN_STRETCH_S = 0.1
"""A shorter stretch, repeated, would be heard as a tone whose pitch is the rate of repetition."""
MIN_STRETCHES = 4
"""A sound shorter than two seconds is divided into this many, if `MIN_STRETCH_S` allows it."""
NOISE_FLOOR = 10 ** (-48 / 20)
"""The encoders' spectrograms are floored 48 dB below the peak of a window (`mel.MelSettings.floor`)."""
ACTIVE = 0.5
"""A code is active where its activation is at least this share of its maximum."""
MIN_SAME_SIMILARITY = 0.9
"""Minimum cosine between the vector of an item in the index and that of its file now. Another decoder changes it
less."""


@dataclass(frozen=True, slots=True)
class CodeShare:
    """The contribution of one code of the codebook to the similarity.

    code: its index in the codebook; share: its term in the sum that is the similarity
    query_spans, answer_spans: when it is active in the query and in the match
    """

    code: int
    share: float
    query_spans: tuple[TimeSpan, ...]
    answer_spans: tuple[TimeSpan, ...]

    word = RenamedAttribute("code")
    query_parts = RenamedAttribute("query_spans")
    answer_parts = RenamedAttribute("answer_spans")


@dataclass(frozen=True, slots=True)
class WindowMatch:
    """A window of the query, one of the match, and their cosine similarity."""

    query: TimeSpan
    answer: TimeSpan
    similarity: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A short stretch of one sound, and its cosine similarity to the nearest window of the other."""

    start_s: float
    end_s: float
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """Why two sounds are similar.

    kind: "codes" where the encoder counts codes, else "windows"
    similarity: the cosine of the two windows that match best
    codes: those that both sounds have, largest share first; the shares sum to the similarity. Empty for "windows"
    windows: the best match of each window of the sound that has more of them, best first, at most `MAX_WINDOW_MATCHES`
    query_curve, answer_curve: similarity over time, in order, without gaps
    """

    kind: Literal["codes", "windows"]
    similarity: float
    codes: tuple[CodeShare, ...]
    windows: tuple[WindowMatch, ...]
    query_curve: tuple[Moment, ...]
    answer_curve: tuple[Moment, ...]

    words = RenamedAttribute("codes")
    query_course = RenamedAttribute("query_curve")
    answer_course = RenamedAttribute("answer_curve")


@dataclass(frozen=True)
class ExplainedSound:
    """One of the two sounds: the vectors of its windows [W, D], their time spans, and how to read its samples.

    `read(start_s, end_s)` returns samples at the rate of the index, fewer where the sound ends.
    """

    name: str
    vectors: Float32Array
    windows: Sequence[TimeSpan]
    read: Callable[[float, float], stream.Samples]


def explain_match(
    context: SearchContext, snapshot: Snapshot, query: QueryInput, item: str | int, on_progress: ProgressCallback
) -> Explanation:
    """Why an item is similar to the sound of a query, which must be one. `on_progress` is first called when both are
    embedded.

    Raises: UnknownItemError; QueryError: several seeds, a vector, or a sound that is not here or changed since it was
    indexed; SoundError, ModelDirError; and what `on_progress` raises.
    """
    seed = _single_sound(query)
    rate_hz = snapshot.generation.header.sample_rate_hz
    number, rows = snapshot.rows_of(item)
    match = ExplainedSound(
        snapshot.item(number).id,
        snapshot.vectors[rows.start : rows.stop],
        row_spans(snapshot, rows),
        _file_reader(context, context.sound_path(snapshot, number), rate_hz),
    )
    if isinstance(seed, BySamples):
        name, read = "the samples given", _samples_reader(seed, rate_hz)
    elif isinstance(seed, ByItem):
        name = snapshot.item(seed.id_or_n).id
        read = _file_reader(context, context.sound_path(snapshot, seed.id_or_n), rate_hz)
    else:
        source = seed.source
        assert source is not None  # refused by `_single_sound`
        if isinstance(seed, BySound) and not isinstance(source, str | os.PathLike | bytes) and not source.seekable():
            seed = replace(seed, source=source.read())  # it is read twice
        name, read = stream.source_name(source), _file_reader(context, seed.source or source, rate_hz)
    windows = resolve_seed(context, snapshot, seed)
    sound = ExplainedSound(name, windows.vectors, windows.spans or [], read)
    return explain(sound, match, context.embedder, snapshot.generation, on_progress)


def _single_sound(query: QueryInput) -> ByItem | BySound | BySamples | ByWindows:
    given = to_seeds(query)
    if len(given) > 1:
        raise QueryError("the query has several seeds: explain the match by one of them at a time")
    if isinstance(given[0], ByText | ByPicture):
        raise QueryError("words and pictures have no sound to explain a match with")
    if isinstance(given[0], ByVector) or (isinstance(given[0], ByWindows) and given[0].source is None):
        raise QueryError("a vector cannot be explained: search with the item or the sound it was made from")
    return given[0]


def _file_reader(
    context: SearchContext, source: stream.Source, sample_rate_hz: int
) -> Callable[[float, float], stream.Samples]:
    return lambda start_s, end_s: context.reader.load(
        source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz
    )


def _samples_reader(seed: BySamples, sample_rate_hz: int) -> Callable[[float, float], stream.Samples]:
    """A reader whose times count from the start of the whole sound, of which the seed may be a part."""
    samples = mono_samples(seed, sample_rate_hz)

    def read(start_s: float, end_s: float) -> stream.Samples:
        first, last = (round((time_s - seed.start_s) * sample_rate_hz) for time_s in (start_s, end_s))
        return samples[first:last]

    return read


def explain(
    query: ExplainedSound,
    match: ExplainedSound,
    embedder: Embedder,
    opened: Generation,
    on_progress: ProgressCallback,
) -> Explanation:
    """Explain the similarity of two sounds for the encoder of this index.

    Raises: QueryError: a sound changed since it was indexed; ModelDirError, SoundError; and what `on_progress` raises.
    """
    on_progress(0.0)
    cosines = query.vectors.astype(np.float64) @ match.vectors.astype(np.float64).T
    pairs = _window_pairs(cosines)
    best_of_query, best_of_match = pairs[0]
    both = (
        _MatchedWindow(query, best_of_query, embedder, opened),
        _MatchedWindow(match, best_of_match, embedder, opened),
    )
    activations = embedder.activations(opened, np.stack([one.window for one in both]))
    return Explanation(
        kind="windows" if activations is None else "codes",
        similarity=float(cosines[best_of_query, best_of_match]),
        codes=() if activations is None else _code_shares(both, activations, opened.header.window_spec.window_s),
        windows=tuple(
            WindowMatch(query.windows[one], match.windows[other], float(cosines[one, other])) for one, other in pairs
        ),
        query_curve=both[0].similarity_curve(match.vectors, lambda share: on_progress(share / 2)),
        answer_curve=both[1].similarity_curve(query.vectors, lambda share: on_progress((1 + share) / 2)),
    )


class _MatchedWindow:
    """The window of a sound that matched, and the samples around it."""

    def __init__(self, sound: ExplainedSound, at: int, embedder: Embedder, opened: Generation) -> None:
        self.vector, self.span = sound.vectors[at].astype(np.float64), sound.windows[at]
        self._embedder, self._opened = embedder, opened
        self._spec = spec = opened.header.window_spec
        rate_hz = spec.sample_rate_hz
        first_s = min(span.start_s for span in sound.windows)
        last_s = max(span.end_s for span in sound.windows)
        curve_s = max(CURVE_S, 2 * spec.window_s)
        start_s = max(min(sum(self.span) / 2 - curve_s / 2, last_s - curve_s), first_s)
        self._start = round(start_s * rate_hz)
        self._samples = sound.read(self._start / rate_hz, min(start_s + curve_s, last_s))
        offset = round(self.span.start_s * rate_hz) - self._start
        window = self._samples[offset : offset + round((self.span.end_s - self.span.start_s) * rate_hz)]
        size = spec.window_samples
        self.window = fill_window(window, size) if len(window) else np.zeros(size, np.float32)
        if embedder.embed_windows(opened, self.window[None])[0] @ self.vector < MIN_SAME_SIMILARITY:
            raise QueryError(f"{sound.name} changed since it was indexed: run boiler index to update the index")

    def similarity_curve(self, others: Float32Array, on_progress: ProgressCallback) -> tuple[Moment, ...]:
        """The similarity of each stretch to the nearest of the windows `others` [W, D]."""
        length = len(self._samples)
        seconds = length / self._spec.sample_rate_hz
        count = max(round(seconds / STRETCH_S), min(MIN_STRETCHES, int(seconds / MIN_STRETCH_S + 1e-6)), 1)
        cuts = [round(at * length / count) for at in range(count + 1)]
        stretches = [self._samples[first:last] for first, last in pairwise(cuts)]
        floor = NOISE_FLOOR * np.abs(self._samples).max()
        audible = [at for at, one in enumerate(stretches) if not is_silent(one) and np.abs(one).max() >= floor]
        similarity = np.zeros(count)
        for at in range(0, len(audible), BATCH_WINDOWS):
            on_progress(at / len(audible))
            batch = audible[at : at + BATCH_WINDOWS]
            filled = [fill_window(stretches[one], self._spec.window_samples) for one in batch]
            vectors = self._embedder.embed_windows(self._opened, np.stack(filled))
            similarity[batch] = (vectors @ others.T).max(axis=1)
        times_s = [(self._start + cut) / self._spec.sample_rate_hz for cut in cuts]
        return tuple(map(Moment, times_s, times_s[1:], similarity.tolist()))


def _window_pairs(cosines: Float64Array) -> list[tuple[int, int]]:
    """Pairs of windows, the best first: for each window of the sound that has more windows, its best match. [Q, M]"""
    transposed = cosines.shape[0] < cosines.shape[1]
    table = cosines.T if transposed else cosines
    best = table.argmax(axis=1)
    order = np.argsort(-table[np.arange(len(table)), best], kind="stable")[:MAX_WINDOW_MATCHES]
    pairs = zip(order.tolist(), best[order].tolist(), strict=True)
    return [(other, one) if transposed else (one, other) for one, other in pairs]


def _code_shares(
    both: tuple[_MatchedWindow, _MatchedWindow], activations: Float32Array, window_s: float
) -> tuple[CodeShare, ...]:
    """The share of each code, and when it is active. Shape: activations [2, K, F]"""
    shares = both[0].vector * both[1].vector
    folded = [
        _fold_repetitions(some.astype(np.float64), one.span, window_s)
        for some, one in zip(activations, both, strict=True)
    ]
    return tuple(
        CodeShare(
            code,
            float(shares[code]),
            *(_active_spans(some[code], one.span) for some, one in zip(folded, both, strict=True)),
        )
        for code in np.argsort(-shares, kind="stable").tolist()
        if shares[code] != 0
    )


def _fold_repetitions(activations: Float64Array, span: TimeSpan, window_s: float) -> Float64Array:
    """The mean over the repetitions of a short sound, which is repeated until it fills its window.

    Shape: [K, F] of a window to [K, F'] of the sound, F' frames (at least one) of equal length that fill `span`.
    """
    frames = activations.shape[1]
    seconds = span.end_s - span.start_s
    bins = max(1, min(frames, int(seconds * frames / window_s + 1e-6)))
    middles_s = (np.arange(frames) + 0.5) * window_s / frames
    # Frames are not longer than bins, so each bin holds the middle of at least one frame.
    bin_of = np.minimum((middles_s % seconds / seconds * bins).astype(int), bins - 1)
    total = np.zeros((len(activations), bins))
    np.add.at(total.T, bin_of, activations.T)
    total /= np.bincount(bin_of, minlength=bins)
    return total


def _active_spans(activation: Float64Array, span: TimeSpan) -> tuple[TimeSpan, ...]:
    """The time spans in which a code is active, from its activation [F'] over `span`."""
    active = np.concatenate([[False], activation >= ACTIVE * activation.max(), [False]])
    edges = np.flatnonzero(active[1:] != active[:-1]).reshape(-1, 2)
    frame_s = (span.end_s - span.start_s) / len(activation)
    return tuple(
        TimeSpan(span.start_s + first * frame_s, span.start_s + last * frame_s) for first, last in edges.tolist()
    )

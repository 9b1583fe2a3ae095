"""Why two sounds are similar: which windows matched, which words made the match, and at which seconds.

>>> from boiler.search.nearest import ByItem, Nearest
>>> why = Nearest("exp/esc10/BagTopVQVAE").explain(ByItem("rain/a.ogg"), "rain/b.ogg")  # doctest: +SKIP
>>> why.similarity, why.words[0].word, why.words[0].share, why.words[0].answer_parts  # doctest: +SKIP
(0.93, 17, 0.31, (TimeSpan(start_s=0.0, end_s=2.5),))

The best pair of windows speaks for two sounds, as in every search. Where the encoder is a bag of words (its script has
`activations`), the cosine of that pair is a sum over the words, `query[w] * answer[w]`: these are the shares, nothing is
estimated. A word's parts are the seconds at which it sounds at least half as much as where it sounds most.

The courses work with any encoder: each short stretch of the one sound, repeated to fill a window as a short sound is,
is compared with the windows of the other. They cover the sound or, of a long one, what lies around the window that
matched. What is too quiet for the encoders to hear beside the rest is like nothing: 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from boiler.arrays import Float32Array, Float64Array
from boiler.audio import stream
from boiler.audio.windows import DEFAULT_WINDOWS, fill_window, is_silent
from boiler.errors import QueryError
from boiler.progress import ProgressCallback
from boiler.search import seeds
from boiler.search.embedder import BATCH_WINDOWS, Embedder, TimeSpan
from boiler.search.seeds import ByItem, BySamples, BySound, ByWindows, QueryInput
from boiler.store.generation import Generation

MOST_MATCHES = 16
COURSE_S = 2 * DEFAULT_WINDOWS.window_s
"""A course is of a sound up to this long (or two windows, if that is longer), or of so much of it around the window
that matched."""
STRETCH_S = 0.5
"""Enough for most sounds to be themselves: a bark, a syllable, a stroke."""
LEAST_STRETCH_S = 0.1
"""A shorter stretch, repeated, would be a buzz of its own pitch."""
FEW_STRETCHES = 4
"""Into so many a sound of less than two seconds is cut, as far as `LEAST_STRETCH_S` allows."""
BACKGROUND = 10 ** (-48 / 20)
"""48 dB below a window's peak the spectrograms of the encoders end (`mel.MelSettings.floor`)."""
SOUNDING = 0.5
"""A word sounds where it is present at least so much as where it is most present."""
SAME = 0.9
"""The least cosine between what an item was when indexed and what it is now; another decoder changes less."""


@dataclass(frozen=True, slots=True)
class WordShare:
    """What one word adds to the similarity, and when it sounds in both."""

    word: int
    share: float
    query_parts: tuple[TimeSpan, ...]
    answer_parts: tuple[TimeSpan, ...]


@dataclass(frozen=True, slots=True)
class WindowMatch:
    """A window of what was asked, one of the answer, and their cosine."""

    query: TimeSpan
    answer: TimeSpan
    similarity: float


@dataclass(frozen=True, slots=True)
class Moment:
    """How similar (the cosine) a short stretch of the one sound is to the whole of the other."""

    start_s: float
    end_s: float
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """Why two sounds are similar.

    kind: "words" for bags of words, else "windows"
    similarity: the cosine of the two windows that matched best
    words: the shares of all words that both have, largest first; they sum to the similarity. Empty for "windows"
    windows: the best match of each window of the sound that has more of them, best first, at most `MOST_MATCHES`
    query_course, answer_course: similarity over time, in order, without gaps
    """

    kind: Literal["words", "windows"]
    similarity: float
    words: tuple[WordShare, ...]
    windows: tuple[WindowMatch, ...]
    query_course: tuple[Moment, ...]
    answer_course: tuple[Moment, ...]


@dataclass(frozen=True)
class Sound:
    """One of the two: its windows as they were compared, [W, D] and their times, and how to read it.

    `read(start_s, end_s)` gives samples at the rate of the index, fewer where the sound ends.
    """

    name: str
    vectors: Float32Array
    windows: Sequence[TimeSpan]
    read: Callable[[float, float], stream.Samples]


def one_sound(question: QueryInput) -> ByItem | BySound | BySamples | ByWindows:
    """The single sound that a question consists of.

    Raises: QueryError: it is several, or a vector, which nobody can hear.
    """
    asked = seeds.to_seeds(question)
    if len(asked) > 1:
        raise QueryError("several sounds were asked with: explain the answer by each of them in turn")
    if isinstance(asked[0], seeds.ByVector) or (isinstance(asked[0], ByWindows) and asked[0].source is None):
        raise QueryError("a vector has no seconds to explain: ask with the item or the sound it was made of")
    return asked[0]


def reading(
    source: stream.Source, reader: stream.Reader, sample_rate_hz: int
) -> Callable[[float, float], stream.Samples]:
    """How to read a file, for a `Sound`."""
    return lambda start_s, end_s: reader.load(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz)


def samples_reader(seed: BySamples, sample_rate_hz: int) -> Callable[[float, float], stream.Samples]:
    """How to read samples, for a `Sound`; its times are those of the whole of which the seed may be a part."""
    samples = seeds.samples_of(seed, sample_rate_hz)

    def read(start_s: float, end_s: float) -> stream.Samples:
        first, last = (round((at - seed.start_s) * sample_rate_hz) for at in (start_s, end_s))
        return samples[first:last]

    return read


def explain(
    query: Sound, answer: Sound, embedder: Embedder, opened: Generation, on_progress: ProgressCallback
) -> Explanation:
    """Why these two are similar, by the encoder of this index. `on_progress` is told how far it is.

    Raises: QueryError: a sound is not what it was when it was indexed; ModelDirError: as `Embedder.embed`; SoundError;
    and what `on_progress` raises.
    """
    on_progress(0.0)
    cosines = query.vectors.astype(np.float64) @ answer.vectors.astype(np.float64).T
    matched = _matched(cosines)
    asked, answered = matched[0]
    both = _Matched(query, asked, embedder, opened), _Matched(answer, answered, embedder, opened)
    activations = embedder.activations(opened, np.stack([one.window for one in both]))
    return Explanation(
        kind="windows" if activations is None else "words",
        similarity=float(cosines[asked, answered]),
        words=() if activations is None else _words(both, activations, opened.header.window_spec.window_s),
        windows=tuple(WindowMatch(query.windows[of], answer.windows[to], float(cosines[of, to])) for of, to in matched),
        query_course=both[0].course(answer.vectors, lambda share: on_progress(share / 2)),
        answer_course=both[1].course(query.vectors, lambda share: on_progress((1 + share) / 2)),
    )


class _Matched:
    """One of the two sounds, read around the window that matched."""

    def __init__(self, sound: Sound, at: int, embedder: Embedder, opened: Generation) -> None:
        self.vector, self.part = sound.vectors[at].astype(np.float64), sound.windows[at]
        self._embedder, self._opened = embedder, opened
        first = min(part.start_s for part in sound.windows)
        last = max(part.end_s for part in sound.windows)
        self._spec = spec = opened.header.window_spec
        rate_hz = spec.sample_rate_hz
        course_s = max(COURSE_S, 2 * spec.window_s)
        begins = max(min(sum(self.part) / 2 - course_s / 2, last - course_s), first)
        self._begins = round(begins * rate_hz)
        self._samples = sound.read(self._begins / rate_hz, min(begins + course_s, last))
        offset = round(self.part.start_s * rate_hz) - self._begins
        window = self._samples[offset : offset + round((self.part.end_s - self.part.start_s) * rate_hz)]
        size = spec.window_samples
        self.window = fill_window(window, size) if len(window) else np.zeros(size, np.float32)
        if embedder.embed_windows(opened, self.window[None])[0] @ self.vector < SAME:
            raise QueryError(f"{sound.name} is not what it was when it was indexed: run boiler index to take it up")

    def course(self, others: Float32Array, on_progress: ProgressCallback) -> tuple[Moment, ...]:
        """How similar each stretch is to the nearest of these windows [W, D]."""
        length = len(self._samples)
        seconds = length / self._spec.sample_rate_hz
        count = max(round(seconds / STRETCH_S), min(FEW_STRETCHES, int(seconds / LEAST_STRETCH_S + 1e-6)), 1)
        cuts = [round(at * length / count) for at in range(count + 1)]
        stretches = [self._samples[first:last] for first, last in pairwise(cuts)]
        background = BACKGROUND * np.abs(self._samples).max()
        heard = [at for at, one in enumerate(stretches) if not is_silent(one) and np.abs(one).max() >= background]
        similarity = np.zeros(count)
        for at in range(0, len(heard), BATCH_WINDOWS):
            on_progress(at / len(heard))
            some = heard[at : at + BATCH_WINDOWS]
            filled = [fill_window(stretches[one], self._spec.window_samples) for one in some]
            vectors = self._embedder.embed_windows(self._opened, np.stack(filled))
            similarity[some] = (vectors @ others.T).max(axis=1)
        times = [(self._begins + cut) / self._spec.sample_rate_hz for cut in cuts]
        return tuple(map(Moment, times, times[1:], similarity.tolist()))


def _matched(cosines: Float64Array) -> list[tuple[int, int]]:
    """The best pair of windows first; then, for each other window of the side that has more, its best match."""
    turned = cosines.shape[0] < cosines.shape[1]
    of = cosines.T if turned else cosines
    best = of.argmax(axis=1)
    order = np.argsort(-of[np.arange(len(of)), best], kind="stable")[:MOST_MATCHES]
    pairs = zip(order.tolist(), best[order].tolist(), strict=True)
    return [(to, one) if turned else (one, to) for one, to in pairs]


def _words(both: tuple[_Matched, _Matched], activations: Float32Array, window_s: float) -> tuple[WordShare, ...]:
    """The shares, with the seconds. Shape: activations [2, D, F]."""
    shares = both[0].vector * both[1].vector
    folded = [_folded(bag.astype(np.float64), one.part, window_s) for bag, one in zip(activations, both, strict=True)]
    return tuple(
        WordShare(
            word,
            float(shares[word]),
            *(_sounding(bag[word], one.part) for bag, one in zip(folded, both, strict=True)),
        )
        for word in np.argsort(-shares, kind="stable").tolist()
        if shares[word] != 0
    )


def _folded(activations: Float64Array, part: TimeSpan, window_s: float) -> Float64Array:
    """A short sound fills its window several times: the mean over its repetitions.

    Shape: [K, F] of a window to [K, F'] of the sound, F' frames (at least one) of equal length that fill `part`.
    """
    frames = activations.shape[1]
    seconds = part.end_s - part.start_s
    bins = max(1, min(frames, int(seconds * frames / window_s + 1e-6)))
    middles = (np.arange(frames) + 0.5) * window_s / frames
    # Frames are no longer than bins, so that each bin has the middle of one at least.
    into = np.minimum((middles % seconds / seconds * bins).astype(int), bins - 1)
    total = np.zeros((len(activations), bins))
    np.add.at(total.T, into, activations.T)
    total /= np.bincount(into, minlength=bins)
    return total


def _sounding(course: Float64Array, part: TimeSpan) -> tuple[TimeSpan, ...]:
    """The parts of a sound in which a word sounds, whose activation over it is `course` [F']."""
    sounding = np.concatenate([[False], course >= SOUNDING * course.max(), [False]])
    edges = np.flatnonzero(sounding[1:] != sounding[:-1]).reshape(-1, 2)
    second = (part.end_s - part.start_s) / len(course)
    return tuple(
        TimeSpan(part.start_s + first * second, part.start_s + last * second) for first, last in edges.tolist()
    )

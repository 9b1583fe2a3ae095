"""Turns seeds into the vectors of a query: looks up items, decodes and embeds sounds, and combines several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boiler.arrays import Float32Array
from boiler.audio import stream
from boiler.crossmodal.text_query import TextQuery
from boiler.errors import QueryError
from boiler.search import seeds
from boiler.search.context import SearchContext
from boiler.search.embedder import TimeSpan
from boiler.search.query import QueryVectors
from boiler.search.seeds import ByItem, ByPicture, BySamples, BySound, ByText, ByVector, ByWindows, QueryInput, Seed
from boiler.search.snapshot import Snapshot
from boiler.search.words import Understood, WeightedWords, shown_classes, understand, understand_picture


@dataclass(frozen=True)
class SeedWindows:
    """A seed, embedded: the vectors of its windows, float32 [W, D], unit length, at most `seeds.MAX_WINDOWS`; their
    time spans, None for a vector; and the number of the item, if the seed is an item or a part of one."""

    vectors: Float32Array
    spans: Sequence[TimeSpan] | None = None
    item_n: int | None = None


def resolve_query(context: SearchContext, snapshot: Snapshot, query: QueryInput) -> QueryVectors:
    """The vectors of a query: the windows of one seed, or the one combined vector of several.

    Raises: QueryError, UnknownItemError, SoundError, ModelDirError.
    """
    given = seeds.to_seeds(query)
    in_words = [seed for seed in given if isinstance(seed, ByText | ByPicture)]
    if in_words:
        sounds = [seed for seed in given if not isinstance(seed, ByText | ByPicture)]
        return _with_words(context, snapshot, in_words, sounds)
    resolved = [resolve_seed(context, snapshot, seed) for seed in given]
    without = frozenset(one.item_n for one in resolved if one.item_n is not None)
    if len(given) == 1:
        (seed,), (windows,) = given, resolved
        whole_item = isinstance(seed, ByItem) and seed.whole
        return QueryVectors(windows.vectors, windows.spans, without, windows.item_n if whole_item else None)
    vector = seeds.combine([one.vectors for one in resolved], [seed.weight for seed in given])
    return QueryVectors(vector[None], None, without)


def _with_words(
    context: SearchContext, snapshot: Snapshot, in_words: Sequence[ByText | ByPicture], sounds: Sequence[Seed]
) -> QueryVectors:
    words = tuple(_weighted(context, snapshot, seed) for seed in in_words)
    if not sounds:
        return QueryVectors(np.zeros((0, snapshot.generation.header.dim), np.float32), words=words)
    resolved = [resolve_seed(context, snapshot, seed) for seed in sounds]
    vector = seeds.combine([one.vectors for one in resolved], [seed.weight for seed in sounds])
    without = frozenset(one.item_n for one in resolved if one.item_n is not None)
    return QueryVectors(vector[None], None, without, words=words, weight=sum(abs(seed.weight) for seed in sounds))


def _weighted(context: SearchContext, snapshot: Snapshot, seed: ByText | ByPicture) -> WeightedWords:
    if isinstance(seed, ByText):
        return WeightedWords(understand(snapshot, seed.text), seed.weight)
    if (space := snapshot.spaces.pictures) is not None:
        seen = context.seen(seed.source)
        in_space = space.of_picture(seen.features, seen.image_sha256)
        return WeightedWords(Understood(TextQuery(()), (), seen=shown_classes(seen.classes)), seed.weight, in_space)
    if not snapshot.has_words:
        _ = snapshot.word_model  # raises an error that says which index can
    return WeightedWords(understand_picture(snapshot, context.seen(seed.source).classes), seed.weight)


def resolve_seed(context: SearchContext, snapshot: Snapshot, seed: Seed) -> SeedWindows:
    """The windows of one seed.

    Raises: as `resolve_query`.
    """
    header, item_n = snapshot.generation.header, None
    match seed:
        case ByText() | ByPicture():
            raise QueryError("words and pictures have no sound: give an item or a sound here")
        case ByVector(values):
            seeds.check_encoder(seed.encoder, header)
            return SeedWindows(seeds.unit_vector(values, header.dim)[None])
        case ByWindows():
            vectors, spans = seeds.window_vectors(seed, header.dim), [TimeSpan(*span) for span in seed.times]
        case ByItem(id_or_n) if seed.whole:
            item_n, rows = snapshot.rows_of(id_or_n)
            chosen = seeds.evenly_spaced(rows)
            return SeedWindows(snapshot.vectors[chosen], row_spans(snapshot, chosen), item_n)
        case ByItem() | BySound():
            seeds.check_span(seed.start_s, seed.end_s)
            source: stream.Source
            if isinstance(seed, ByItem):
                item_n = snapshot.item(seed.id_or_n).n
                source = context.sound_path(snapshot, seed.id_or_n)
            else:
                source = seed.source
            embedded = context.embed(snapshot, source, seed.start_s, seed.end_s)
            vectors, spans = np.stack([one.vector for one in embedded]), [one.window for one in embedded]
        case BySamples():
            samples = seeds.mono_samples(seed, header.sample_rate_hz)
            embedded = context.embedder.embed(snapshot.generation, [samples], "the samples given", seed.start_s)
            vectors, spans = np.stack([one.vector for one in embedded]), [one.window for one in embedded]
    chosen = seeds.evenly_spaced(range(len(vectors)))
    return SeedWindows(vectors[chosen], [spans[window] for window in chosen], item_n)


def row_spans(snapshot: Snapshot, rows: Sequence[int]) -> list[TimeSpan]:
    """The time spans of rows of the index."""
    chosen = snapshot.rows[list(rows)]
    return [TimeSpan(*span) for span in zip(chosen["start_s"].tolist(), chosen["end_s"].tolist(), strict=True)]

"""The results of a search: the state of the page as seeds and options of `Nearest.query`, with a cache of answers.

A sound without vectors in the index (an upload, or part of an item) is embedded once, whatever the refinement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import streamlit as st

from boiler.audio import stream
from boiler.browser.decoders import shared_decoders
from boiler.browser.indexes import OpenIndex
from boiler.browser.upload_store import upload_store
from boiler.browser.url_state import Refinement, SearchState
from boiler.catalog.items import Item
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search import filter_parser, filters, relevance_feedback, seeds
from boiler.search.filters import Filter
from boiler.search.nearest import ByItem, ByPicture, ByWindows, GroupLimit, Nearest, Options, QueryResult

DEDUP_DISTANCE = 0.1

QuerySeed: TypeAlias = ByItem | ByPicture | ByWindows


def find_results(index: OpenIndex, state: SearchState) -> QueryResult:
    """At most `state.k` items, nearest first, without the query and without liked or disliked items. Cached.

    Raises: QueryError, SoundError, ModelDirError, CheckpointError: as `Nearest.query`.
    """
    query = replace(state, history=(), find="", index=None, explain=None)
    if query.refinement.feedback:  # changes with every like and dislike of any visitor
        return index.nearest.query(query_seeds(index, query), query.k, query_options(index, query))
    return _cached_answer(index.key, index.nearest.generation, tuple(query.to_params().items()), index, query)


@st.cache_resource(max_entries=500, show_spinner=False)  # answers are frozen: sessions may share them
def _cached_answer(
    key: str, generation: str, params: tuple[tuple[str, str], ...], _index: OpenIndex, _state: SearchState
) -> QueryResult:
    return _index.nearest.query(query_seeds(_index, _state), _state.k, query_options(_index, _state))


def query_seeds(index: OpenIndex, state: SearchState) -> list[QuerySeed]:
    """The query, likes and dislikes as weighted seeds.

    The weights of all likes add up to that of one like, and so do those of dislikes
    (J. J. Rocchio, Relevance feedback in information retrieval, 1971).

    Raises: as `query_seed`.
    """
    query = query_seed(index, state)
    disliked = _weighted(state.disliked, -relevance_feedback.DISLIKE_WEIGHT)
    if query is None:  # likes alone are the query
        return [*(ByItem(n) for n in state.liked), *disliked]
    return [query, *_weighted(state.liked, relevance_feedback.LIKE_WEIGHT), *disliked]


def _weighted(numbers: tuple[int, ...], weight: float) -> list[ByItem]:
    return [ByItem(n, weight=weight / len(numbers)) for n in numbers]


def needs_embedding(state: SearchState) -> bool:
    """Whether the query is a sound whose vectors are not in the index."""
    return state.upload is not None or (state.item is not None and state.start_s is not None)


def query_seed(
    index: OpenIndex, state: SearchState, on_progress: ProgressCallback = ignore_progress
) -> QuerySeed | None:
    """The query without likes and dislikes; None where likes alone are the query.

    Raises: QueryError: the upload is no longer stored; SoundError, ModelDirError; whatever `on_progress` raises.
    """
    if state.picture is not None:
        return ByPicture(upload_store().picture(state.picture).path)
    if not needs_embedding(state):
        return None if state.item is None else ByItem(state.item)
    if state.upload is not None:
        item = upload_store().item(state.upload)
        path = upload_store().path(item.n)
    else:
        item = index.nearest.item(state.item or 0)
        path = index.nearest.path(item.n)
    part = state.start_s or 0.0, state.end_s
    return _cached_windows(
        index.key, index.nearest.generation, state.upload, item.n, part, index.nearest, item, path, on_progress
    )


@st.cache_resource(max_entries=100, show_spinner=False)
def _cached_windows(
    key: str,
    generation: str,
    upload: str | None,
    n: int,
    part: tuple[float, float | None],
    _nearest: Nearest,
    _item: Item,
    _path: Path,
    _on_progress: ProgressCallback,
) -> ByWindows:
    start_s, end_s = part
    length_s = (_item.duration_s if end_s is None else end_s) - start_s
    rate_hz = _nearest.header.sample_rate_hz
    decoded = shared_decoders().stream(_path, start_s=start_s, end_s=end_s, sample_rate_hz=rate_hz)
    with contextlib.closing(decoded):  # ends the decoding where `_on_progress` raises
        blocks = _reported(decoded, rate_hz, length_s, _on_progress)
        windows = seeds.evenly_spaced(_nearest.embed_blocks(blocks, _item.id, start_s))
    return ByWindows([one.vector for one in windows], [one.window for one in windows], _path)


def _reported(
    blocks: Iterable[stream.Samples], rate_hz: int, length_s: float, on_progress: ProgressCallback
) -> Iterator[stream.Samples]:
    """The same samples in blocks of one second; reports progress before each block."""
    done_s = 0
    for block in blocks:
        for start in range(0, len(block), rate_hz):
            on_progress(done_s / max(length_s, 1.0))
            yield block[start : start + rate_hz]
            done_s += 1


def query_options(index: OpenIndex, state: SearchState) -> Options:
    """The refinement as options of `Nearest.query`.

    Raises: QueryError: the condition cannot be parsed.
    """
    refinement = state.refinement
    return Options(
        where=refinement_filter(index, refinement),
        # Vectors of a part do not say which item they are from.
        without=frozenset(() if state.item is None else (state.item,)),
        dedup_distance=DEDUP_DISTANCE if refinement.dedup else None,
        per_group=GroupLimit(refinement.group_by, refinement.per_group) if refinement.per_group else None,
        diversity=refinement.diversity / 100,
        csls=refinement.csls,
        feedback=refinement.feedback,
    )


def refinement_filter(index: OpenIndex, refinement: Refinement) -> Filter | None:
    """All conditions of a refinement as one filter.

    Raises: QueryError: the condition cannot be parsed.
    """
    conditions: list[Filter] = []
    if refinement.label:
        conditions.append(filters.field("label") == refinement.label)
    if refinement.folder:
        conditions.append(filters.under(refinement.folder))
    if refinement.tag:
        conditions.append(index.has_tag(refinement.tag))
    if refinement.min_s:
        conditions.append(filters.field("duration_s") >= refinement.min_s)
    if refinement.max_s:
        conditions.append(filters.field("duration_s") <= refinement.max_s)
    if refinement.where:
        conditions.append(filter_parser.parse(refinement.where))
    return filters.And(tuple(conditions)) if conditions else None

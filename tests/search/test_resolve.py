"""Every kind of seed is resolved to its vectors and time spans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wording import publish_with_words

from boiler import engine
from boiler.audio import stream
from boiler.catalog.items import Item
from boiler.errors import ModelDirError, QueryError, UnknownItemError
from boiler.search.context import SearchContext
from boiler.search.embedder import TimeSpan
from boiler.search.resolve import resolve_query, resolve_seed, row_spans
from boiler.search.seeds import ByItem, BySamples, ByText, ByVector, ByWindows
from boiler.store import generation
from boiler.store.generation import Header, rows_of

VECTORS = engine.normalize(np.random.default_rng(0).normal(size=(5, 6)))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SearchContext:
    """Items 0 and 1 of one window, item 2 of three. No encoder."""
    folder = tmp_path_factory.mktemp("resolve")
    rows = rows_of(np.array([0, 1, 2, 2, 2]), start_s=np.array([0.0, 0, 0, 4, 8]), end_s=np.array([1.0, 2, 8, 12, 14]))
    items = [Item(n, f"{n}.wav", duration_s=length_s) for n, length_s in enumerate((1.0, 2.0, 14.0))]
    generation.publish(folder, Header("none", 6), VECTORS, rows, items)
    return SearchContext(folder, None, "cpu", None, stream)


def test_an_item_has_the_vectors_of_its_rows_and_is_excluded_from_the_results(context: SearchContext) -> None:
    query = resolve_query(context, context.snapshot, "2.wav")
    np.testing.assert_array_equal(query.vectors, VECTORS[2:])
    assert query.spans == [TimeSpan(0.0, 8.0), TimeSpan(4.0, 12.0), TimeSpan(8.0, 14.0)]
    assert (query.item_n, query.without) == (2, {2})


def test_a_vector_has_no_times_and_excludes_no_item(context: SearchContext) -> None:
    query = resolve_query(context, context.snapshot, 3 * VECTORS[0])
    np.testing.assert_allclose(query.vectors, VECTORS[:1], atol=1e-6)
    assert (query.spans, query.item_n, query.without) == (None, None, frozenset())


def test_embedded_windows_keep_their_times(context: SearchContext) -> None:
    windows = resolve_seed(context, context.snapshot, ByWindows(2 * VECTORS[:2], [(0, 8), (4, 12)]))
    np.testing.assert_allclose(windows.vectors, VECTORS[:2], atol=1e-6)
    assert windows.spans == [TimeSpan(0.0, 8.0), TimeSpan(4.0, 12.0)]


def test_several_seeds_are_combined_to_one_vector_and_their_items_are_excluded(context: SearchContext) -> None:
    query = resolve_query(context, context.snapshot, [ByItem(0), ByItem(1, weight=-0.5), ByVector(VECTORS[4])])
    expected = engine.normalize(VECTORS[0] - 0.5 * VECTORS[1].astype(np.float64) + VECTORS[4])
    np.testing.assert_allclose(query.vectors, expected[None], atol=1e-6)
    assert (query.spans, query.item_n, query.without) == (None, None, {0, 1})


def test_items_beside_words_are_combined_and_excluded(tmp_path: Path) -> None:
    publish_with_words(tmp_path / "index", VECTORS)
    context = SearchContext(tmp_path / "index", None, "cpu", None, stream)
    query = resolve_query(context, context.snapshot, [ByText("dog"), ByItem(3), ByItem(1, weight=-0.5)])
    expected = engine.normalize(VECTORS[3] - 0.5 * VECTORS[1].astype(np.float64))
    np.testing.assert_allclose(query.vectors, expected[None], atol=1e-6)
    assert (query.without, query.weight, len(query.words)) == ({1, 3}, 1.5, 1)


def test_parts_of_items_and_samples_need_an_encoder(context: SearchContext) -> None:
    with pytest.raises(QueryError, match="starts at 0 s or later"):
        resolve_query(context, context.snapshot, ByItem(0, 3.0, 2.0))
    with pytest.raises(QueryError, match="folder of the sounds"):
        resolve_query(context, context.snapshot, ByItem(0, 0.5))
    with pytest.raises(ModelDirError, match="without an encoder"):
        resolve_query(context, context.snapshot, BySamples(np.ones(16_000), 16_000))
    with pytest.raises(UnknownItemError):
        resolve_query(context, context.snapshot, [ByItem(0), ByItem(99)])


def test_time_spans_of_rows(context: SearchContext) -> None:
    assert row_spans(context.snapshot, [4, 0]) == [TimeSpan(8.0, 14.0), TimeSpan(0.0, 1.0)]

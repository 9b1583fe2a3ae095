"""Rendered rows: escaping, the size of the cache, several indexes."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
from serving import publish

from boiler.search.nearest import Nearest
from boiler.service import responses, row_renderer
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

ODD = ['quote" and \\back', "per%cent %s %.6f", "ümläut/日本.wav", "line\nbreak\ttab", "a" * 300]


def test_names_are_escaped(tmp_path: Path) -> None:
    vectors = np.eye(len(ODD), 8, dtype=np.float32)
    items = [Item(n, name, url=f"{name}?", label=name if n % 2 else None) for n, name in enumerate(ODD)]
    generation.publish(tmp_path, Header(encoder="random", dim=8), vectors, rows_of(np.arange(len(ODD))), items)
    nearest = Nearest(tmp_path)
    query = np.arange(8, 0, -1.0)
    body = row_renderer.RowRenderer().render(*nearest.rank(query, 5)).body
    assert json.loads(bytes(body)) == responses.neighbour_rows(nearest.search(query, 5))


def test_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_renderer, "MAX_CACHED_NAMES", 20)
    publish(tmp_path, 100, 8)
    nearest, renderer = Nearest(tmp_path), row_renderer.RowRenderer()
    for query in np.random.default_rng(0).normal(size=(30, 8)):
        rows = json.loads(bytes(renderer.render(*nearest.rank(query, 7)).body))
        assert rows == responses.neighbour_rows(nearest.search(query, 7))
    (cache,) = renderer._row_caches.values()
    assert len(cache._prefixes) <= 20 + 7


def test_rows_of_a_closed_index_are_removed(tmp_path: Path) -> None:
    publish(tmp_path, 10, 8)
    nearest, renderer = Nearest(tmp_path), row_renderer.RowRenderer()
    first = bytes(renderer.render(*nearest.rank([1.0] * 8, 3)).body)
    publish(tmp_path, 12, 8, seed=1)
    assert nearest.refresh()
    assert bytes(renderer.render(*nearest.rank([1.0] * 8, 3)).body) != first
    gc.collect()
    assert len(renderer._row_caches) == 1

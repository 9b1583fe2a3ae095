"""The map page has a legend and says what the map is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import KINDS, components, page_of, publish_random, run_page
from wording import publish_with_words

from boiler.browser.indexes import OpenIndex
from boiler.search.nearest import Nearest


def test_the_map_has_a_legend_and_says_what_it_is(index: OpenIndex) -> None:
    page = page_of("map_page", index.model_dir)
    run_page(page, item="1")
    assert "Each point is a sound" in page.caption[0].value
    (view,) = components(page)
    assert {entry["name"] for entry in view["legend"]} == {*KINDS, "long"}
    assert view["highlighted"] == [1]
    page.get_by_key("map-colour-by").set_value("cluster").run()
    (view,) = components(page)
    assert view["legend"][0]["name"] == "Cluster 1"


def test_words_are_on_the_map_where_the_index_has_them(index: OpenIndex, tmp_path: Path) -> None:
    (view,) = components(run_page(page_of("map_page", index.model_dir)))
    assert view["landmarks"] == []
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(60) % 6])
    page = run_page(page_of("map_page", tmp_path / "index"))
    (view,) = components(page)
    assert {"dog", "rain", "violin"} <= {one["name"] for one in view["landmarks"]}
    assert "Each word is where the sounds are" in page.caption[0].value


def test_an_index_without_a_map_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_random(tmp_path, 3)
    monkeypatch.setattr(Nearest, "map", lambda self: None)
    page = run_page(page_of("map_page", tmp_path))
    assert "boiler index" in page.info[0].value

"""The collection page shows totals, unreadable files and near-duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import page_of, run_page
from streamlit.testing.v1 import AppTest

from boiler.browser import collection_page
from boiler.browser.indexes import OpenIndex
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of


def test_the_totals_are_those_of_the_collection(index: OpenIndex) -> None:
    page = run_page(page_of("collection_page", index.model_dir))
    totals = {metric.label: metric.value for metric in page.metric}
    assert (totals["Sounds"], totals["Labels"], totals["Unreadable files"], totals["Silent"]) == ("22", "6", "1", "1")
    assert "broken/text.wav" in page.dataframe[1].value["File"].to_numpy()


def test_near_duplicates_are_shown_and_in_a_large_collection_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.float32([[1, 0, 0], [0, 1, 0], [1, 0.05, 0], [1, 0, 0]])
    durations_s = (5.0, 5.0, 5.1, 9.0)  # the last has another duration
    items = [Item(n, f"{n}.wav", duration_s=durations_s[n]) for n in range(4)]
    generation.publish(tmp_path, Header(encoder="random", dim=3), vectors, rows_of(np.arange(4), end_s=5.0), items)

    def groups(page: AppTest) -> list[list[str]]:
        tables = [table.value for table in page.dataframe if "Near-duplicates" in table.value]
        return [[*row] for table in tables for row in table[["File", "Near-duplicates"]].to_numpy().tolist()]

    assert groups(run_page(page_of("collection_page", tmp_path))) == [["0.wav", "2.wav"]]
    monkeypatch.setattr(collection_page, "AUTO_NEAR_DUPLICATES_MAX_ITEMS", 3)
    page = run_page(page_of("collection_page", tmp_path))
    assert groups(page) == []
    page.button(key="find-near-duplicates").click().run()
    assert groups(page) == [["0.wav", "2.wav"]]

"""The explanation of a result names what both sounds share and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import LONG, components, item_number, run_page, write
from streamlit.testing.v1 import AppTest

from boiler.audio import synthesis
from boiler.browser import indexes, options
from boiler.browser.explanation import MAX_MARKS
from boiler.browser.indexes import OpenIndex
from boiler.indexing.pipeline import IndexSettings
from boiler.indexing.pipeline import index as index_folder


def test_a_result_is_explained_and_the_explanation_is_closed(page: AppTest, index: OpenIndex) -> None:
    n = item_number(index, "bell/bell-0.wav")
    run_page(page, item=str(n), explain=str(item_number(index, LONG)))
    (explained,) = (data for data in components(page) if "marks" in data)
    assert explained["query"]["name"] == "bell-0.wav"
    assert explained["result"]["name"] == "three.wav"
    assert explained["marks"]
    from_s, to_s = explained["result"]["range_s"]
    assert all(from_s <= start_s < end_s <= to_s for start_s, end_s in explained["marks"][0]["result"])
    assert all(-1 <= similarity <= 1.001 for _, _, similarity in explained["query"]["curve"])
    page.button(key="close-explanation").click().run()
    assert "explain" not in page.query_params


@pytest.mark.slow
def test_a_bag_of_codes_is_explained_by_codes(
    page: AppTest, checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        write(tmp_path / "sounds" / f"{n}.wav", synthesis.synthesize("bell", np.random.default_rng(n)))
    index_folder(IndexSettings(tmp_path / "sounds", "BagTopVQVAE", model_dir=tmp_path / "m", pt_path=checkpoint_path))
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "m"))
    nearest = indexes.open_index(tmp_path / "m").nearest
    run_page(page, item=str(nearest.item("0.wav").n), explain=str(nearest.item("1.wav").n))
    (explained,) = (data for data in components(page) if "marks" in data)
    assert explained["kind"] == "codes"
    names = [mark["name"] for mark in explained["marks"]]
    assert names
    assert len(set(names)) == len(names) <= MAX_MARKS
    assert all(name.startswith("Code ") for name in names)
    shares = [int(mark["value"].removesuffix(" %")) for mark in explained["marks"]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 100 + len(shares) / 2  # each is rounded
    for side in ("query", "result"):
        from_s, to_s = explained[side]["range_s"]
        parts = [part for mark in explained["marks"] for part in mark[side]]
        assert parts
        assert all(from_s <= start_s < end_s <= to_s + 1e-3 for start_s, end_s in parts)


def test_what_cannot_be_explained_is_reported_and_the_results_stay(page: AppTest, index: OpenIndex) -> None:
    run_page(page, item="1", explain=str(item_number(index, "quiet/nothing.wav")))
    assert "cannot be explained" in page.warning[0].value
    assert len(list(components(page))) == 2

"""boiler.json is read as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from boiler.errors import ModelDirError
from boiler.store.header import Header, rows_of


def test_a_header_is_read_as_it_was_written() -> None:
    header = Header("mine", 64, engine={"name": "exact", "annoy": {"n_trees": 50}}, n_rows=7)
    assert Header.from_json(header.to_json(), Path("boiler.json")) == header


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}', '{"format_version": "1"}'])
def test_an_invalid_header_is_refused(text: str) -> None:
    with pytest.raises(ModelDirError, match=r"boiler\.json"):
        Header.from_json(text, Path("boiler.json"))


def test_rows_take_one_time_for_all_or_one_per_row() -> None:
    rows = rows_of([3, 3, 4], start_s=[0, 4.096, 0])
    assert rows["n"].tolist() == [3, 3, 4]
    assert rows["start_s"].tolist() == pytest.approx([0, 4.096, 0])
    assert rows["end_s"].tolist() == pytest.approx([8.192] * 3)
    assert rows.itemsize == 16

"""Array types state their elements; batches are complete and read lazily."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest

from boiler import arrays


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_batches_hold_all_items_in_order(size: int) -> None:
    parts = list(arrays.batches(range(7), size))
    assert [item for part in parts for item in part] == list(range(7))
    assert all(len(part) == size for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= size


def test_no_items_give_no_batches() -> None:
    assert list(arrays.batches([], 3)) == []


def test_batches_read_one_batch_at_a_time() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            read.append(item)
            yield item

    assert next(arrays.batches(items(), 3)) == [0, 1, 2]
    assert read == [0, 1, 2]


@pytest.mark.parametrize("name", ["Float16", "Float32", "Float64", "Int8", "Int16", "Int64", "UInt8", "Complex64"])
def test_the_name_of_an_array_type_states_its_elements(name: str) -> None:
    _, dtype = get_args(getattr(arrays, f"{name}Array"))
    assert get_args(dtype) == (np.dtype(name.lower()).type,)

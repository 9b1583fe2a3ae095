"""Arrays that CTranslate2 saved: read as they are; anything else is an error that says what is wrong."""

from __future__ import annotations

import pytest
import torch
from ctranslate2_files import model_bin
from hypothesis import given
from hypothesis import strategies as st

from boiler.errors import CheckpointError
from boiler.model.ctranslate2_weights import read_arrays

ARRAYS = {
    "encoder/conv1/weight": torch.arange(24).reshape(2, 3, 4) / 8,
    "encoder/conv1/bias": torch.tensor([-1.5, 0.25]),
    "decoder/bias": torch.ones(3),
}


def test_arrays_are_read_by_prefix() -> None:
    found = read_arrays(model_bin(ARRAYS), "encoder/")
    assert found.keys() == {"conv1/weight", "conv1/bias"}  # settings are left out
    for name, values in found.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, ARRAYS[f"encoder/{name}"].float(), rtol=0, atol=0)
    assert read_arrays(model_bin(ARRAYS)).keys() == ARRAYS.keys()


def test_quantised_arrays_and_other_versions_are_refused() -> None:
    quantised = model_bin(ARRAYS, quantised="decoder/bias")
    assert len(read_arrays(quantised, "encoder/")) == 2
    with pytest.raises(CheckpointError, match="decoder/bias is quantised"):
        read_arrays(quantised)
    with pytest.raises(CheckpointError, match="is of version 5, not 6"):
        read_arrays(model_bin(ARRAYS, version=5))


@given(st.integers(0, len(model_bin(ARRAYS)) - 5))
def test_a_file_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(CheckpointError, match="cut off"):
        read_arrays(model_bin(ARRAYS)[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(CheckpointError):
        read_arrays(content)

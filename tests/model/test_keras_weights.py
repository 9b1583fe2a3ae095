"""Keras's weight files: read in the order of their layers, refused when they are something else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from keras_files import write_layers

from boiler.errors import CheckpointError
from boiler.model import keras_weights

KERNEL = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("whole_model", [False, True])
def test_layers_are_in_the_order_of_the_model_not_of_their_names(tmp_path: Path, whole_model: bool) -> None:
    path = tmp_path / "weights.h5"
    layers = [
        ("z_first", {"kernel": KERNEL, "bias": np.ones(5, np.float32)}),
        ("no_weights", {}),
        ("a_last", {"gamma": np.zeros(3, np.float32)}),
    ]
    write_layers(path, layers, whole_model=whole_model)
    read = keras_weights.read_layers(path)
    assert [list(layer) for layer in read] == [["kernel", "bias"], ["gamma"]]
    np.testing.assert_array_equal(read[0]["kernel"], KERNEL)


def test_a_file_that_is_no_weight_file_is_refused_by_name(tmp_path: Path) -> None:
    import h5py

    missing, text, other = tmp_path / "missing.h5", tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("not HDF5")
    with h5py.File(other, "w") as file:
        file["numbers"] = [1, 2, 3]
    for path in (missing, text, other):
        with pytest.raises(CheckpointError, match=path.name):
            keras_weights.read_layers(path)


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.h5"
    write_layers(path, [])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"pip install 'boiler\[openl3\]'"):
        keras_weights.read_layers(path)

"""Weights that Keras saved in HDF5 (`model.save_weights("name.h5")`), read without Keras.

Such a file lists its layers in order, and the weights of each. It contains arrays only, so reading it runs no code.
h5py
is an extra: `pip install boiler[openl3]`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boiler.arrays import Float32Array
from boiler.errors import CheckpointError


def read_layers(path: Path) -> list[dict[str, Float32Array]]:
    """The layers that have weights, in order: for each its weights by short name (`kernel` for `conv2d/kernel:0`).

    Raises: CheckpointError: no such file, not such a file, or h5py is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"{path}: reading Keras weights needs h5py, which is not installed: pip install 'boiler[openl3]'"
        ) from error
    layers = []
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)  # in the file of a whole model they are one level deeper
            for layer_name in root.attrs["layer_names"]:
                group = root[_text(layer_name)]
                names = [_text(name) for name in group.attrs["weight_names"]]
                if names:
                    layers.append({_short(name): np.asarray(group[name], np.float32) for name in names})
    except (OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: is not a weight file of Keras 2 (.h5): {error}") from error
    return layers


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _short(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]

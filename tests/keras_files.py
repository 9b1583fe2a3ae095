"""Weight files in the layout of Keras 2 (`model.save_weights("name.h5")`), without Keras."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

Layer = tuple[str, dict[str, npt.NDArray[np.float32]]]


def write_layers(path: Path, layers: list[Layer], *, whole_model: bool = False) -> None:
    """Layers in their order, each with the name and the weights that Keras gives it."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = np.array([name.encode() for name, _ in layers])
        for name, weights in layers:
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{short}:0".encode() for short in weights], "S64")
            for short, array in weights.items():
                group.create_dataset(f"{name}/{short}:0", data=array)


def l3_layers(seed: int, in_channels: int, channels: tuple[int, ...], last_name: str) -> list[Layer]:
    """Random weights of an L3 network in Keras's order and names, activations and pooling among them."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = [("input_1", {})]

    def norm(wide: int) -> None:
        weights = {
            "gamma": rng.uniform(0.5, 1.5, wide),
            "beta": rng.normal(0, 0.1, wide),
            "moving_mean": rng.normal(0, 0.1, wide),
            "moving_variance": rng.uniform(0.5, 1.5, wide),
        }
        layers.append((f"batch_normalization_{len(layers)}", _single(weights)))

    def convolution(name: str, narrow: int, wide: int) -> None:
        kernel = rng.normal(0, (2 / (9 * narrow)) ** 0.5, (3, 3, narrow, wide))
        layers.append((name, _single({"kernel": kernel, "bias": rng.normal(0, 0.1, wide)})))

    norm(in_channels)
    narrow = in_channels
    for block, wide in enumerate(channels):
        convolution(f"conv2d_{len(layers)}", narrow, wide)
        norm(wide)
        last = block == len(channels) - 1
        convolution(last_name if last else f"conv2d_{len(layers)}", wide, wide)
        if not last:
            norm(wide)
            layers.append((f"max_pooling2d_{block}", {}))
        narrow = wide
    return layers


def _single(weights: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: array.astype(np.float32) for name, array in weights.items()}

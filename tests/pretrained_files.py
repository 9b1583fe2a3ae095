"""Files of weights as pretrained encoders read them, with random numbers in them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from boiler.encoder import aisfx
from boiler.model.general import GeneralNetwork, GeneralSettings
from boiler.model.patch import PatchNetwork, PatchSettings
from boiler.vision.efficientnet import EfficientNetLite0

RATES_HZ = {
    "AISFXEncoder": 44_100,
    "GeneralEncoder": 32_000,
    "JoinedAISFX": 44_100,
    "JoinedGeneral": 32_000,
    "PatchEncoder": 32_000,
}


def write_aisfx(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = aisfx.AISFXNetwork()
    tensors = {}
    for n, layer in enumerate(network.convolutions()):
        assert layer.bias is not None
        tensors |= {f"{n}.weight": 3 * layer.weight.detach(), f"{n}.bias": layer.bias.detach()}
    save_file(tensors, path)
    return path


def write_efficientnet(path: Path, class_names: Sequence[str], seen: int) -> Path:
    """A network that sees the class of the number `seen` in every picture, with a probability of .97 and more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EfficientNetLite0(len(class_names))
    tensors = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    tensors["_fc.bias"][seen] = 5.0 + math.log(len(class_names))
    save_file(tensors, path, {"classes": json.dumps(class_names)})
    return path


def write_general(path: Path, **settings: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = GeneralSettings(**settings)  # type: ignore[arg-type]
        network = GeneralNetwork(chosen)
    tensors = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    save_file(tensors, path, {"settings": json.dumps(asdict(chosen))})
    return path


def write_patch(path: Path, **settings: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = PatchSettings(**settings)
        network = PatchNetwork(chosen)
    save_file(network.state_dict(), path, {"settings": json.dumps(asdict(chosen))})
    return path


def write_for(name: str, path: Path) -> Path:
    """The file that the encoder of that name takes."""
    if name == "PatchEncoder":
        return write_patch(path)
    return write_aisfx(path) if name.endswith(("AISFX", "AISFXEncoder")) else write_general(path)

"""The patch encoder: files of weights. Its contract is tested with the other pretrained encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrained_files import write_general, write_patch
from safetensors.torch import load_file, save_file

from boiler import encoder
from boiler.encoder.patch import PatchEncoder
from boiler.errors import CheckpointError


def test_a_kick_with_silence_behind_it_stays_the_same_kick(tmp_path: Path) -> None:
    made = encoder.create("PatchEncoder", write_patch(tmp_path / "patch.safetensors"))
    at = torch.arange(12_800) / 32_000
    kick = torch.exp(-12 * at) * torch.sin(2 * torch.pi * 60 * at * (1 + torch.exp(-30 * at)))
    sounds = [kick, torch.cat([kick, torch.zeros(51_200)]), kick + 0.5]
    rows = made(torch.stack([sound.repeat(2**18 // len(sound) + 1)[: 2**18] for sound in sounds])[:, None])
    assert rows[0] @ rows[1] > 0.99
    assert rows[0] @ rows[2] > 0.99


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as the weights of a patch encoder"):
        PatchEncoder(write_general(tmp_path / "general.safetensors"))
    with pytest.raises(CheckpointError, match="cannot be read as the weights of a patch encoder"):
        PatchEncoder(tmp_path / "missing.safetensors")
    good = write_patch(tmp_path / "patch.safetensors")
    tensors = load_file(good)
    tensors.pop("class_token")
    save_file(tensors, tmp_path / "part.safetensors", {"settings": '{"depth": 4}'})
    with pytest.raises(CheckpointError, match="these are not the weights of a patch encoder"):
        PatchEncoder(tmp_path / "part.safetensors")

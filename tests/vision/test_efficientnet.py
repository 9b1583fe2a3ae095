"""EfficientNet-Lite0: its shapes are those of the published checkpoint, and files of something else are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_files import write_efficientnet
from safetensors.torch import save_file
from torch.nn import functional

from boiler.errors import CheckpointError
from boiler.vision import efficientnet
from boiler.vision.efficientnet import Block, EfficientNetLite0, PictureClassifier, SameConv2d


def test_parameters_are_as_many_as_published() -> None:
    tensors = [value for value in EfficientNetLite0().state_dict().values() if value.is_floating_point()]
    assert len(tensors) == 247
    assert sum(parameter.numel() for parameter in EfficientNetLite0().parameters()) == 4_652_008


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (5, 2), (5, 1), (6, 2)])
def test_convolutions_pad_at_the_end_as_tensorflow(size: int, stride: int) -> None:
    layer = SameConv2d(1, 1, 3, stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    found = layer(torch.ones(1, 1, size, size))
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    padded = functional.pad(torch.ones(1, 1, size, size), (total // 2, total - total // 2) * 2)
    assert found.shape[-1] == -(-size // stride)
    torch.testing.assert_close(found, functional.conv2d(padded, layer.weight, stride=stride))
    if (size, stride) == (4, 2):
        assert found[0, 0].tolist() == [[9, 6], [6, 4]]


def test_a_block_adds_its_input_where_the_shape_stays() -> None:
    block = Block(8, 8, 3, 1, 6).eval()
    torch.nn.init.zeros_(block._project_conv.weight)
    x = torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x)
    assert Block(8, 16, 5, 2, 6).eval()(x).shape == (1, 16, 3, 3)


def test_the_whole_picture_is_seen_on_white() -> None:
    found = efficientnet.prepared(np.zeros((50, 100, 3), np.uint8))
    assert found.shape == (224, 224, 3)
    assert np.allclose(found[112], -127 / 128)
    assert np.allclose(found[[0, -1]], 1)
    assert efficientnet.prepared(np.zeros((1, 3_000, 3), np.uint8)).shape == (224, 224, 3)


def test_a_file_gives_the_names_and_probabilities(tmp_path: Path) -> None:
    classifier = PictureClassifier.load(write_efficientnet(tmp_path / "net.safetensors", ["tench", "dog, hound"], 1))
    found = classifier.look(np.full((30, 40, 3), 99, np.uint8)).probabilities
    assert classifier.class_names == ("tench", "dog, hound")
    assert found[1] > 0.9
    assert abs(found.sum() - 1) < 1e-5


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="boiler encoders add efficientnet-lite0"):
        PictureClassifier.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors", {"classes": '["dog"]'})
    save_file({"a": torch.zeros(3)}, tmp_path / "nameless.safetensors")
    for name in ("text", "other", "nameless"):
        with pytest.raises(CheckpointError, match="not weights of EfficientNet-Lite0"):
            PictureClassifier.load(tmp_path / f"{name}.safetensors")

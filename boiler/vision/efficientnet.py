"""EfficientNet-Lite0, a network that names what a picture shows: 1,000 classes of ImageNet.

Its published weights are fetched with `boiler encoders add efficientnet-lite0`.

Source: Tan and Le, "EfficientNet", 2019, in the variant "Lite" (no squeeze-and-excitation, ReLU6). Names of modules are
those of the published checkpoint.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from boiler.arrays import Float32Array, UInt8Array
from boiler.errors import CheckpointError, first_line

SIZE = 224
_MEAN, _SCALE = 127.0, 128.0
_HEAD = 1_280


class Stage(NamedTuple):
    """Blocks of the same shape; only the first of them has the stride."""

    n_blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """Convolution whose output is the input's size divided by the stride, rounded up. TensorFlow, where the weights are
    from, pads more at the end than at the beginning."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:])
        padded = functional.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return functional.conv2d(padded, self.weight, None, self.stride, groups=self.groups)


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise convolution, project. Shape: [B, C, H, W] to [B, channels, H', W']"""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = n_in * expansion
        self.expands = expansion > 1
        self.is_residual = stride == 1 and n_in == n_out
        if self.expands:
            self._expand_conv = nn.Conv2d(n_in, inner, 1, bias=False)
            self._bn0 = _batch_norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _batch_norm(inner)
        self._project_conv = nn.Conv2d(inner, n_out, 1, bias=False)
        self._bn2 = _batch_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        projected: Tensor = self._bn2(self._project_conv(y))
        return x + projected if self.is_residual else projected


class EfficientNetLite0(nn.Module):
    """Shape: [B, 3, 224, 224], pixels as `prepared`, to the logits [B, classes]"""

    def __init__(self, n_classes: int = 1_000) -> None:
        super().__init__()
        channels = 32
        self._conv_stem = SameConv2d(3, channels, 3, 2, bias=False)
        self._bn0 = _batch_norm(channels)
        blocks = []
        for stage in STAGES:
            for n in range(stage.n_blocks):
                stride = 1 if n else stage.stride
                blocks.append(Block(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, _HEAD, 1, bias=False)
        self._bn1 = _batch_norm(_HEAD)
        self._fc = nn.Linear(_HEAD, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """The input of the last layer. Shape: as `forward`, to [B, 1280]"""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Shape: [B, 1280] to the logits [B, classes]"""
        logits: Tensor = self._fc(features)
        return logits


class PictureOutput(NamedTuple):
    """probabilities: of the classes, [classes]; features: what the last layer receives, [1280]"""

    probabilities: Float32Array
    features: Float32Array


class PictureClassifier:
    """The network and the names of its classes.

    class_names: a comma separates names of the same class
    """

    def __init__(self, network: EfficientNetLite0, class_names: tuple[str, ...]) -> None:
        self._network = network.eval()
        self.class_names = class_names

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: CheckpointError: missing, damaged or something else."""
        if not path.is_file():
            raise CheckpointError(
                f"{path}: no such file. A search with a picture needs a network that names what it shows: boiler"
                " encoders add efficientnet-lite0"
            )
        try:
            with safe_open(path, "pt") as file:
                names = tuple(json.loads((file.metadata() or {})["classes"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            network = EfficientNetLite0(len(names))
            network.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: not weights of EfficientNet-Lite0 ({first_line(error)})") from error
        return cls(network, names)

    @functools.cached_property
    def sha256(self) -> str:
        """Of the weights; that of the file would also depend on the order of its metadata."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def look(self, picture: UInt8Array) -> PictureOutput:
        """What the network makes of a picture. Shape: uint8 [H, W, 3]"""
        values = torch.from_numpy(prepared(picture)).permute(2, 0, 1)[None]
        features = self._network.features(values)
        probabilities = self._network.classify(features).softmax(dim=1)
        return PictureOutput(np.asarray(probabilities[0].numpy(), np.float32), np.asarray(features[0], np.float32))


@functools.lru_cache(2)
def load(path: Path) -> PictureClassifier:
    """`PictureClassifier.load`, once a process for each file."""
    return PictureClassifier.load(path)


def prepared(picture: UInt8Array) -> Float32Array:
    """The whole picture, scaled to fit into a white square. Shape: uint8 [H, W, 3] to [224, 224, 3]"""
    return (letterboxed(picture, SIZE, SIZE).astype(np.float32) - _MEAN) / _SCALE


def letterboxed(picture: UInt8Array, height: int, width: int) -> UInt8Array:
    """The whole picture, scaled to fit into a white rectangle. Shape: uint8 [H, W, 3] to [height, width, 3]"""
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)

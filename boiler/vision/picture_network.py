"""Networks that classify pictures, from files: EfficientNet-Lite0 as `boiler encoders add` writes it, or any other as
an ONNX model, TorchScript or an exported program of torch.

Another network needs the names of its classes, and how its pixels are scaled; its size is read from the file. What it
returns may be logits or probabilities. A picture is scaled to fit into a white rectangle of that size.

    $ boiler search MODEL_DIR photo.jpg --image_model resnet.onnx --image_classes imagenet.txt
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from boiler import files
from boiler.arrays import Float32Array, UInt8Array
from boiler.encoder.onnx import onnxruntime
from boiler.errors import CheckpointError, SettingsError, first_line
from boiler.model import checkpoint
from boiler.vision import efficientnet
from boiler.vision.efficientnet import PictureOutput, letterboxed
from boiler.vision.image_model import ImageModelFile

SIZE = 224
"""Pixels of a side, where the file does not say."""
TORCH_SUFFIXES = (".pt", ".pt2", ".ts")
LAST_LAYER = ("Gemm", "MatMul")
AFTER_IT = ("Add", "Flatten", "Identity", "LogSoftmax", "Reshape", "Softmax", "Squeeze")
Run: TypeAlias = Callable[[Float32Array], tuple[Float32Array, Float32Array | None]]
"""Pictures as the network takes them, to what it returns, [B, classes], and the input of its last layer, [B, E]."""


class PictureNetwork(Protocol):
    """A network that classifies pictures. `class_names`: a comma separates names of the same class."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def sha256(self) -> str:
        """Of everything that its output depends on."""
        ...

    def look(self, picture: UInt8Array) -> PictureOutput:
        """What it makes of a picture. Shape: uint8 [H, W, 3]"""
        ...


@functools.lru_cache(2)
def open_network(model: ImageModelFile) -> PictureNetwork:
    """The network of a file, once a process.

    Raises: CheckpointError: missing, damaged, not a network that classifies pictures, or without names of its classes.
    """
    suffix = model.path.suffix.lower()
    if suffix != ".onnx" and suffix not in TORCH_SUFFIXES:
        return efficientnet.load(model.path)
    if not model.path.is_file():
        raise CheckpointError(f"{model.path}: no such file")
    names = read_class_names(model.classes or model.path.with_suffix(".txt"))
    if suffix == ".onnx":
        run, shape = _onnx(model.path)
    else:
        run, shape = _torch(model.path, model.sha256)
    return ForeignClassifier(model, names, run, shape)


class ForeignClassifier:
    """A network of any origin. shape: of its input, [B, 3, H, W] or [B, H, W, 3]; what is not a number is not fixed

    Raises: CheckpointError: it does not take pictures, or has another number of classes than there are names.
    """

    def __init__(self, model: ImageModelFile, class_names: tuple[str, ...], run: Run, shape: tuple[Any, ...]) -> None:
        self.class_names = class_names
        self._model = model
        self._run = run
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise CheckpointError(
                f"{model.path}: takes an array {list(shape)}, not pictures [B, 3, H, W] or [B, H, W, 3]"
            )
        self._channels_first = shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        self._height, self._width = (side if isinstance(side, int) and side > 0 else SIZE for side in sides)
        found = self.look(np.zeros((self._height, self._width, 3), np.uint8)).probabilities
        if len(found) != len(class_names):
            raise CheckpointError(f"{model.path}: has {len(found)} classes, and there are {len(class_names)} names")

    @functools.cached_property
    def sha256(self) -> str:
        """Of the file and the scaling of pixels."""
        text = f"{files.sha256_of(self._model.path)} {self._model.mean} {self._model.std}"
        return hashlib.sha256(text.encode()).hexdigest()

    def look(self, picture: UInt8Array) -> PictureOutput:
        """What the network makes of a picture. Without a known last layer, the features are the logarithms of the
        probabilities. Shape: uint8 [H, W, 3]"""
        pixels = letterboxed(picture, self._height, self._width).astype(np.float32) / 255
        pixels = (pixels - np.asarray(self._model.mean, np.float32)) / np.asarray(self._model.std, np.float32)
        given = (pixels.transpose(2, 0, 1) if self._channels_first else pixels)[None]
        out, features = self._run(np.ascontiguousarray(given, np.float32))
        if out.ndim != 2 or len(out) != 1 or not np.isfinite(out).all():
            raise CheckpointError(f"{self._model.path}: returns {list(out.shape)}, not finite numbers [B, classes]")
        scores = out[0].astype(np.float64)
        if scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3:  # probabilities already
            scores = np.log(scores + 1e-12)
        scores -= scores.max()
        logs = scores - np.log(np.exp(scores).sum())
        found = logs if features is None else features.reshape(-1)
        return PictureOutput(np.exp(logs).astype(np.float32), np.asarray(found, np.float32))


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of classes: a line each, or JSON, a list or names by number; a list of names of the same class, too.

    Raises: CheckpointError: missing, or something else.
    """
    try:
        text = path.read_text("utf-8-sig")
        if not text.lstrip().startswith(("[", "{")):
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        table = json.loads(text)
        listed = [table[str(n)] for n in range(len(table))] if isinstance(table, dict) else table
        return tuple(name if isinstance(name, str) else ", ".join(name) for name in listed)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file. A network needs the names of its classes (--image_classes FILE): a line each, or"
            " JSON"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not names of classes, a line each, or JSON ({first_line(error)})") from error


def _onnx(path: Path) -> tuple[Run, tuple[Any, ...]]:
    runtime = onnxruntime()
    try:
        model, feature = _with_features(importlib.import_module("onnx"), path)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 3
        session = runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # both libraries raise many types of exceptions
        raise CheckpointError(f"{path}: not an ONNX model, or damaged ({first_line(error)})") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or "float" not in inputs[0].type:
        raise CheckpointError(f"{path}: takes {[one.name for one in inputs]}; pictures are one array of floats")
    names = [session.get_outputs()[0].name, *([feature] if feature else [])]

    def run(pictures: Float32Array) -> tuple[Float32Array, Float32Array | None]:
        try:
            found = session.run(names, {inputs[0].name: pictures})
        except Exception as error:  # as above
            raise CheckpointError(f"{path}: does not take {list(pictures.shape)} ({first_line(error)})") from error
        return np.asarray(found[0], np.float32), found[1] if feature else None

    return run, tuple(inputs[0].shape)


def _with_features(onnx: Any, path: Path) -> tuple[bytes, str | None]:
    """The model with the input of its last layer as a further output, and the name of that; None if it is unknown."""
    model = onnx.load(path)
    made_by = {name: node for node in model.graph.node for name in node.output}
    name = model.graph.output[0].name
    feature = None
    while feature is None and (node := made_by.get(name)) is not None and node.op_type in (*LAST_LAYER, *AFTER_IT):
        if node.op_type in LAST_LAYER:
            feature = node.input[0]
        name = next((one for one in node.input if one in made_by), "")
    if feature is not None:
        model.graph.output.append(onnx.ValueInfoProto(name=feature))
    return model.SerializeToString(), feature


def _torch(path: Path, sha256: str) -> tuple[Run, tuple[Any, ...]]:
    if not sha256:
        raise SettingsError(
            f"{path}: a file of torch is code. If you trust it, give its hash (--image_sha256 $(sha256sum < FILE | cut"
            " -c-64))"
        )
    shape: tuple[Any, ...] = (None, 3, None, None)
    module: Callable[[torch.Tensor], Any]
    if path.suffix.lower() == ".pt2":
        if (found := files.sha256_of(path)) != sha256.lower():
            raise CheckpointError(f"{path}: its sha256 is {found}, not {sha256}: it is code, so it is not run")
        try:
            program = torch.export.load(path)
            module, example = program.module(), program.example_inputs
        except Exception as error:  # of many types
            raise CheckpointError(f"{path}: not an exported program, or damaged ({first_line(error)})") from error
        if example and example[0]:
            shape = (None, *example[0][0].shape[1:])
    else:
        module, _ = checkpoint.load_foreign_script(path, sha256)

    @torch.no_grad()
    def run(pictures: Float32Array) -> tuple[Float32Array, Float32Array | None]:
        try:
            return np.asarray(module(torch.from_numpy(pictures)).float().numpy(), np.float32), None
        except Exception as error:  # the model is code of unknown origin
            raise CheckpointError(f"{path}: does not take {list(pictures.shape)} ({first_line(error)})") from error

    return run, shape

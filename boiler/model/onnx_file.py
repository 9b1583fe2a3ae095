"""Writes modules as ONNX models with metadata."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boiler import files
from boiler.errors import CheckpointError


def save(
    module: nn.Module, example: Tensor, path: Path, *, input_name: str, output_name: str, metadata: Mapping[str, str]
) -> None:
    """Write a module of one input and one output, atomically. The model takes batches of any size.

    example: an input of two rows

    Raises: CheckpointError: the libraries are not installed.
    """
    for name in ("onnx", "onnxscript"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise CheckpointError(f"exporting needs {name}: pip install 'boiler[onnx]'") from error
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from libraries of the exporter
            program: Any = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    program.model.metadata_props.update(metadata)
    with files.replacing(path) as aside:
        program.save(aside)

"""Tag models as TorchScript and ONNX: vectors in, calibrated probabilities out, batches of any size.

Shape: `vectors` float32 [N, D] to `probabilities` float32 [N, C]. The names of the tags and their thresholds are in
the header of the TorchScript file, see `boiler.model.checkpoint.load_script`, and as JSON in the metadata of the ONNX
model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from boiler.model import checkpoint, onnx_file
from boiler.tagging.model import TagModel
from boiler.tagging.network import TagScript


def _header(model: TagModel) -> dict[str, Any]:
    return {
        "tags": list(model.tags),
        "thresholds": [round(float(value), 6) for value in model.thresholds],
        "encoder_sha256": model.encoder_sha256,
        "features": list(model.features),
    }


def export_torchscript(model: TagModel, path: Path) -> None:
    """Write a model as TorchScript, atomically."""
    checkpoint.save_script(TagScript(model), path, _header(model))


def export_tags_onnx(model: TagModel, path: Path) -> None:
    """Write a model as ONNX, atomically.

    Raises: CheckpointError: the libraries are not installed.
    """
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in _header(model).items()
    }
    onnx_file.save(
        TagScript(model),
        torch.rand(2, model.dim),
        path,
        input_name="vectors",
        output_name="probabilities",
        metadata=metadata,
    )

"""Exports boiler's own encoders as ONNX models: waveforms in, vectors out, front end included.

>>> export_onnx(encoder.create("MFCCStats"), Path("mfcc.onnx"))  # doctest: +SKIP

Such a file contains its sampling rate and window, so `ONNXEncoder` needs no options for it. What is exported is
another form of the encoder, without a loop over the clips of a batch (`boiler.encoder.batched`).
"""

from __future__ import annotations

from pathlib import Path

import torch

from boiler.encoder import Encoder
from boiler.encoder.batched import batched
from boiler.errors import SettingsError
from boiler.model import onnx_file

EXPORTABLE = (
    "MFCCStats",
    "BagTopVQVAE",
    "BagBottomVQVAE",
    "MeanFreqTopVQVAE",
    "PooledVQVAE",
    "JoinedVQVAE",
    "JoinedDescriptors",
    "GeneralEncoder",
    "JoinedGeneral",
    "PatchEncoder",
)


def export_onnx(made: Encoder, path: Path) -> None:
    """Write an encoder to `path`, atomically. The model takes batches of any size; its metadata are `encoder`,
    `sample_rate_hz`, `window_samples` and `dim`.

    Shape: `waveform` float32 [N, 1, T] to `vector` float32 [N, D].

    Raises: SettingsError: an encoder that cannot be exported. CheckpointError: the libraries are not installed.
    """
    module = batched(made)
    if module is None:
        raise SettingsError(
            f"{type(made).__name__} cannot be exported to ONNX; those that can: {', '.join(EXPORTABLE)}"
        )
    onnx_file.save(
        module,
        torch.rand(2, 1, made.window_samples),
        path,
        input_name="waveform",
        output_name="vector",
        metadata={
            "encoder": type(made).__name__,
            "sample_rate_hz": str(made.sample_rate_hz),
            "window_samples": str(made.window_samples),
            "dim": str(made.dim),
        },
    )

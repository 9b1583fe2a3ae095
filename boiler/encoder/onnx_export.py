"""Exports boiler's own encoders as ONNX models: waveforms in, vectors out, front end included.

>>> export_onnx(encoder.create("MFCCStats"), Path("mfcc.onnx"))  # doctest: +SKIP

Such a file contains its sampling rate and window, so `ONNXEncoder` needs no options for it. `JoinedVQVAE` and
`JoinedDescriptors` cannot be exported: their descriptors are computed clip by clip, with lengths that depend on the
sound.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boiler import files
from boiler.encoder import Encoder
from boiler.encoder.joined_descriptors import JoinedDescriptors
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.encoder.loop_length import clip_lengths
from boiler.encoder.pooled import PooledVQVAE
from boiler.encoder.trim_silence import trim_silence_batch
from boiler.errors import CheckpointError, SettingsError


class BatchedPooled(nn.Module):
    """`PooledVQVAE` without a loop over the windows of a batch."""

    def __init__(self, pooled: PooledVQVAE) -> None:
        super().__init__()
        self.pooled = pooled

    def forward(self, waveform: Tensor) -> Tensor:
        own = self.pooled
        loudness = trim_silence_batch(own.mel(waveform), clip_lengths(waveform), own.silence, own.hop_samples)
        features = own.pool(own.trunk((loudness - own.silence) / 2))
        vectors: Tensor = own.whitening(torch.cat(features, dim=1))
        return vectors


def export_onnx(made: Encoder, path: Path) -> None:
    """Write an encoder to `path`, atomically. The model takes batches of any size; its metadata are `encoder`,
    `sample_rate_hz`, `window_samples` and `dim`.

    Shape: `waveform` float32 [N, 1, T] to `vector` float32 [N, D].

    Raises: SettingsError: an encoder that cannot be exported. CheckpointError: the libraries are not installed.
    """
    if isinstance(made, JoinedVQVAE | JoinedDescriptors) or made.runtime:
        raise SettingsError(
            f"{type(made).__name__} cannot be exported to ONNX; those that can: MFCCStats, BagTopVQVAE, "
            "BagBottomVQVAE, MeanFreqTopVQVAE, PooledVQVAE"
        )
    for name in ("onnx", "onnxscript"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise CheckpointError(f"exporting needs {name}: pip install 'boiler[onnx]'") from error
    module = BatchedPooled(made) if isinstance(made, PooledVQVAE) else made
    example = torch.rand(2, 1, made.window_samples)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from libraries of the exporter
            program: Any = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=["waveform"],
                output_names=["vector"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    program.model.metadata_props.update(
        {
            "encoder": type(made).__name__,
            "sample_rate_hz": str(made.sample_rate_hz),
            "window_samples": str(made.window_samples),
            "dim": str(made.dim),
        }
    )
    with files.replacing(path) as aside:
        program.save(aside)

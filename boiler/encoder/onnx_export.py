"""Encoders of boiler's own as ONNX models: waveforms in, vectors out, the front end inside.

>>> export_onnx(encoder.create("MFCCStats"), Path("mfcc.onnx"))  # doctest: +SKIP

Such a file says its rate and window itself, so `ONNXEncoder` takes it without options. `JoinedVQVAE` and
`JoinedDescriptors` cannot be exported: their descriptors are computed clip by clip, in lengths that the sound decides.
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
    """Write an encoder as `path`, replacing it whole or not at all. It takes any batch of its windows, and has in its
    metadata `encoder`, `sample_rate_hz`, `window_samples` and `dim`.

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
            raise CheckpointError(f"exporting takes {name}: pip install 'boiler[onnx]'") from error
    module = BatchedPooled(made) if isinstance(made, PooledVQVAE) else made
    example = torch.rand(2, 1, made.window_samples)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own libraries
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

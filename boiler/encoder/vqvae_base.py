"""Base classes of the encoders that are built from a trained VQ-VAE checkpoint."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from torch import Tensor

from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec
from boiler.encoder import Encoder
from boiler.encoder.conditioning import condition, fade_samples
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.trim_silence import trim_silence
from boiler.errors import CheckpointError, first_line
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.fusion import fuse_batch_norms
from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2, FeatureMaps, NetworkSettings


def load_network(pt_path: str | os.PathLike[str] | None) -> tuple[VQVAE2, Checkpoint]:
    """The network of a checkpoint, in eval mode and without gradients, and the checkpoint.

    Raises: `CheckpointError`: no path, no such file, or a network that this version cannot build.
    """
    if pt_path is None:
        raise CheckpointError("this encoder is built from a training checkpoint: give its path (a vqvae_NNN.pt)")
    contents = checkpoint.load(pt_path)
    return build_network(contents, pt_path).eval().requires_grad_(False), contents


def build_network(contents: Checkpoint, pt_path: str | os.PathLike[str]) -> VQVAE2:
    """The network of a checkpoint with its weights, in training mode. `pt_path` is for the error.

    Raises: `CheckpointError`: settings that this version does not know, or weights that do not fit them.
    """
    try:
        network = VQVAE2(NetworkSettings(**contents.network), MelSettings(**contents.mel))
        network.load_state_dict(contents.weights)
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{os.fspath(pt_path)}: this version of boiler cannot build its network ({first_line(error)}). "
            "Use the version that wrote it, or train again"
        ) from error
    return network


class VQVAEEncoder(Encoder):
    """Base of encoders that start with the mel front end and the trunk of a network.

    The network is modified in place (`fuse_batch_norms`), so it must not be used elsewhere.
    """

    needs_checkpoint: ClassVar[bool] = True

    def __init__(self, network: VQVAE2, dim: int) -> None:
        super().__init__(dim)
        spec = DEFAULT_WINDOWS.at_rate(network.mel.sample_rate_hz)
        self.sample_rate_hz, self.window_samples = spec.sample_rate_hz, spec.window_samples
        self.mel = network.mel
        self.scale = network.scale
        self.silence = network.silence
        self.fade = fade_samples(network.mel.sample_rate_hz)
        self.trunk = fuse_batch_norms(network.trunk)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        """The windows at the rate that the network was trained at."""
        rate_hz = DEFAULT_WINDOWS.sample_rate_hz if pt_path is None else checkpoint.load(pt_path).mel["sample_rate_hz"]
        return DEFAULT_WINDOWS.at_rate(rate_hz)

    def encode(self, waveform: Tensor) -> FeatureMaps:
        """Float `[N, 1, T]` to the trunk's `FeatureMaps`."""
        return self.encode_conditioned(condition(waveform, loop_lengths(waveform), self.fade))

    def encode_conditioned(self, waveform: Tensor) -> FeatureMaps:
        """`encode` for windows that went through `boiler.encoder.conditioning`."""
        maps: FeatureMaps = self.trunk(self.scale(self.mel(waveform)))
        return maps


class TrimmedVQVAEEncoder(VQVAEEncoder):
    """Base of encoders that pool over time, and therefore remove the silence around a clip (`trim_silence`)."""

    def __init__(self, network: VQVAE2, dim: int) -> None:
        super().__init__(network, dim)
        self.hop_samples = network.mel.hop_samples

    def encode_trimmed(self, waveform: Tensor, lengths: list[int]) -> FeatureMaps:
        """Float `[N, 1, T]` and its `loop_lengths` to the trunk's `FeatureMaps`."""
        loudness = self.mel(condition(waveform, lengths, self.fade))
        loudness = trim_silence(loudness, lengths, self.silence, self.hop_samples)
        maps: FeatureMaps = self.trunk(self.scale(loudness))
        return maps


def encode_trimmed(network: VQVAE2, waveform: Tensor) -> FeatureMaps:
    """`TrimmedVQVAEEncoder.encode_trimmed` for a network, so that an encoder is fitted to the same features as it uses.

    Shape: float `[N, 1, T]` to `FeatureMaps`.
    """
    lengths, fade = loop_lengths(waveform), fade_samples(network.mel.sample_rate_hz)
    loudness = network.mel(condition(waveform, lengths, fade))
    loudness = trim_silence(loudness, lengths, network.silence, network.mel.hop_samples)
    maps: FeatureMaps = network.trunk(network.scaled(loudness))
    return maps

"""The network of a checkpoint, rebuilt for embedding: what every encoder of the VQ-VAE is made from."""

from __future__ import annotations

import os
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from boiler.encoder import Encoder
from boiler.encoder.loop_length import periods
from boiler.encoder.trim_silence import sounding
from boiler.errors import CheckpointError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2, FeatureMaps, NetworkSettings


def opened(pt_path: str | os.PathLike[str] | None) -> tuple[VQVAE2, Checkpoint]:
    """The network of that checkpoint, in eval mode and without gradients, and the rest of what it holds.

    Raises: `CheckpointError`, when there is none, or one that this boiler cannot rebuild.
    """
    if pt_path is None:
        raise CheckpointError(
            "this encoder is learned: give the checkpoint that it is to be made from (a vqvae_NNN.pt)"
        )
    contents = checkpoint.load(pt_path)
    return rebuilt(contents, pt_path).eval().requires_grad_(False), contents


def rebuilt(contents: Checkpoint, pt_path: str | os.PathLike[str]) -> VQVAE2:
    """The network of a checkpoint with its weights, in training mode.

    Raises: `CheckpointError` when its shape and its weights are not known to this boiler, or do not fit together.
    """
    try:
        network = VQVAE2(NetworkSettings(**contents.network), MelSettings(**contents.mel))
        network.load_state_dict(contents.weights)
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{os.fspath(pt_path)}: holds a network that this boiler cannot rebuild ({str(error).splitlines()[0]}). "
            "Use the boiler that wrote it, or train again"
        ) from error
    return network


def fused(module: nn.Module) -> nn.Module:
    """Normalisations that follow a convolution in a `Sequential`, folded into it: the same numbers, sooner."""
    for child in module.children():
        fused(child)
    if isinstance(module, nn.Sequential):
        for at in range(len(module) - 1):
            first, second = module[at], module[at + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[at], module[at + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return module


class Seeing(Encoder):
    """An encoder that begins with the front end and the trunk of a network (which is changed: see `fused`)."""

    needs_checkpoint: ClassVar[bool] = True

    def __init__(self, network: VQVAE2, dim: int) -> None:
        super().__init__(dim)
        self.mel = network.mel
        self.silence = network.silence
        self.trunk = fused(network.trunk)

    def see(self, waveform: Tensor) -> FeatureMaps:
        """Float `[N, 1, T]` to the trunk's `FeatureMaps`."""
        maps: FeatureMaps = self.trunk((self.mel(waveform) - self.silence) / 2)
        return maps


def see_sounding(network: VQVAE2, waveform: Tensor) -> FeatureMaps:
    """What a `SeeingSounding` sees, by the network itself: what is learned for it has to be learned from that."""
    loudness = sounding(network.mel(waveform), periods(waveform), network.silence, network.mel.hop_samples)
    maps: FeatureMaps = network.trunk(network.scaled(loudness))
    return maps


class SeeingSounding(Seeing):
    """One that leaves out the silence around a clip (`boiler.encoder.trim_silence`): for whatever it pools over time."""

    def __init__(self, network: VQVAE2, dim: int) -> None:
        super().__init__(network, dim)
        self.hop_samples = network.mel.hop_samples

    def see_clips(self, waveform: Tensor, lengths: list[int]) -> FeatureMaps:
        """Float `[N, 1, T]` and the `periods` of it to the trunk's `FeatureMaps`."""
        loudness = sounding(self.mel(waveform), lengths, self.silence, self.hop_samples)
        maps: FeatureMaps = self.trunk((loudness - self.silence) / 2)
        return maps

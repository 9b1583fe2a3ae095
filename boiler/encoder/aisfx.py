"""AISFX as an encoder: a network that was trained to tell the sound effects of many libraries apart.

Good for: sound effects and drums. Its published weights (CC BY 4.0) are inside the package `aisfx` of the Python
package index, which pins an old NumPy; `boiler encoders add aisfx` takes them out of it without installing it. The
network and its front end are written anew here.

Takes some 0.1 s of one core for 2.3 s of sound (exp/records/general.md).
Source: A. F. Ramirez and others, "Cross-dataset learning for sound effects"; package aisfx 0.1.2.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torchaudio.transforms import MelSpectrogram

from boiler.encoder.clip_encoder import ClipEncoder
from boiler.errors import CheckpointError

SAMPLE_RATE_HZ = 44_100
HOP_SAMPLES = 1024
N_MELS = 96
BLOCK_FRAMES = 100
"""What the network takes at once: 2.3 s."""
BLOCK_SAMPLES = BLOCK_FRAMES * HOP_SAMPLES
WINDOW_SAMPLES = 2**18
DIM = 512
MEL_SCALE = 1e4
MEL_RANGE = 9.457798957824707
"""log10(1 + `MEL_SCALE` * power) of the loudest sound that it was trained on."""
SILENT_BELOW = 4 / MEL_RANGE
"""A block that is nowhere louder than 40 dB below the loudest one is silent."""
CONVOLUTIONS = ((1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512))
"""Channels before and after each. Behind every second one but the last both axes are halved."""
SHAPES: dict[str, tuple[int, ...]] = {
    name: shape
    for n, (before, after) in enumerate(CONVOLUTIONS)
    for name, shape in ((f"{n}.weight", (after, before, 3, 3)), (f"{n}.bias", (after,)))
}
"""Tensors of the file: eight convolutions, each with the normalisation after it folded in."""


class AISFXNetwork(nn.Module):
    """Four blocks of two 3 x 3 convolutions; mean over bands, maximum over frames.

    Shape: float [N, `BLOCK_FRAMES`, `N_MELS`] to [N, `DIM`].
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n, (before, after) in enumerate(CONVOLUTIONS):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            if n % 2 and n < len(CONVOLUTIONS) - 1:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)

    def convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def load(self, weights: dict[str, Tensor]) -> None:
        """Raises: CheckpointError: other tensors than `SHAPES`."""
        if {name: tuple(value.shape) for name, value in weights.items()} != SHAPES:
            raise CheckpointError("these are not the weights of aisfx: write them anew with boiler encoders add aisfx")
        for n, layer in enumerate(self.convolutions()):
            layer.weight = nn.Parameter(weights[f"{n}.weight"])
            layer.bias = nn.Parameter(weights[f"{n}.bias"])

    def forward(self, spectrogram: Tensor) -> Tensor:
        x: Tensor = self.layers(spectrogram[:, None])
        vectors: Tensor = x.mean(dim=3).amax(dim=2)
        return vectors


class AISFXMel(nn.Module):
    """The front end: 96 bands of unit sum up to 22 kHz, in the range that the network was trained on.

    Shape: float [T] at 44.1 kHz, at any level, to [F, `N_MELS`]; F is T / `HOP_SAMPLES`, rounded up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = MelSpectrogram(
            SAMPLE_RATE_HZ, n_fft=2048, hop_length=HOP_SAMPLES, n_mels=N_MELS, f_max=SAMPLE_RATE_HZ / 2, power=2.0,
            pad_mode="constant",
        )  # fmt: skip
        bank = self.spectrogram.mel_scale.fb
        self.spectrogram.mel_scale.fb = bank / bank.sum(dim=0, keepdim=True)
        self.tiny = float(torch.finfo(torch.float32).tiny)
        self.hop_samples, self.scale, self.range = HOP_SAMPLES, MEL_SCALE, MEL_RANGE

    def forward(self, waveform: Tensor) -> Tensor:
        centred = waveform.float() - waveform.float().mean()
        power = self.spectrogram(centred / centred.abs().amax().clamp(min=self.tiny))
        frames = (waveform.shape[0] + self.hop_samples - 1) // self.hop_samples
        scaled: Tensor = (power[:, :frames] * self.scale + 1).log10() / self.range
        return scaled.T


def blocks(spectrogram: Tensor, block_frames: int = BLOCK_FRAMES) -> Tensor:
    """The blocks of a clip, evenly spaced so that they begin and end with it; a shorter clip is followed by silence.

    Shape: [F, M] to [N, `BLOCK_FRAMES`, M].
    """
    frames = spectrogram.shape[0]
    if frames < block_frames:
        return pad(spectrogram, (0, 0, 0, block_frames - frames))[None]
    n = max(1, int(frames / block_frames + 0.5))
    found: list[Tensor] = []
    for number in range(n):
        begin = (frames - block_frames) * number // max(n - 1, 1)
        found.append(spectrogram[begin : begin + block_frames])
    return torch.stack(found)


def audible_blocks(found: Tensor, range_below: float = SILENT_BELOW) -> Tensor:
    """The blocks that hold sound: silence behind a sound must not count.

    The lowest two bands, 50 Hz, contain the rest of a DC offset, and are not used.

    Shape: [N, F, M] to [n, F, M], n at least 1.
    """
    loudest = found[:, :, 2:].amax(dim=2).amax(dim=1)
    return found[loudest >= loudest.amax() - range_below]


class AISFXEncoder(ClipEncoder):
    """The sound effects encoder of the package aisfx; see the module. D = 512, the mean over the blocks of a clip."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "its weights (boiler encoders add aisfx fetches them; --pt_path FILE.safetensors)"
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        super().__init__(DIM)
        self.mel = AISFXMel()
        self.network = AISFXNetwork()
        self.network.load(_read(Path(pt_path or "")))
        self.to(device)

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        vectors: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            vectors.append(self.network(audible_blocks(blocks(self.mel(window[0, :length])))).mean(dim=0))
        return normalize(torch.stack(vectors), dim=1)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # of several kinds, by what is wrong with the file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: cannot be read as safetensors ({reason})") from error


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `SHAPES` from those of the package's checkpoint.

    Raises: CheckpointError: one is missing.
    """
    found: dict[str, Tensor] = {}
    try:
        for number in range(8):
            block, layer = f"embedding_net.conv_block{number // 2 + 1}", number % 2 + 1
            mean, variance, scale, shift = (
                weights[f"{block}.bn{layer}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
            )
            scale = scale / (variance + 1e-5).sqrt()
            found[f"{number}.weight"] = weights[f"{block}.conv{layer}.weight"] * scale[:, None, None, None]
            found[f"{number}.bias"] = shift - mean * scale
    except KeyError as error:
        raise CheckpointError(f"the checkpoint of aisfx holds no {error.args[0]}: is it another version?") from error
    return found

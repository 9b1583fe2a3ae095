"""The two networks of "Look, Listen and Learn" (L3), as OpenL3 publishes them: one for sound, one for pictures.

Both are four blocks of two 3 x 3 convolutions, with max pooling between the blocks; the output of the last convolution
is max-pooled to a coarse grid and flattened. The input of the sound network is one second at 48 kHz, as a spectrogram
in dB.

Sources: Arandjelovic and Zisserman, "Look, Listen and Learn", 2017; Cramer, Wu, Salamon and Bello, "Look, Listen and
Learn More", 2019, and its code (openl3 0.4), from which the sizes and special cases below are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from boiler.arrays import Float32Array
from boiler.errors import CheckpointError, UnknownNameError

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = SAMPLE_RATE_HZ
"""One second."""
HOP_SAMPLES = 242
"""Hop of the spectrogram: about 5 ms."""
MEL_FFT = 2048
LINEAR_FFT = 512
SMALLEST = 1e-10
"""Magnitudes are clamped to at least this before the logarithm."""
DYNAMIC_RANGE_DB = 80.0
IMAGE_SIZE = 224
"""Width and height of a picture, pixels."""
BATCH_NORM_EPSILON = 1e-3
"""The default of Keras, with which the published weights were trained. The default of torch is 1e-5."""

CHANNELS = (64, 128, 256, 512)
INPUT_REPRESENTATIONS: dict[str, int] = {"linear": LINEAR_FFT // 2 + 1, "mel128": 128, "mel256": 256}
"""The number of rows of each kind of spectrogram."""
FRONTENDS = ("kapre", "librosa")
"""`librosa` centres each column of a mel spectrogram on its sample; with `kapre` the column starts there. A linear
spectrogram is the same in both."""

AUDIO_POOLING: dict[str, dict[int, tuple[int, int]]] = {
    "linear": {6144: (8, 8), 512: (32, 24)},
    "mel128": {6144: (4, 8), 512: (16, 24)},
    "mel256": {6144: (8, 8), 512: (32, 24)},
}
"""By spectrogram and length of the vector: the rows and columns of a max-pooling cell of the last map."""
IMAGE_POOLING: dict[int, tuple[int, int]] = {8192: (7, 7), 512: (28, 28)}

CONVOLUTION = {"weight": "kernel", "bias": "bias"}
NORMALISATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
"""The weights of a layer by torch's names, and by Keras's."""

KerasLayer = Mapping[str, Float32Array]
"""The weights of one layer by their short name: `kernel`, `bias`; `gamma`, `beta`, `moving_mean`, `moving_variance`."""


class Spectrogram(nn.Module):
    """One second of sound to the input of the sound network: a spectrogram in dB relative to its maximum (-80 to 0).

    Shape: float [N, 1, T] at 48 kHz to [N, 1, rows, columns]: 197 columns of a linear spectrogram, 199 of a mel one.
    """

    def __init__(self, input_repr: str, frontend: str) -> None:
        super().__init__()
        _known("input representation", input_repr, INPUT_REPRESENTATIONS)
        _known("front end", frontend, FRONTENDS)
        self.linear = input_repr == "linear"
        self.centred = frontend == "librosa"
        self.n_fft = LINEAR_FFT if self.linear else MEL_FFT
        self.register_buffer("taper", torch.hann_window(self.n_fft), persistent=False)
        rows = INPUT_REPRESENTATIONS[input_repr]
        bank = torch.zeros(0, 0) if self.linear else slaney_bank(self.n_fft, rows)
        self.register_buffer("bank", bank, persistent=False)
        self.hop_samples = HOP_SAMPLES
        self.smallest = SMALLEST
        self.range_db = DYNAMIC_RANGE_DB
        self.taper: Tensor
        self.bank: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        sound = waveform[:, 0]
        if not self.linear:
            sound = functional.pad(sound, self._padding(sound.shape[1]))
        magnitude = torch.stft(
            sound, self.n_fft, self.hop_samples, window=self.taper, center=False, return_complex=True
        ).abs()
        if not self.linear:
            magnitude = self.bank @ magnitude
        decibel = 10 * magnitude.clamp(min=self.smallest).log10()
        decibel = decibel - decibel.amax(dim=(1, 2), keepdim=True)
        floored: Tensor = decibel.clamp(min=-self.range_db)[:, None]
        return floored

    def _padding(self, length: int) -> list[int]:
        """Zeros before and after `length` samples, for a column every `hop_samples`."""
        if self.centred:
            return [self.n_fft // 2, self.n_fft // 2]
        columns = (length + self.hop_samples - 1) // self.hop_samples
        return [0, max(0, (columns - 1) * self.hop_samples + self.n_fft - length)]


def slaney_bank(n_fft: int, n_mels: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Mel filters of equal area on Slaney's scale, as librosa makes them. Shape: [n_mels, n_fft // 2 + 1]."""
    bank = melscale_fbanks(
        n_fft // 2 + 1, 0.0, sample_rate_hz / 2, n_mels, sample_rate_hz, norm="slaney", mel_scale="slaney"
    )
    filters: Tensor = bank.T.contiguous()
    return filters


@dataclass(frozen=True)
class TowerSettings:
    """The shape of one of the two networks."""

    in_channels: int
    channels: tuple[int, ...] = CHANNELS
    """Of the four blocks."""
    late_norm: bool = False
    """As in the published picture network: ReLU comes before batch normalisation in the second convolution of the first
    block, and after it in all others."""


class Tower(nn.Module):
    """Four blocks of convolutions.

    Shape: float [N, in_channels, H, W] to [N, channels[-1], H // 8, W // 8].
    """

    def __init__(self, settings: TowerSettings) -> None:
        super().__init__()
        self.settings = settings
        layers: list[nn.Module] = [_norm(settings.in_channels)]
        wide = settings.in_channels
        last = len(settings.channels) - 1
        for block, channels in enumerate(settings.channels):
            layers += [nn.Conv2d(wide, channels, 3, padding=1), _norm(channels), nn.ReLU()]
            layers.append(nn.Conv2d(channels, channels, 3, padding=1))
            if block < last:
                tail: list[nn.Module] = [_norm(channels), nn.ReLU()]
                layers += tail[::-1] if settings.late_norm and block == 0 else tail
                layers.append(nn.MaxPool2d(2))
            wide = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.layers(maps)
        return out

    def load_keras(self, layers: Sequence[KerasLayer]) -> None:
        """Load the weights of a Keras model: those of its convolutions and normalisations, in order.

        Layers with other weights (the spectrogram in older weight files) are skipped.

        Raises: CheckpointError: the number of layers or their sizes are not those of this network.
        """
        given = [layer for layer in layers if "kernel" in layer or "gamma" in layer]
        own = [layer for layer in self.layers if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        if len(given) != len(own):
            raise CheckpointError(
                f"it has {len(given)} layers of convolutions and normalisations, and this network has {len(own)}"
            )
        for at, (layer, weights) in enumerate(zip(own, given, strict=True)):
            names = CONVOLUTION if isinstance(layer, nn.Conv2d) else NORMALISATION
            for ours, theirs in names.items():
                if theirs not in weights:
                    raise CheckpointError(f"its layer {at} has no {theirs}: it is from another network")
                array = weights[theirs].transpose(3, 2, 0, 1) if theirs == "kernel" else weights[theirs]
                target: Tensor = getattr(layer, ours)
                if target.shape != array.shape:
                    raise CheckpointError(
                        f"{theirs} of its layer {at} has the shape {list(array.shape)}, not {list(target.shape)}"
                    )
                with torch.no_grad():
                    target.copy_(torch.from_numpy(np.ascontiguousarray(array)))


class AudioNetwork(nn.Module):
    """One second of sound to a vector.

    Shape: float [N, 1, 48000], or with `frontend="librosa"` spectrograms [N, rows, columns, 1] as in OpenL3, to [N, D].
    D is `embedding_size` with the published `channels`; with fewer channels it is smaller in proportion.
    """

    def __init__(
        self,
        input_repr: str = "mel256",
        embedding_size: int = 6144,
        frontend: str = "kapre",
        channels: tuple[int, ...] = CHANNELS,
        shrink: int = 1,
    ) -> None:
        """`shrink`: the spectrogram is averaged over cells of so many rows and columns first, for smaller networks."""
        super().__init__()
        self.input_repr, self.frontend, self.shrink = input_repr, frontend, shrink
        self.spectrogram = Spectrogram(input_repr, frontend)
        _known("length of a sound's vector", str(embedding_size), [str(size) for size in AUDIO_POOLING[input_repr]])
        rows, columns = AUDIO_POOLING[input_repr][embedding_size]
        self.pool = (rows // shrink, columns // shrink)
        self.embedding_size = embedding_size * channels[-1] // CHANNELS[-1]
        self.tower = Tower(TowerSettings(1, channels))

    def forward(self, sound: Tensor) -> Tensor:
        if sound.dim() == 4:
            return self.of_spectrogram(sound.permute(0, 3, 1, 2))
        return self.of_spectrogram(self.spectrogram(sound))

    def of_spectrogram(self, spectrogram: Tensor) -> Tensor:
        """Shape: [N, 1, rows, columns] to [N, D]."""
        return pooled(self.tower(functional.avg_pool2d(spectrogram, self.shrink)), self.pool)


class ImageNetwork(nn.Module):
    """Pictures to vectors. Shape: float [N, 224, 224, 3], values from -1 to 1, to [N, D]."""

    def __init__(self, embedding_size: int = 8192, channels: tuple[int, ...] = CHANNELS, shrink: int = 1) -> None:
        """`shrink`: a picture is averaged over cells of so many pixels in both directions first."""
        super().__init__()
        self.shrink = shrink
        _known("length of a picture's vector", str(embedding_size), [str(size) for size in IMAGE_POOLING])
        rows, columns = IMAGE_POOLING[embedding_size]
        self.pool = (rows // shrink, columns // shrink)
        self.embedding_size = embedding_size * channels[-1] // CHANNELS[-1]
        self.tower = Tower(TowerSettings(3, channels, late_norm=True))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.of_shrunk(functional.avg_pool2d(pictures.permute(0, 3, 1, 2), self.shrink))

    def of_shrunk(self, pictures: Tensor) -> Tensor:
        """Shape: [N, 3, 224 / shrink, 224 / shrink] to [N, D]."""
        return pooled(self.tower(pictures), self.pool)


def pooled(maps: Tensor, pool: tuple[int, int]) -> Tensor:
    """Max pooling over a grid, flattened with the channels last, as in Keras. Shape: [N, C, H, W] to [N, D]."""
    return functional.max_pool2d(maps, pool).permute(0, 2, 3, 1).flatten(1)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)


def _known(kind: str, name: str, known: Sequence[str] | Mapping[str, int]) -> None:
    if name not in known:
        raise UnknownNameError(kind, name, known)

"""The network of the general encoder: a small convolutional one over log-mel spectrograms, for sounds of any kind.

Dense convolutions over bands and frames that halve both three times, then the bands are folded into channels and
residual convolutions run over time alone, at ten steps a second. What is pooled over time are the steps that sound, and
the spectrogram begins with the first of them: silence before a sound changes nothing, behind it little. Around a
million parameters; 14 million multiply-adds for a second of sound. Convolutions are dense because on a CPU those that
are separable take longer, with a quarter of the operations (exp/records/general.md).

Trained by `exp.general.train`; used by `boiler.encoder.general`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from boiler.model.mel_filters import MelFilters
from boiler.model.time_conv import TimeConv1d


@dataclass(frozen=True)
class GeneralSettings:
    """The shape of the network and its front end; saved beside the weights."""

    sample_rate_hz: int = 32_000
    n_fft: int = 1024
    hop_samples: int = 400
    n_mels: int = 64
    f_min_hz: float = 50.0
    f_max_hz: float = 16_000.0
    range_db: float = 70.0
    """What lies further below the loudest band of the loudest frame counts as silence."""
    channels: tuple[int, int, int] = (16, 32, 64)
    blocks_2d: int = 2
    width: int = 256
    blocks_1d: int = 3
    dim: int = 256


AUDIBLE = 0.3
"""A frame sounds when a band of it exceeds this in a scaled spectrogram, whose loudest band is at 2."""


class GeneralMel(nn.Module):
    """Waveform to a scaled log-mel spectrogram in which neither level, offset nor silence before the sound counts.

    Shape: float [T] to [M, F]; 0 is `range_db` below the loudest band of the loudest frame, 2 is that.
    """

    def __init__(self, settings: GeneralSettings) -> None:
        super().__init__()
        self.decades = settings.range_db / 10
        self.audible = AUDIBLE
        self.n_fft, self.hop_samples = settings.n_fft, settings.hop_samples
        self.spectrogram = MelSpectrogram(
            settings.sample_rate_hz,
            n_fft=settings.n_fft,
            hop_length=settings.hop_samples,
            n_mels=settings.n_mels,
            f_min=settings.f_min_hz,
            f_max=settings.f_max_hz,
            power=2.0,
            pad_mode="constant",
        )
        self.filters = MelFilters(self.spectrogram.mel_scale.fb, self.spectrogram.spectrogram.window, power=2.0)
        self.tiny = float(torch.finfo(torch.float32).tiny)

    def power(self, waveform: Tensor) -> Tensor:
        """Mel power [M, F] of the waveform without its DC offset, at a peak of 1. The waveform gets no gradient."""
        waveform = waveform.float()
        half = self.n_fft // 2
        end = half + waveform.shape[0]
        padded = waveform.new_empty(end + half)
        padded[:half], padded[end:] = 0.0, 0.0
        centred = torch.sub(waveform, waveform.mean(), out=padded[half:end])
        lowest, highest = torch.aminmax(centred)
        level = torch.maximum(-lowest, highest).clamp(min=self.tiny)
        power: Tensor = self.filters(padded.unfold(0, self.n_fft, self.hop_samples), level)
        return power.T.contiguous()  # a convolution of one channel takes half as long again of the other order

    def forward(self, waveform: Tensor) -> Tensor:
        spectrogram = scaled(self.power(waveform)[None], self.decades)[0]
        return spectrogram[:, int(first_audible(spectrogram, self.audible)) :]

    @torch.jit.export
    def trimmed_power(self, waveform: Tensor) -> Tensor:
        """`power` without the frames that `forward` leaves out."""
        power = self.power(waveform)
        return power[:, int(first_audible(scaled(power[None], self.decades)[0], self.audible)) :]


def first_audible(spectrogram: Tensor, audible: float) -> Tensor:
    """The first frame of scaled spectrograms that sounds; 0 where none does. Shape: [..., M, F] to int64 [...]"""
    return (spectrogram.amax(dim=-2) > audible).to(torch.uint8).argmax(dim=-1)


def scaled(power: Tensor, decades: float) -> Tensor:
    """Mel power to the units of the network. Shape: [B, M, F], the same."""
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    return ((power / loudest).clamp(min=1e-20).log10() + decades).clamp(min=0) * (2 / decades)


def _conv2d(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Block2d(nn.Module):
    """A residual 3 x 3 convolution over bands and frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu_(x + self.norm(self.conv(x)))


class Block1d(nn.Module):
    """A residual convolution of 3 over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = TimeConv1d(channels, channels, 3, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu_(x + self.norm(self.conv(x)))


class GeneralNetwork(nn.Module):
    """Scaled log-mel to one vector, not of unit length.

    Shape: float [B, M, F] to [B, dim]; F at least 1. Fewer than `MIN_FRAMES` are followed by silence.
    """

    MIN_FRAMES = 32
    STEP_FRAMES = 8
    """Frames of one step of what is pooled."""

    def __init__(self, settings: GeneralSettings) -> None:
        super().__init__()
        self.settings = settings
        first, second, third = settings.channels
        self.min_frames = self.MIN_FRAMES
        self.step_frames = self.STEP_FRAMES
        self.audible = AUDIBLE
        self.stem = nn.Sequential(
            _conv2d(1, first, 5, 2),
            _conv2d(first, second, 3, 2),
            _conv2d(second, third, 3, 2),
            *(Block2d(third) for _ in range(settings.blocks_2d)),
        )
        self.fold = nn.Sequential(
            TimeConv1d(third * -(-settings.n_mels // self.STEP_FRAMES), settings.width, 1, bias=False),
            nn.BatchNorm1d(settings.width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(Block1d(settings.width) for _ in range(settings.blocks_1d)))
        self.out = nn.Linear(2 * settings.width, settings.dim)

    def forward(self, mel: Tensor) -> Tensor:
        vectors: Tensor = self.out(self.pooled(mel))
        return vectors

    def pooled(self, mel: Tensor) -> Tensor:
        """The mean and the maximum over time that the vector is made from. Shape: as `forward` to [B, 2 * width]"""
        return self.pool(mel, self.maps(mel)[1])

    def maps(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The last map over bands and frames [B, C, M/8, F'], and the last over frames [B, width, F']."""
        if mel.shape[2] < self.min_frames:
            mel = functional.pad(mel, (0, self.min_frames - mel.shape[2]))
        deep = self.stem(mel[:, None])
        return deep, self.blocks(self.fold(deep.flatten(1, 2)))

    def pool(self, mel: Tensor, x: Tensor) -> Tensor:
        """The mean and the maximum of the map over frames, where it sounds."""
        if mel.shape[2] < self.min_frames:
            mel = functional.pad(mel, (0, self.min_frames - mel.shape[2]))
        loudness = functional.max_pool1d(mel.amax(dim=1)[:, None], self.step_frames, ceil_mode=True)[:, :, : x.shape[2]]
        weight = (loudness > self.audible).to(x.dtype)
        # All silent: every step counts.
        weight = weight + (weight.sum(dim=2, keepdim=True) == 0).to(x.dtype)
        mean = (x * weight).sum(dim=2) / weight.sum(dim=2)
        return torch.cat([mean, (x * weight).amax(dim=2)], dim=1)

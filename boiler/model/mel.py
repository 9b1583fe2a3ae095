"""Waveform to log-mel spectrogram: the first layer of every encoder, so that an `encoder.pt` needs no preprocessing.

Each window is normalised by its peak, so the level of a sound does not change its spectrogram. The spectrogram of
silence is flat and finite.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from boiler.model.mel_filters import MelFilters


@dataclass(frozen=True)
class MelSettings:
    """The parameters of the log-mel spectrogram. Saved in every checkpoint."""

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_samples: int = 512
    n_mels: int = 80
    floor: float = 1.0
    """Magnitudes are clamped to at least this before the logarithm. A full-scale sine reaches about 256 (half of the
    sum of the analysis window), so the dynamic range is about 48 dB. Below that is background noise, which the
    logarithm would give the same weight as the sound itself (exp/records/training.md: a floor of 0.01 costs .06 of
    P@1)."""
    power: float = 1.0
    """Bands are sums of magnitudes to this power; the spectrogram is log10 of magnitude all the same."""
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    """The range of the bands, by default up to half of the sampling rate. Bands wholly above that are empty."""
    frames_multiple: int = 1
    """Frames at the end that do not fill this are dropped."""


class LogMel(nn.Module):
    """Log-mel spectrogram of peak-normalised windows.

    Shape: float `[B, 1, T]`, T more than half of `n_fft`, to `[B, 1, M, F]` with `F = T // hop_samples` (the last
    frame, centred on the end of the window, is dropped, so that 2**17 samples are 256 frames), less the remainder by
    `frames_multiple`. Values: log10 of magnitude, at least `log10(floor)`.

    >>> LogMel(MelSettings())(torch.zeros(2, 1, 2**17)).shape
    torch.Size([2, 1, 80, 256])
    """

    def __init__(self, settings: MelSettings) -> None:
        super().__init__()
        self.floor = settings.floor
        self.sample_rate_hz = settings.sample_rate_hz
        self.n_fft, self.hop_samples = settings.n_fft, settings.hop_samples
        # The smallest normal float32: dividing silence by it leaves silence.
        self.tiny = float(torch.finfo(torch.float32).tiny)
        self.power, self.frames_multiple = settings.power, settings.frames_multiple
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
            self.spectrogram = MelSpectrogram(
                sample_rate=settings.sample_rate_hz,
                n_fft=settings.n_fft,
                hop_length=settings.hop_samples,
                n_mels=settings.n_mels,
                power=settings.power,
                f_min=settings.f_min_hz,
                f_max=settings.f_max_hz,
            )
        self.filters = MelFilters(self.spectrogram.mel_scale.fb, self.spectrogram.spectrogram.window, settings.power)

    def forward(self, waveform: Tensor) -> Tensor:
        waveform = waveform.float()
        peak = waveform.abs().amax(dim=-1, keepdim=True).clamp(min=self.tiny)
        frames = waveform.shape[-1] // self.hop_samples
        frames = frames - frames % self.frames_multiple
        bands = self.bands(waveform, peak, frames)
        loudness: Tensor = bands.clamp(min=self.floor**self.power).log10() / self.power
        return loudness

    def bands(self, waveform: Tensor, peak: Tensor, frames: int) -> Tensor:
        """The first frames of `self.spectrogram` of the sound at a peak of 1, in less time.

        Shape: [B, 1, T] and [B, 1, 1] to [B, 1, M, frames]
        """
        exporting = False
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            exporting = torch.compiler.is_exporting()  # TorchScript cannot compile this
        if exporting:  # ONNX has no real Fourier transform
            exported: Tensor = self.spectrogram(waveform / peak)[..., :frames]
            return exported
        half = self.n_fft // 2
        padded = functional.pad(waveform, (half, half), mode="reflect")
        framed = padded.unfold(2, self.n_fft, self.hop_samples)[:, :, :frames]
        bands: Tensor = self.filters(framed, peak[..., None])
        return bands.transpose(2, 3)

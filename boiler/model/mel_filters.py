"""Frames of a waveform to mel bands: what torchaudio's `MelSpectrogram` computes of them, in a third of its time.

Nearly all of a bank of mel filters is zeros, and the absolute value of complex numbers is slow. Bands are computed in
groups, each from the frequencies that its filters pass, and their power from the squares of real and imaginary parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 4
"""Number of groups of bands. With more, starting an operation takes longer than its arithmetic."""
FRAMES_AT_ONCE = 256
"""Few enough that what is computed of them stays in the cache of a core."""


class MelFilters(nn.Module):
    """The filters of a mel spectrogram, and the window of its Fourier transform.

    Shape: frames [..., F, n_fft], and the level that they are divided by [..., 1, 1], to [..., F, M]
    """

    def __init__(self, filters: Tensor, window: Tensor, power: float) -> None:
        """
        Arguments:
            filters: [n_fft // 2 + 1, M]
            window: [n_fft]
            power: of the magnitudes that are summed, 1 or 2
        Raises: ValueError: another power.
        """
        super().__init__()
        if power not in (1.0, 2.0):
            raise ValueError(f"magnitudes are summed to the power of 1 or 2, not {power}")
        self.is_power = power == 2.0
        self.frames_at_once = FRAMES_AT_ONCE
        self.register_buffer("window", window, persistent=False)
        self.window: Tensor
        self.groups = nn.ModuleList(_Group(part, self.is_power) for part in filters.chunk(GROUPS, dim=1))

    def forward(self, frames: Tensor, level: Tensor) -> Tensor:
        window = self.window / level  # less work than dividing the sound
        bands: list[Tensor] = []
        for part in frames.split(self.frames_at_once, dim=-2):  # type: ignore[no-untyped-call]
            spectrum = torch.fft.rfft(part * window)
            if self.is_power:
                magnitudes = torch.view_as_real(spectrum).square_().flatten(-2)
            else:
                magnitudes = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).sqrt_()
            bands.append(torch.cat([group(magnitudes) for group in self.groups], dim=-1))
        return torch.cat(bands, dim=-2)


class _Group(nn.Module):
    """Some neighbouring bands. Shape: [..., n_fft // 2 + 1], or twice that of real and imaginary parts, to [..., m]"""

    def __init__(self, filters: Tensor, is_power: bool) -> None:
        super().__init__()
        passed = filters.any(dim=1).nonzero()[:, 0].tolist() or [0]
        first, end = passed[0], passed[-1] + 1
        kept = filters[first:end]
        # A real and an imaginary part: the product adds their squares.
        repeats = 2 if is_power else 1
        self.first, self.end = repeats * first, repeats * end
        self.register_buffer("filters", kept.repeat_interleave(repeats, dim=0), persistent=False)
        self.filters: Tensor

    def forward(self, magnitudes: Tensor) -> Tensor:
        bands: Tensor = magnitudes[..., self.first : self.end] @ self.filters
        return bands

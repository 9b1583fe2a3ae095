"""A pretrained encoder joined with what the folder itself teaches: the vectors of both, side by side.

The pretrained one knows sounds that the folder does not hold; the descriptors (`boiler.encoder.joined_descriptors`) are
weighed by what the folder's sounds have in common with altered copies of themselves. Each is of unit length and counts
half. Both see the clip itself, not its repetitions in the window.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchaudio.transforms import Resample

from boiler.encoder import Encoder, Fitted, whitening
from boiler.encoder.aisfx import SAMPLE_RATE_HZ, WINDOW_SAMPLES, AISFXEncoder
from boiler.encoder.joined_descriptors import MAX_CLIPS, JoinedDescriptors
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.whitening import Whitening
from boiler.model.mel import MelSettings

WHITENED_DIM = 256
"""Principal components kept of the pretrained encoder's vectors."""
MAX_WHITENED = 1000
"""Windows that its whitening is fitted to."""


class ClipResampler(nn.Module):
    """The first `length` samples of a window at another rate, repeated to fill a window there.

    The window's repetitions must not be resampled with it: the copies would differ in their first samples.
    """

    def __init__(self, rate_hz: int, to_rate_hz: int, window_samples: int) -> None:
        super().__init__()
        self.rate_hz, self.to_rate_hz = rate_hz, to_rate_hz
        self.samples = window_samples * to_rate_hz // rate_hz
        self.resample = Resample(rate_hz, to_rate_hz)

    def forward(self, window: Tensor, length: int) -> Tensor:
        """Shape: [T] to [`samples`]."""
        clip: Tensor = self.resample(window[:length].float())
        times = (self.samples + clip.shape[0] - 1) // clip.shape[0]
        return clip.repeat(times)[: self.samples]

    def length(self, length: int) -> int:
        """Samples of the clip at the other rate, of `length` at this."""
        return min(self.samples, (length * self.to_rate_hz + self.rate_hz - 1) // self.rate_hz)


class JoinedPretrained(Fitted):
    """A pretrained encoder, half-whitened, and six descriptors; see the module."""

    fit_windows = MAX_CLIPS

    def __init__(self, pretrained: Encoder, device: str = "cpu") -> None:
        descriptors = JoinedDescriptors()
        dim = min(WHITENED_DIM, pretrained.dim)
        super().__init__(dim + descriptors.dim)
        self.whitened_dim = dim
        self.pretrained = pretrained
        self.descriptors = descriptors
        self.whitening = Whitening(torch.zeros(pretrained.dim), torch.eye(pretrained.dim)[:, :dim])
        self.resampler = ClipResampler(
            pretrained.sample_rate_hz, MelSettings().sample_rate_hz, pretrained.window_samples
        )
        self.share_scale = math.sqrt(0.5)  # each of the two is of unit length
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        lengths = loop_lengths(waveform)
        at_rate: list[Tensor] = []
        short: list[int] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            at_rate.append(self.resampler(window[0], length))
            short.append(self.resampler.length(length))
        described = self.descriptors.embed_clips(torch.stack(at_rate)[:, None], short)
        return torch.cat([self.whitening(self.pretrained(waveform)), described], dim=1) * self.share_scale

    def fit(self, waveforms: Iterable[Tensor]) -> None:
        rows: list[Tensor] = []

        def windows() -> Iterator[Tensor]:
            for batch in waveforms:
                if sum(map(len, rows)) < MAX_WHITENED:
                    rows.append(self.pretrained(batch.to(device)).cpu())
                batch = batch.cpu()
                lengths = loop_lengths(batch)
                yield torch.stack([self.resampler(w[0], n) for w, n in zip(batch, lengths, strict=True)])[:, None]

        device = self.whitening.mean.device
        self.resampler.cpu()
        with torch.no_grad():
            self.descriptors.fit(windows())
            fitted = whitening.fit(rows, self.whitened_dim)
        self.whitening = Whitening(fitted["mean"], fitted["matrix"])
        self.to(device)


class JoinedAISFX(JoinedPretrained):
    """`AISFXEncoder` joined with the folder's descriptors. D = 448.

    Good for: drums, one-shots and effects, where the time for it is there (0.1 s of one core for 2.3 s of sound).
    """

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = AISFXEncoder.checkpoint_hint
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        super().__init__(AISFXEncoder(pt_path, device), device)

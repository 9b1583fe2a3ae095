"""Kaldi's log-mel filter bank on a whole batch: the front end that the Audio Spectrogram Transformer was trained with.

`torchaudio.compliance.kaldi.fbank` computes the same for one sound at a time; this module takes batches, and can be
traced and exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.compliance.kaldi import get_mel_banks

FRAME_MS = 25
HOP_MS = 10
PREEMPHASIS = 0.97
LOW_HZ = 20.0


class KaldiMel(nn.Module):
    """Waveforms to log-mel frames, with Kaldi's defaults and a Hann window: no dither, pre-emphasis .97, power.

    Shape: float [N, T] to [N, frames, n_mels], `frames = 1 + (T - 25 ms) // 10 ms`.
    """

    def __init__(self, sample_rate_hz: int, n_mels: int) -> None:
        super().__init__()
        self.frame_samples = sample_rate_hz * FRAME_MS // 1000
        self.hop_samples = sample_rate_hz * HOP_MS // 1000
        self.preemphasis = PREEMPHASIS
        self.n_fft = 1 << (self.frame_samples - 1).bit_length()
        bank, _ = get_mel_banks(n_mels, self.n_fft, float(sample_rate_hz), LOW_HZ, 0.0, 100.0, -500.0, 1.0)
        self.register_buffer("bank", functional.pad(bank, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("taper", torch.hann_window(self.frame_samples, periodic=False), persistent=False)
        self.smallest = float(torch.finfo(torch.float32).eps)
        self.bank: Tensor
        self.taper: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(1, self.frame_samples, self.hop_samples)
        frames = frames - frames.mean(dim=2, keepdim=True)
        # The sample before the first one of a frame counts as equal to it.
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        frames = functional.pad((frames - self.preemphasis * before) * self.taper, (0, self.n_fft - self.frame_samples))
        power = torch.fft.rfft(frames).abs().square()
        mel: Tensor = (power @ self.bank).clamp(min=self.smallest).log()
        return mel

"""A small convolutional network from a waveform to a vector: the audio side of `boiler.train_words --audio cnn`.

A log-mel spectrogram (16 kHz, 512 samples, hop 256, 80 bands) passes four blocks of a convolution of 3 x 3, batch
normalisation, ReLU and max pooling, and the mean over time and frequency.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from boiler.model.mel import LogMel, MelSettings

MEL = MelSettings(sample_rate_hz=16_000, n_fft=512, hop_samples=256, n_mels=80, floor=0.5)
WINDOW_SAMPLES = 2**16
"""4.096 s."""
N_FRAMES = WINDOW_SAMPLES // MEL.hop_samples
CHANNELS = (16, 32, 64, 128)
DIM = 128


class MelCNN(nn.Module):
    """Shape: waveform `[B, 1, T]`, at least 4,096 samples, to `[B, 128]`

    >>> MelCNN().eval()(torch.zeros(2, 1, WINDOW_SAMPLES)).shape
    torch.Size([2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # A few of the lowest of 80 bands are narrower than a bin of the FFT, and stay empty.
            warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
            self.mel = LogMel(MEL)
        layers: list[nn.Module] = [nn.BatchNorm2d(1)]
        for n_in, n_out in zip((1, *CHANNELS), CHANNELS, strict=False):
            layers += [
                nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)
            ]  # fmt: skip
        self.blocks = nn.Sequential(*layers)
        self.last = nn.Linear(CHANNELS[-1], DIM)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.of_mel(self.mel(waveform)[:, 0])

    def of_mel(self, mel: Tensor) -> Tensor:
        """Of spectrograms that were computed before. Shape: [B, M, F] to [B, 128]"""
        found: Tensor = self.last(self.blocks(mel.float()[:, None]).mean(dim=(2, 3)))
        return found


@torch.no_grad()
def log_mel(network: MelCNN, samples: Tensor) -> Tensor:
    """The input of `of_mel`, in half precision. Shape: [B, T] to [B, M, F]"""
    spectrogram: Tensor = network.mel(samples[:, None])[:, 0].half()
    return spectrogram

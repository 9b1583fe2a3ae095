"""The encoder half of Whisper, a speech recogniser, as an encoder of windows of 30 s at 16 kHz.

Good for speech and its content; it hardly distinguishes drums and similar sounds. `--pt_path` is a local directory that
`transformers` saved, or a name on the hub such as openai/whisper-base. The vector is the mean over the positions of the
clip: a clip that was repeated to fill the window is used once; the rest of the window is silence, as in the training of
Whisper, and is not averaged.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder, pretrained
from boiler.encoder.loop_length import clip_lengths

SMALLEST = 1e-10
RANGE = 8.0
"""Dynamic range, log10: lower values are raised to the maximum minus this."""
SHORTEST_S = 0.1
"""A shorter clip (a click, or a wave that repeats exactly) is repeated up to this duration."""


class WhisperMel(nn.Module):
    """Whisper's log-mel spectrogram. Shape: float [N, T] to [N, n_mels, T // hop]."""

    def __init__(self, bank: Tensor, n_fft: int, hop_samples: int) -> None:
        """`bank`: [n_fft // 2 + 1, n_mels]."""
        super().__init__()
        self.n_fft, self.hop_samples = n_fft, hop_samples
        self.register_buffer("bank", bank.T.contiguous(), persistent=False)
        self.register_buffer("taper", torch.hann_window(n_fft), persistent=False)
        self.bank: Tensor
        self.taper: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = torch.stft(waveform, self.n_fft, self.hop_samples, window=self.taper, return_complex=True)
        mel = self.bank @ spectrum[..., :-1].abs().square()
        loudness = mel.clamp(min=SMALLEST).log10()
        loudness = torch.maximum(loudness, loudness.amax(dim=(1, 2), keepdim=True) - RANGE)
        return (loudness + 4) / 4


class WhisperEncoder(Encoder):
    """The encoder of a Whisper model of `transformers`; see the module. D is the model's width."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "a model of transformers (--pt_path DIR, or its name on the hub)"
    traced: ClassVar[bool] = True

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        directory = pretrained.model_directory(pt_path or "")
        model: Any = pretrained.load_pretrained("WhisperModel", directory, attn_implementation="eager")
        features: Any = pretrained.load_pretrained("WhisperFeatureExtractor", directory)
        super().__init__(model.config.d_model)
        self.sample_rate_hz = features.sampling_rate
        self.window_samples = features.n_samples
        bank = torch.as_tensor(features.mel_filters, dtype=torch.float32)
        self.mel = WhisperMel(bank, features.n_fft, features.hop_length)
        self.encoder = model.encoder
        # A position of the encoder is two columns of the spectrogram: its second convolution has stride 2.
        self.position_samples = 2 * features.hop_length
        self.shortest_samples = round(SHORTEST_S * features.sampling_rate)
        self.to(device)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        features: Any = pretrained.load_pretrained("WhisperFeatureExtractor", pretrained.model_directory(pt_path or ""))
        return WindowSpec(features.sampling_rate, features.n_samples, features.n_samples / features.sampling_rate / 2)

    @classmethod
    def sha256_of(cls, pt_path: str | os.PathLike[str]) -> str:
        return pretrained.model_sha256(pretrained.model_directory(pt_path))

    def forward(self, waveform: Tensor) -> Tensor:
        clip = clip_lengths(waveform)
        clip = clip * ((self.shortest_samples + clip - 1) // clip)
        places = torch.arange(waveform.shape[2], device=waveform.device)
        once = waveform[:, 0] * (places < clip[:, None])
        hidden = self.encoder(self.mel(once)).last_hidden_state
        positions = torch.arange(hidden.shape[1], device=waveform.device) * self.position_samples
        counted = (positions < clip[:, None]).float()[..., None]
        return normalize((hidden * counted).sum(dim=1) / counted.sum(dim=1), dim=1)

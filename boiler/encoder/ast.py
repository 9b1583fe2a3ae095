"""The Audio Spectrogram Transformer (AST) as an encoder of windows of 10.24 s at 16 kHz.

Good for sounds of every kind, if its published weights (trained on AudioSet) are available; `--pt_path` is a local
directory that `transformers` saved, or a name on the hub such as MIT/ast-finetuned-audioset-10-10-0.4593. The vector is
the mean of the class token and the distillation token after the last normalisation, or one of them.

Source: Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", 2021.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import normalize, pad

from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder, pretrained
from boiler.encoder.kaldi_mel import HOP_MS, KaldiMel
from boiler.errors import SettingsError

TOKENS = ("mean", "class", "distillation")


class ASTEncoder(Encoder):
    """An Audio Spectrogram Transformer of `transformers`; see the module. D is the model's hidden size."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "a model of transformers (--pt_path DIR, or its name on the hub)"
    traced: ClassVar[bool] = True

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu", *, tokens: str = "mean") -> None:
        """`tokens`: `mean` of both, `class` or `distillation`."""
        if tokens not in TOKENS:
            raise SettingsError(f"tokens is one of {', '.join(TOKENS)}, not {tokens!r}")
        directory = pretrained.model_directory(pt_path or "")
        model: Any = pretrained.load_pretrained("ASTModel", directory, attn_implementation="eager")
        features: Any = pretrained.load_pretrained("ASTFeatureExtractor", directory)
        super().__init__(model.config.hidden_size)
        self.sample_rate_hz = features.sampling_rate
        self.window_samples = _window_samples(features)
        self.mel = KaldiMel(features.sampling_rate, features.num_mel_bins)
        self.n_frames = features.max_length
        # The extractor subtracts the mean and divides by twice the standard deviation of its training sounds.
        self.mean = features.mean if features.do_normalize else 0.0
        self.scale = 2 * features.std if features.do_normalize else 1.0
        self.model = model
        self.tokens = tokens
        self.to(device)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        features: Any = pretrained.load_pretrained("ASTFeatureExtractor", pretrained.model_directory(pt_path or ""))
        samples = _window_samples(features)
        return WindowSpec(features.sampling_rate, samples, samples / features.sampling_rate / 2)

    @classmethod
    def sha256_of(cls, pt_path: str | os.PathLike[str]) -> str:
        return pretrained.model_sha256(pretrained.model_directory(pt_path))

    def forward(self, waveform: Tensor) -> Tensor:
        mel = self.mel(waveform[:, 0])[:, : self.n_frames]
        mel = pad(mel, (0, 0, 0, self.n_frames - mel.shape[1]))
        hidden = self.model((mel - self.mean) / self.scale).last_hidden_state
        if self.tokens == "mean":
            vectors = (hidden[:, 0] + hidden[:, 1]) / 2
        else:
            vectors = hidden[:, 0 if self.tokens == "class" else 1]
        return normalize(vectors, dim=1)


def _window_samples(features: Any) -> int:
    samples: int = features.max_length * features.sampling_rate * HOP_MS // 1000
    return samples

"""The general encoder: one small network for sounds of any kind, trained once on much varied sound.

It hears up to 16 kHz, takes clips of any length, and does not mind their level, a DC offset or silence around them. Its
weights come with boiler (docs/model-card.md); others can be given. The network (`boiler.model.general`) is trained by
`exp.general.train`.

Good for: a first index of a folder of mixed sounds; joined with the folder's descriptors (`JoinedGeneral`) where there
is a minute for it.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from boiler.encoder.clip_encoder import ClipEncoder
from boiler.encoder.conditioning import condition_clip, fade_samples
from boiler.encoder.contrastive_head import random_view
from boiler.errors import CheckpointError, first_line
from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings, scaled

WINDOW_SAMPLES = 2**18
"""8.192 s."""
WEIGHTS = Path(__file__).parent / "weights" / "general.safetensors"
"""The weights that come with boiler."""
LOUDEST = 2.3
"""log10 of the magnitude of the loudest band in spectrograms that views are made of: a full-scale sine has 2.4."""


class SpectrogramEncoder(ClipEncoder):
    """An encoder whose network takes the scaled log-mel spectrogram of a clip."""

    def __init__(self, dim: int, settings: GeneralSettings, network: nn.Module) -> None:
        """network: [1, M, F] to [1, D], F of any length"""
        super().__init__(dim)
        self.mel = GeneralMel(settings)
        self.fade = fade_samples(settings.sample_rate_hz)
        self.network = network

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        vectors: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            vectors.append(self.network(self.mel(condition_clip(window[0, :length], self.fade))[None])[0])
        return normalize(torch.stack(vectors), dim=1)


class GeneralEncoder(SpectrogramEncoder):
    """The general encoder; see the module. D = 256."""

    own_weights = WEIGHTS
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(
        self,
        pt_path: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        network: GeneralNetwork | None = None,
    ) -> None:
        """pt_path: other weights, as `exp.general.train --export` writes them; network: instead of weights"""
        network = network or load_network(pt_path)
        super().__init__(network.settings.dim, network.settings, network)
        self.network: GeneralNetwork = network
        self.eval().to(device)

    def pooled_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """What the network pools over time, for windows [N, 1, T] whose `loop_lengths` are known. Shape: [N, F]"""
        pooled: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            mel = self.mel(condition_clip(window[0, :length], self.fade))
            pooled.append(self.network.pooled(mel[None])[0])
        return torch.stack(pooled)

    def vectors_of(self, pooled: Tensor) -> Tensor:
        """The vectors of what the network pooled. Shape: [N, F] to [N, D]"""
        return normalize(self.network.out(pooled), dim=1)


class PooledViews:
    """`GeneralEncoder.pooled_clips` of one window, and of altered views of its spectrogram.

    What it calls is compiled: of a short sound, half of the time would be Python's, of which one thread can run at a
    time. Safe to call from several threads.
    """

    def __init__(self, encoder: GeneralEncoder) -> None:
        self._device, self._fade = encoder.network.out.weight.device, encoder.fade
        self._decades = encoder.mel.decades
        self._mel, self._network = torch.jit.script(encoder.mel), torch.jit.script(encoder.network)
        self._view = torch.jit.script(random_view)

    def __call__(self, window: Tensor, length: int, n_views: int, seed: int) -> Tensor:
        """Of a window [1, T] whose `loop_length` is known, and of views drawn with the seed, at least one.

        Shape: [1 + n_views, F]
        """
        generator = torch.Generator().manual_seed(seed)
        power = self._mel.trimmed_power(condition_clip(window[0, :length].to(self._device), self._fade)).cpu()
        # What `random_view` takes: log10 of the magnitude.
        loudness = (power / power.amax().clamp(min=1e-20)).clamp(min=1e-20).log10() / 2 + LOUDEST
        altered = [10 ** (2 * self._view(loudness.T, generator)) for _ in range(n_views)]
        # Together, with silence behind the shorter ones: with few frames, the weights are what takes the time.
        together = pad_sequence(altered, batch_first=True).transpose(1, 2)
        views = (power[None], together)
        return torch.cat([self._network.pooled(scaled(view.to(self._device), self._decades)) for view in views])


def load_network(pt_path: str | os.PathLike[str] | None = None) -> GeneralNetwork:
    """The network with its weights, its batch norms folded. pt_path: as of `GeneralEncoder`. Raises: CheckpointError"""
    settings, weights = _read(Path(pt_path or WEIGHTS))
    network = GeneralNetwork(settings)
    # strict=False: how many batches a normalisation was trained with is not kept.
    missing = network.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or [name for name in missing.missing_keys if not name.endswith("batches_tracked")]:
        raise CheckpointError(f"{pt_path}: these are not the weights of a general encoder")
    fused = fuse_batch_norms(network.eval())
    fused.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth less time
    return fused


def _read(path: Path) -> tuple[GeneralSettings, dict[str, Tensor]]:
    """The settings, kept as metadata, and the tensors.

    Raises: CheckpointError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["settings"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        names = {field.name for field in fields(GeneralSettings)}
        if found.keys() != names or found["sample_rate_hz"] != GeneralSettings.sample_rate_hz:
            raise ValueError("its settings are of another version")
        return GeneralSettings(**{**found, "channels": tuple(found["channels"])}), weights
    except Exception as error:  # of several kinds, by what is wrong with the file
        raise CheckpointError(
            f"{path}: cannot be read as the weights of a general encoder ({first_line(error)})"
        ) from error

"""The interface of HEAR (Holistic Evaluation of Audio Representations) for all encoders of boiler.

A module with these three functions can be evaluated on the tasks of HEAR: `hear-eval` and `hear-validator` take its
name, `boiler.embedding.hear`, and the argument of `load_model`.

    >>> model = load_model("MFCCStats")
    >>> audio = torch.zeros(2, 3 * model.sample_rate)  # [sounds, samples], from -1 to 1
    >>> get_scene_embeddings(audio, model).shape
    torch.Size([2, 80])
    >>> embeddings, timestamps = get_timestamp_embeddings(audio, model)
    >>> embeddings.shape, timestamps[0, :3]
    (torch.Size([2, 61, 80]), tensor([  0.,  50., 100.]))

Source: the common interface of HEAR 2021, https://hearbenchmark.com/hear-api.html
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from boiler import encoder
from boiler.arrays import Float32Array
from boiler.audio.windows import cut_windows
from boiler.embedding import models
from boiler.embedding.models import AudioModel, EncoderModel
from boiler.errors import EmbeddingError

HOP_MS = 50
"""Hop between timestamps: the maximum for the event tasks of HEAR."""
SCENE_HOP_S = 0.5
"""Hop between the frames that are averaged for a scene, if the window of the network is a frame."""
BATCH_FRAMES = 32


class HearModel(nn.Module):
    """A model as HEAR defines it. Attributes: `sample_rate` in Hz, `scene_embedding_size`,
    `timestamp_embedding_size`."""

    def __init__(self, model: AudioModel) -> None:
        super().__init__()
        self.model = model
        self.sample_rate = model.sample_rate_hz
        self.scene_embedding_size = model.embedding_size
        self.timestamp_embedding_size = model.embedding_size

    def forward(self, audio: Tensor) -> Tensor:
        """As `get_scene_embeddings`."""
        return get_scene_embeddings(audio, self)


def load_model(model_file_path: str = "") -> HearModel:
    """Load a model: `model_file_path` is the name of an encoder, `NAME:CHECKPOINT`, a checkpoint, a model directory, or
    a `.h5` file of OpenL3 (mel256, 6144 dimensions). Empty: the general encoder.

    Raises: CheckpointError, ModelDirError, UnknownNameError: there is no such model.
    """
    name = model_file_path or encoder.UNFITTED
    return HearModel(models.audio_model(name, "mel256", "music", 6144, "kapre"))


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings every 50 ms, each of the second (or shorter window) around its timestamp; the sound is padded with
    zeros.

    audio: sounds of the same length at `model.sample_rate`, values from -1 to 1

    Shape: [n_sounds, n_samples] to float32 `([n_sounds, n_times, D], [n_sounds, n_times])`; times in milliseconds.

    Raises: EmbeddingError: another shape, or no samples.
    """
    sounds = _checked(audio)
    embedder = model.model
    size = embedder.frame_samples
    n_times = 1 + sounds.shape[1] * 1_000 // (HOP_MS * model.sample_rate)
    middles = np.arange(n_times) * HOP_MS * model.sample_rate // 1_000
    padded = np.pad(sounds, ((0, 0), (size // 2, size - size // 2)))
    embedded = []
    for sound in padded:
        frames = np.lib.stride_tricks.sliding_window_view(sound, size)[middles]
        embedded.append(_in_batches(embedder, frames))
    times = torch.arange(n_times, dtype=torch.float32) * HOP_MS
    embeddings = torch.from_numpy(np.stack(embedded)).to(audio.device)
    return embeddings, times.expand(len(sounds), -1).contiguous().to(audio.device)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding of unit length for each sound: the mean over its windows, which are the same as in an index; for a
    network whose window is a frame, the mean over frames half a second apart.

    Shape: [n_sounds, n_samples] to float32 [n_sounds, D].

    Raises: as `get_timestamp_embeddings`.
    """
    return torch.from_numpy(np.stack([_scene(sound, model.model) for sound in _checked(audio)])).to(audio.device)


def _scene(sound: Float32Array, model: AudioModel) -> Float32Array:
    if isinstance(model, EncoderModel):
        windows = [window.samples for window in cut_windows([sound], model.windows)]
        mean = np.concatenate([model.embed(window[None]) for window in windows]).mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny), np.float32)
    hop, size = round(SCENE_HOP_S * model.sample_rate_hz), model.frame_samples
    padded = np.pad(sound, (0, size - len(sound) if len(sound) < size else (size - len(sound)) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.asarray(_in_batches(model, frames).mean(axis=0), np.float32)


def _in_batches(model: AudioModel, frames: Float32Array) -> Float32Array:
    return np.concatenate(
        [model.predict(np.array(frames[at : at + BATCH_FRAMES])) for at in range(0, len(frames), BATCH_FRAMES)]
    )


def _checked(audio: Tensor) -> Float32Array:
    if not isinstance(audio, Tensor) or audio.dim() != 2:
        shape = list(audio.shape) if isinstance(audio, Tensor) else type(audio)
        raise EmbeddingError(f"audio must be a tensor [n_sounds, n_samples], not {shape}")
    if audio.shape[1] == 0:
        raise EmbeddingError("audio is empty: it has no samples")
    sounds: Float32Array = audio.detach().cpu().float().numpy()
    return sounds

"""Models that embed frames of sound and pictures: OpenL3's networks with their published weights, and all encoders of
boiler, behind one small interface.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from boiler import encoder, files
from boiler.arrays import Float32Array
from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError, EmbeddingError
from boiler.model import keras_weights, l3, l3_joint
from boiler.model.l3 import AudioNetwork, ImageNetwork
from boiler.store import generation

Value = TypeVar("Value", str, int)

WEIGHTS_VARIABLE = "BOILER_OPENL3_WEIGHTS"
WEIGHTS_SOURCE = "https://github.com/marl/openl3/tree/models"
CONTENT_TYPES = ("music", "env")
FRAME_S = 1.0


class AudioModel(Protocol):
    """Embeds frames of sound.

    Attributes: `sample_rate_hz` and `frame_samples` of its input, dimension `embedding_size` (D) of its vectors.
    """

    sample_rate_hz: int
    frame_samples: int
    embedding_size: int

    def predict(self, frames: Float32Array) -> Float32Array:
        """Shape: [n, frame_samples] to [n, D]."""


class ImageModel(Protocol):
    """Embeds pictures. Attributes: `embedding_size`, the dimension D of its vectors."""

    embedding_size: int

    def predict(self, pictures: Float32Array) -> Float32Array:
        """Shape: [n, 224, 224, 3], values from -1 to 1, to [n, D]."""


class L3AudioModel:
    """OpenL3's audio network, or one of `boiler.train_l3`. Its frames are one second at 48 kHz."""

    sample_rate_hz = l3.SAMPLE_RATE_HZ
    frame_samples = l3.FRAME_SAMPLES

    def __init__(self, network: AudioNetwork) -> None:
        self.network = network.eval().requires_grad_(False)
        self.embedding_size = network.embedding_size
        self.input_repr, self.frontend = network.input_repr, network.frontend

    def predict(self, frames: Float32Array) -> Float32Array:
        """Shape: waveforms [n, T] or [n, 1, T], or spectrograms [n, rows, columns, 1], to [n, D]."""
        return _run(self.network, frames[:, None] if frames.ndim == 2 else frames)


class L3ImageModel:
    """OpenL3's image network, or one of `boiler.train_l3`."""

    def __init__(self, network: ImageNetwork) -> None:
        self.network = network.eval().requires_grad_(False)
        self.embedding_size = network.embedding_size

    def predict(self, pictures: Float32Array) -> Float32Array:
        """Shape: [n, 224, 224, 3] to [n, D]."""
        return _run(self.network, pictures)


class EncoderModel:
    """An encoder of boiler. A frame is one second, or the window of the encoder if that is shorter; it is repeated to
    fill the window, like every short sound."""

    def __init__(self, embed: Callable[[Float32Array], Float32Array], windows: WindowSpec, dim: int) -> None:
        """`embed` returns the vectors of whole windows: [n, window_samples] to [n, D]."""
        self.embed = embed
        self.windows = windows
        self.sample_rate_hz = windows.sample_rate_hz
        self.frame_samples = min(round(FRAME_S * windows.sample_rate_hz), windows.window_samples)
        self.embedding_size = dim

    def predict(self, frames: Float32Array) -> Float32Array:
        """Shape: [n, frame_samples] to [n, D], unit length."""
        window_samples = self.windows.window_samples
        times = -(-window_samples // frames.shape[1])
        return self.embed(np.ascontiguousarray(np.tile(frames, (1, times))[:, :window_samples]))


def _run(network: nn.Module, batch: Float32Array) -> Float32Array:
    with torch.inference_mode():
        vectors: Float32Array = network(torch.from_numpy(np.ascontiguousarray(batch, np.float32))).numpy()
    return vectors


def load_audio_network(
    model_path: str | os.PathLike[str], input_repr: str, embedding_size: int, frontend: str = "kapre"
) -> L3AudioModel:
    """OpenL3's audio network with the weights of a Keras file.

    Raises: EmbeddingError: an unknown name or size. CheckpointError: no such file, or it is from another network.
    """
    network = AudioNetwork(input_repr, audio_size(embedding_size), known_frontend(frontend))
    _load(network, Path(model_path))
    return L3AudioModel(network)


def load_image_network(model_path: str | os.PathLike[str], embedding_size: int) -> L3ImageModel:
    """OpenL3's image network with the weights of a Keras file. Raises: as `load_audio_network`."""
    network = ImageNetwork(image_size(embedding_size))
    _load(network, Path(model_path))
    return L3ImageModel(network)


def _load(network: AudioNetwork | ImageNetwork, path: Path) -> None:
    try:
        network.tower.load_keras(keras_weights.read_layers(path))
    except CheckpointError as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise CheckpointError(f"{where}{error}") from error


def weights_file(modality: str, input_repr: str, content_type: str) -> Path:
    """The path of the published weights of a network: in the file or folder that `BOILER_OPENL3_WEIGHTS` names, else in
    the user's cache.

    Raises: CheckpointError: they are in neither; the message says how to get them, and which encoders need none.
    """
    stem = f"openl3_{modality}_{input_repr}_{content_type}"
    named = os.environ.get(WEIGHTS_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boiler" / "openl3"
    folder = Path(named) if named else cache
    if named and folder.is_file():
        return folder
    # Published names end in the version of the weights: openl3_audio_mel256_music-v0_4_0.h5
    for found in sorted(folder.glob(f"{stem}*.h5"), reverse=True):
        return found
    raise CheckpointError(
        f"there is no {stem}.h5 in {folder}: get it from {WEIGHTS_SOURCE} (unpack the .gz) and put it there, or set "
        f"{WEIGHTS_VARIABLE} to the file or its folder. No weights are needed for the encoders "
        f"{', '.join(sorted(_needing_none()))} (model={encoder.UNFITTED!r})"
    )


def _needing_none() -> list[str]:
    return [name for name in encoder.ENCODERS if not encoder.find_encoder(name).needs_checkpoint]


def audio_model(model: object, input_repr: str, content_type: str, embedding_size: int, frontend: str) -> AudioModel:
    """The audio model for the argument `model` of a public function.

    None: OpenL3 with the published weights. The path of a `.h5` file: OpenL3 with those weights. An `l3_NNN.pt` of
    `boiler.train_l3`: its audio network. The name of an encoder, `NAME:CHECKPOINT`, a checkpoint, a model directory
    (its own encoder), or an `Encoder`: that encoder.

    Raises: EmbeddingError: none of these. CheckpointError, ModelDirError, UnknownNameError: there is no such model.
    """
    if model is None:
        path = weights_file("audio", input_repr, content_type)
        return load_audio_network(path, input_repr, embedding_size, frontend)
    if isinstance(model, L3AudioModel | EncoderModel):
        return model
    if isinstance(model, Encoder):
        return _of_encoder(model)
    if not isinstance(model, str | os.PathLike):
        raise EmbeddingError(f"model must be an audio model, an encoder, its name or a path, not {type(model)}")
    path = Path(model)
    if path.suffix.lower() in (".h5", ".hdf5"):
        return load_audio_network(path, input_repr, embedding_size, frontend)
    if path.is_dir():
        return _of_model_dir(path)
    if l3_joint.is_checkpoint(path):
        return L3AudioModel(l3_joint.load(path).build().audio)
    return _of_encoder(named_encoder(os.fspath(model)))


def named_encoder(name: str) -> Encoder:
    """An encoder from its name (`general`: the general encoder), from `NAME:CHECKPOINT`, or from a checkpoint alone
    (then the default one).

    Raises: UnknownNameError, CheckpointError.
    """
    if name == "general":
        return encoder.create(encoder.UNFITTED)
    if name in encoder.ENCODERS:
        return encoder.create(name)
    kind, colon, path = name.partition(":")
    if colon and kind in encoder.ENCODERS:
        return encoder.create(kind, Path(path))
    if Path(name).is_file() or Path(name).suffix == ".pt":
        return encoder.create(encoder.DEFAULT, Path(name))
    return encoder.create(name)


def _of_encoder(made: Encoder) -> EncoderModel:
    def embed(windows: Float32Array) -> Float32Array:
        # One window at a time: a batch is not faster on a CPU, and the vector does not depend on the batch.
        return np.concatenate([_run(made, window[None, None]) for window in windows])

    hop_s = made.window_samples / made.sample_rate_hz / 2 if made.hop_s is None else made.hop_s
    return EncoderModel(embed, WindowSpec(made.sample_rate_hz, made.window_samples, hop_s), made.dim)


def _of_model_dir(model_dir: Path) -> EncoderModel:
    opened = generation.open(model_dir)
    path = opened.path / "encoder.pt"
    # encoder.pt is code: it is run only if it is the one that the index was made with.
    if not path.is_file() or files.sha256_of(path) != opened.header.encoder_sha256:
        raise CheckpointError(f"{path} is not the encoder that this index was made with: index again")
    header = opened.header
    return EncoderModel(EncoderRuntime.load(path).embed, header.window_spec, header.dim)


def image_model(model: object, input_repr: str, content_type: str, embedding_size: int) -> ImageModel:
    """The image model for the argument `model` of a public function: None for OpenL3 with the published weights, the
    path of a `.h5` file, an `l3_NNN.pt` of `boiler.train_l3`, or a model itself.

    Raises: EmbeddingError: none of these. CheckpointError: there is no such file.
    """
    if model is None:
        return load_image_network(weights_file("image", input_repr, content_type), embedding_size)
    if isinstance(model, L3ImageModel):
        return model
    if isinstance(model, str | os.PathLike) and Path(model).suffix.lower() in (".h5", ".hdf5"):
        return load_image_network(model, embedding_size)
    if isinstance(model, str | os.PathLike) and Path(model).suffix.lower() == ".pt":
        return L3ImageModel(l3_joint.load(model).build().image)
    raise EmbeddingError(f"model must be an image model, or the path of a .h5 file or an l3_NNN.pt, not {model!r}")


def audio_size(size: int) -> int:
    """Return `size` if OpenL3 has an audio network of that dimension. Raises: EmbeddingError: it has none."""
    return _checked(size, l3.AUDIO_POOLING["mel256"], "the embedding size of a sound")


def image_size(size: int) -> int:
    """Return `size` if OpenL3 has an image network of that dimension. Raises: EmbeddingError: it has none."""
    return _checked(size, l3.IMAGE_POOLING, "the embedding size of a picture")


def known_frontend(frontend: str) -> str:
    """Return `frontend` if it is a known one. Raises: EmbeddingError: it is not."""
    return _checked(frontend, l3.FRONTENDS, "frontend")


def known_input(input_repr: str) -> str:
    """Return `input_repr` if it is a known one. Raises: EmbeddingError: it is not."""
    return _checked(input_repr, l3.INPUT_REPRESENTATIONS, "input_repr")


def known_content(content_type: str) -> str:
    """Return `content_type` if it is a known one. Raises: EmbeddingError: it is not."""
    return _checked(content_type, CONTENT_TYPES, "content_type")


def _checked(value: Value, known: Iterable[str | int], what: str) -> Value:
    known = list(known)
    if isinstance(value, bool) or not isinstance(value, str | int) or value not in known:
        raise EmbeddingError(f"{what} is one of {', '.join(map(str, known))}, not {value!r}")
    return value

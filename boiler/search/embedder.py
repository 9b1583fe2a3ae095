"""Embedding sounds for a query: with the index's own encoder, cut into windows as the index was.

>>> from boiler.audio import stream
>>> from boiler.store import generation
>>> opened = generation.open("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> Embedder("cpu").embed(opened, stream.stream("dog.wav"), "dog.wav")[0].window  # doctest: +SKIP
TimeSpan(start_s=0.0, end_s=5.0)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boiler import engine, files
from boiler.arrays import Float32Array, batches
from boiler.audio import stream
from boiler.audio.windows import cut_windows
from boiler.errors import ModelDirError, SilentSoundError
from boiler.store.generation import Generation

if TYPE_CHECKING:
    from boiler.encoder.runtime import EncoderRuntime

BATCH_WINDOWS = 16


class TimeSpan(NamedTuple):
    """A part of a sound, in seconds from its start."""

    start_s: float
    end_s: float


class Embedded(NamedTuple):
    """A window of a sound and its vector, float32 [D], unit length."""

    window: TimeSpan
    vector: Float32Array


class Embedder:
    """The encoder of an index, loaded when the first sound is embedded, and again when an index has another encoder.

    `device`: a torch device, or `auto`. Safe to use from several threads.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._lock = threading.Lock()
        self._sha256 = ""
        self._runtime: EncoderRuntime | None = None

    def embed(
        self,
        opened: Generation,
        blocks: Iterable[stream.Samples],
        name: str,
        from_s: float = 0.0,
        on_embedded: Callable[[int], object] = lambda n_windows: None,
    ) -> list[Embedded]:
        """The vector of each window that is not silent.

        Arguments:
            blocks: samples at the rate of the index; iterated only as far as needed
            name: of the sound, for errors
            from_s: seconds added to all times
            on_embedded: called with the number of windows so far, after each batch of them
        Raises: what `blocks` raises; SilentSoundError; ModelDirError: the encoder is missing, or is not the one that
        made the index.
        """
        audible = (window for window in cut_windows(blocks, opened.header.window_spec) if not window.silent)
        embedded: list[Embedded] = []
        for batch in batches(audible, BATCH_WINDOWS):
            vectors = self.embed_windows(opened, np.stack([window.samples for window in batch]))
            embedded += [
                Embedded(TimeSpan(from_s + window.start_s, from_s + window.end_s), vector)
                for window, vector in zip(batch, vectors, strict=True)
            ]
            on_embedded(len(embedded))
        if not embedded:
            raise SilentSoundError(name, "it is silent from beginning to end, so it has no neighbours")
        return embedded

    def embed_windows(self, opened: Generation, samples: Float32Array) -> Float32Array:
        """The vectors of windows, unit length. Shape: [B, T] -> [B, D].

        Raises: ModelDirError: as `embed`.
        """
        vectors = engine.normalize(self._runtime_of(opened).embed(samples))
        if vectors.shape != (len(samples), opened.header.dim) or not np.isfinite(vectors).all():
            raise _wrong_output(opened)
        return vectors

    def activations(self, opened: Generation, samples: Float32Array) -> Float32Array | None:
        """The activation of each code in each of F equal time steps of windows; None if the encoder does not count
        codes.

        Shape: [B, T] -> [B, D, F].

        Raises: ModelDirError: as `embed`.
        """
        runtime = self._runtime_of(opened)
        if not runtime.has_activations:
            return None
        shares = runtime.activations(samples)
        if shares.ndim != 3 or shares.shape[:2] != (len(samples), opened.header.dim) or not np.isfinite(shares).all():
            raise _wrong_output(opened)
        return shares

    def _runtime_of(self, opened: Generation) -> EncoderRuntime:
        with self._lock:
            if self._runtime is None or self._sha256 != opened.header.encoder_sha256:
                self._runtime = self._load(opened)
                self._sha256 = opened.header.encoder_sha256
            return self._runtime

    def _load(self, opened: Generation) -> EncoderRuntime:
        path = opened.path / "encoder.pt"
        if not opened.header.encoder_sha256:
            raise ModelDirError(
                f"{opened.path} was published without an encoder: search it by vector or item, not by sound"
            )
        # encoder.pt is code. It is hashed again here because it may have been replaced since the index was opened.
        if not path.is_file() or files.sha256_of(path) != opened.header.encoder_sha256:
            raise ModelDirError(
                f"{path} is missing, or not the encoder this index was made with: restore it, or index again"
            )
        # Imported here because it imports torch, which searching does not need.
        from boiler.encoder.runtime import EncoderRuntime
        from boiler.model.device import resolve_device

        return EncoderRuntime.load(path, resolve_device(self._device))


def _wrong_output(opened: Generation) -> ModelDirError:
    return ModelDirError(
        f"{opened.path / 'encoder.pt'} does not return {opened.header.dim} numbers per window: run boiler index again"
    )

"""How a sound becomes vectors that an index can be asked with: by the index's own encoder, cut as the index was.

>>> from pathlib import Path
>>> from boiler.audio import stream
>>> from boiler.store import generation
>>> opened = generation.open("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> Ear("cpu").embed(opened, stream.stream("dog.wav"), "dog.wav")[0].window  # doctest: +SKIP
TimeSpan(start_s=0.0, end_s=5.0)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boiler import engine, files
from boiler.arrays import Float32Array, batches
from boiler.audio import stream
from boiler.audio.windows import cut_windows
from boiler.errors import ModelDirError, SilentSoundError
from boiler.store.generation import Generation

if TYPE_CHECKING:
    from boiler.encoder.runtime import Frozen

BATCH_WINDOWS = 16


class TimeSpan(NamedTuple):
    """A part of a sound, in seconds."""

    start_s: float
    end_s: float


class Embedded(NamedTuple):
    """A window of a sound and its vector, float32 [D], unit length."""

    window: TimeSpan
    vector: Float32Array


class Ear:
    """The encoder of an index, loaded when a sound is first heard, and again when an index has another.

    `device`: a device of torch's, or `auto`. Many threads may ask at a time.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._lock = threading.Lock()
        self._sha256 = ""
        self._frozen: Frozen | None = None

    def embed(
        self, opened: Generation, blocks: Iterable[stream.Samples], name: str, from_s: float = 0.0
    ) -> list[Embedded]:
        """The vector of each window that is not silent. `blocks`, at the rate of the index, are decoded as they are
        asked for; `from_s` is added to the times; `name` is for errors.

        Raises: what decoding raises; SilentSoundError; ModelDirError: there is no encoder, or not the index's own.
        """
        sounding = (window for window in cut_windows(blocks, opened.header.window_spec) if not window.silent)
        embedded: list[Embedded] = []
        for batch in batches(sounding, BATCH_WINDOWS):
            vectors = self.hear(opened, np.stack([window.samples for window in batch]))
            embedded += [
                Embedded(TimeSpan(from_s + window.start_s, from_s + window.end_s), vector)
                for window, vector in zip(batch, vectors, strict=True)
            ]
        if not embedded:
            raise SilentSoundError(name, "it is silent from beginning to end, so it has no neighbours")
        return embedded

    def hear(self, opened: Generation, samples: Float32Array) -> Float32Array:
        """The vectors of a few windows, unit length. Shape: [B, T] -> [B, D].

        Raises: ModelDirError: as `embed`.
        """
        dim = opened.header.dim
        vectors = engine.normalize(self._of(opened).embed(samples))
        if vectors.shape != (len(samples), dim) or not np.isfinite(vectors).all():
            raise _other(opened)
        return vectors

    def presence(self, opened: Generation, samples: Float32Array) -> Float32Array | None:
        """How much each word sounds in each frame of a few windows; None where vectors are no bags of words.

        Shape: [B, T] -> [B, D, F].

        Raises: ModelDirError: as `embed`.
        """
        presence = self._of(opened).presence
        if presence is None:
            return None
        found = presence(samples)
        if found.ndim != 3 or found.shape[:2] != (len(samples), opened.header.dim) or not np.isfinite(found).all():
            raise _other(opened)
        return found

    def _of(self, opened: Generation) -> Frozen:
        with self._lock:
            if self._frozen is None or self._sha256 != opened.header.encoder_sha256:
                self._frozen = self._load(opened)
                self._sha256 = opened.header.encoder_sha256
            return self._frozen

    def _load(self, opened: Generation) -> Frozen:
        path = opened.path / "encoder.pt"
        if not opened.header.encoder_sha256:
            raise ModelDirError(
                f"{opened.path} was published without an encoder: it answers vectors and items, not sounds"
            )
        # encoder.pt is code: looked at again, for it may have been replaced since the index was opened.
        if not path.is_file() or files.sha256_of(path) != opened.header.encoder_sha256:
            raise ModelDirError(
                f"{path} is not the encoder this index was made with: bring that one back, or index again"
            )
        from boiler.encoder import runtime  # brings torch, which searching does without
        from boiler.model.device import resolve_device

        return runtime.opened(path, resolve_device(self._device))


def _other(opened: Generation) -> ModelDirError:
    return ModelDirError(
        f"{opened.path / 'encoder.pt'} does not give {opened.header.dim} numbers a window: run boiler index again"
    )

"""Base class of the encoders that embed each clip by itself, however often it is repeated in its window."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from boiler.encoder import Encoder
from boiler.encoder.loop_length import loop_lengths


class ClipEncoder(Encoder):
    """An encoder of clips, whose lengths a caller that knows them already can pass on."""

    def forward(self, waveform: Tensor) -> Tensor:
        return self.embed_clips(waveform, loop_lengths(waveform))

    @abstractmethod
    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The vectors of windows [N, 1, T] whose `loop_lengths` are known."""

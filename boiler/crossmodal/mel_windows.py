"""The log-mel spectrograms of sounds, to train a network on: up to `WINDOWS_A_SOUND` windows of each, in a file that is
mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from boiler import files
from boiler.arrays import Float16Array, Int64Array
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import WindowSpec, cut_windows
from boiler.catalog.items import Failure
from boiler.errors import BoilerError, CorpusError
from boiler.model.mel_cnn import MEL, N_FRAMES, WINDOW_SAMPLES, MelCNN, log_mel
from boiler.progress import meter

WINDOWS = WindowSpec(MEL.sample_rate_hz, WINDOW_SAMPLES, hop_s=WINDOW_SAMPLES / MEL.sample_rate_hz)
"""Without overlap."""
WINDOWS_A_SOUND = 4
"""The first of a long sound: its label need not be true of all of it."""


class MelWindows(NamedTuple):
    """mels: float16 [W, M, F]; sounds: [W], the number of the sound of each; failures: sounds without a window"""

    mels: Float16Array
    sounds: Int64Array
    failures: Sequence[Failure]


def mel_windows(folder: Path, ids: Sequence[str], file: Path, workers: int = 2) -> MelWindows:
    """The windows of sounds, by their ids, without silent ones; written to `file`.

    Raises: CorpusError: there are none.
    """
    network = MelCNN()
    sounds: list[int] = []
    failures: list[Failure] = []
    with (
        Decoders(workers) as decoders,
        meter("decoding", len(ids)) as progress,
        files.replacing(file) as aside,
        aside.open("wb") as stream,
    ):
        for number, id in enumerate(ids):
            n_before = len(sounds)
            try:
                blocks = decoders.stream(folder / id, sample_rate_hz=MEL.sample_rate_hz)
                for n, window in enumerate(cut_windows(blocks, WINDOWS)):
                    if not window.silent:
                        stream.write(log_mel(network, torch.from_numpy(window.samples)[None]).numpy().tobytes())
                        sounds.append(number)
                    if n + 1 == WINDOWS_A_SOUND:
                        break
                if len(sounds) == n_before:
                    failures.append(Failure(id, "it is silent"))
            except BoilerError as error:
                failures.append(Failure(id, str(error)))
            progress.step()
    if not sounds:
        raise CorpusError(f"{folder} has no sound that can be learned from, of {len(ids)}")
    mels = np.memmap(file, np.float16, "r", shape=(len(sounds), MEL.n_mels, N_FRAMES))
    return MelWindows(mels, np.array(sounds, np.int64), failures)

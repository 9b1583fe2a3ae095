"""The baseline that a learned encoder has to beat: MFCC statistics of the same sounds.

Every file is decoded once; its statistics (80 numbers per window) are kept in memory, and whitened when all are known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boiler.arrays import Float32Array, Int64Array, batches
from boiler.audio import stream
from boiler.audio.windows import WindowSpec, cut_windows
from boiler.encoder import whitening
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import SilentSoundError

_BATCH = 8


def baseline_windows(spec: WindowSpec) -> WindowSpec:
    """The windows of the baseline's encoder for an index with the windows `spec`: the same number per sound, with the
    same overlap."""
    own = MFCCStats.window_spec()
    return replace(own, hop_s=spec.hop_s / spec.window_s * own.window_s, which=spec.which)


def embed_sounds(
    paths: Sequence[Path], spec: WindowSpec, *, advance: Callable[[int], None] | None = None
) -> tuple[Float32Array, Int64Array]:
    """Embed the windows of each sound that are not silent.

    Shape: -> vectors [W, D] of unit length, in the order of `paths`, and [N]: how many windows each sound has

    Raises: SoundError: a file cannot be read, or is all silence.
    """
    encoder = MFCCStats().eval()
    runtime = EncoderRuntime(encoder)

    def statistics(path: Path) -> Tensor:
        blocks = stream.stream(path, sample_rate_hz=spec.sample_rate_hz)
        windows = (window.samples for window in cut_windows(blocks, spec) if not window.silent)
        found = [runtime.run(encoder.described, np.stack(batch)) for batch in batches(windows, _BATCH)]
        if not found:
            raise SilentSoundError(str(path), "it is silent, but was not when it was indexed: index the folder again")
        return torch.from_numpy(np.concatenate(found))

    features = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(statistics, paths):
            features.append(one)
            if advance is not None:
                advance(1)
    with torch.inference_mode():
        learned = whitening.fit(features, encoder.dim)
        whiten = whitening.Whitening(learned["mean"], learned["matrix"])
        vectors = torch.cat([whiten(one) for one in features])
    return vectors.numpy(), np.array([len(one) for one in features], np.int64)

"""Time for one clip of 5 s on one core, from samples to vector: `python -m exp.benchmarks.clip`.

Each encoder as an index runs it: its `encoder.pt`, with the front end inside, on one window in which the clip is
repeated. Those that are fitted to a folder are fitted to synthesized sounds first. Prints the fastest and the median
of the repetitions, which take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soxr
import torch

from boiler import encoder
from boiler.arrays import Float32Array
from boiler.audio import synthesis
from boiler.audio.windows import fill_window
from boiler.encoder import Fitted
from boiler.encoder.runtime import EncoderRuntime
from boiler.model import checkpoint

ENCODERS = ("MFCCStats", "JoinedDescriptors", "GeneralEncoder", "JoinedGeneral")
CLIP_S, N_FITTED = 5, 60


def clips(rate_hz: int, n: int) -> list[Float32Array]:
    """Clips of synthesized sounds, each repeated with pauses, at a rate."""
    found = []
    for number in range(n):
        rng = np.random.default_rng(number)
        make = list(synthesis.KINDS.values())[number % len(synthesis.KINDS)]
        made = soxr.resample(make(rng), synthesis.RATE_HZ, rate_hz, quality="HQ")
        noise = 0.01 * rng.standard_normal(CLIP_S * rate_hz)
        found.append(np.asarray(np.resize(np.append(made, np.zeros(rate_hz // 3)), len(noise)) + noise, np.float32))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=60, help="default: %(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    with tempfile.TemporaryDirectory() as room:
        for name in ENCODERS:
            made = encoder.create(name)
            windows = [fill_window(clip, made.window_samples) for clip in clips(made.sample_rate_hz, N_FITTED)]
            if isinstance(made, Fitted):
                made.fit(torch.from_numpy(window)[None, None] for window in windows)
            path = Path(room, f"{name}.pt")
            checkpoint.save_script(made, path, {})
            runs.append((EncoderRuntime.load(path), windows[0][None]))
    times_ms: list[list[float]] = [[] for _ in ENCODERS]
    for repetition in range(args.repetitions + 3):
        for (runtime, window), times in zip(runs, times_ms, strict=True):
            began = time.perf_counter()
            runtime.embed(window)
            if repetition >= 3:  # TorchScript optimizes in the first ones
                times.append(1000 * (time.perf_counter() - began))
    print("| encoder | fastest (ms) | median (ms) |\n| --- | ---: | ---: |")
    for name, times in zip(ENCODERS, times_ms, strict=True):
        print(f"| `{name}` | {min(times):.1f} | {np.median(times):.1f} |")


if __name__ == "__main__":
    main()

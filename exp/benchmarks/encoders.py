"""CPU time of each encoder for one clip on one thread, compared with a plain convolutional encoder.

    python -m exp.benchmarks.encoders exp/full/vqvae_010.pt
    python -m exp.benchmarks.encoders exp/full/vqvae_010.pt --wav_dir DATA/esc10

The plain encoder has 4 million parameters and 0.6 billion multiplications per clip after the same spectrogram: the size
of a VQ-VAE-2 encoder with two strided levels, two residual blocks and a wide kernel at the top. All encoders are
scripted, as in an index, and run in turns so that other load affects them equally; the minimum of all rounds counts.
Without --wav_dir the clips are five seconds of noise repeated to fill the window (an encoder may process only one
period of a clip that repeats).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from boiler import encoder
from boiler.audio import stream, windows
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.encoder import Fitted
from boiler.model import checkpoint
from boiler.model.mel import LogMel, MelSettings

ROUNDS = 12
CLIPS = 16


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        sum_: Tensor = maps + self.block(maps)
        return sum_


class Pooled(nn.Module):
    """The mean over the map."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=[2, 3])


def plain() -> nn.Module:
    """The baseline encoder."""
    return nn.Sequential(
        LogMel(MelSettings()), nn.Conv2d(1, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 128, 3, 2), nn.ReLU(),
        nn.Conv2d(128, 192, 3, padding=1), nn.ReLU(), Residual(192, 32), Residual(192, 32),
        nn.Conv2d(192, 48, 20, 2, (1, 1)), Pooled(),
    ).eval()  # fmt: skip


def scripted(module: nn.Module, folder: Path) -> nn.Module:
    """The module scripted, saved and loaded, as an index uses it."""
    checkpoint.save_script(module, folder / "encoder.pt", {})
    return checkpoint.load_script(folder / "encoder.pt")[0]


def clips(wav_dir: Path | None) -> Tensor:
    """Windows of noise, or of random files of a folder. Shape: [CLIPS, 1, 2**17]"""
    if wav_dir is None:
        random = np.random.default_rng(0)
        rows = [windows.fill_window(random.normal(size=80_000).astype(np.float32)) for _ in range(CLIPS)]
    else:
        paths = [path for path in sorted(wav_dir.rglob("*")) if path.suffix.lower() in stream.SUFFIXES]
        chosen = np.random.default_rng(0).permutation(len(paths))[:CLIPS]
        rows = [
            windows.fill_window(stream.load(paths[number], end_s=windows.DEFAULT_WINDOWS.window_s)) for number in chosen
        ]
    return torch.from_numpy(np.stack(rows))[:, None, :WINDOW_SAMPLES]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pt_path", type=Path, help="a checkpoint of boiler train")
    parser.add_argument("--wav_dir", type=Path, help=f"take {CLIPS} clips of this folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    waveforms = clips(args.wav_dir)
    found: dict[str, nn.Module] = {"plain": plain()}
    for name in encoder.ENCODERS:
        found[name] = encoder.create(name, args.pt_path if encoder.find_encoder(name).needs_checkpoint else None)
        if isinstance(found[name], Fitted):
            found[name].fit([waveforms])
    found["the spectrogram alone"] = LogMel(MelSettings())
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        modules = {name: scripted(module, Path(folder)) for name, module in found.items()}
        for size in (1, CLIPS):
            best_s = dict.fromkeys(modules, float("inf"))
            for number in range(3 + ROUNDS):  # TorchScript optimises during the first three
                for name, module in modules.items():
                    start = time.process_time()
                    for at in range(0, CLIPS, size):
                        module(waveforms[at : at + size])
                    if number >= 3:
                        best_s[name] = min(best_s[name], (time.process_time() - start) / CLIPS)
            print(f"\nin batches of {size}:\n| | ms a clip | ratio to plain |\n| --- | ---: | ---: |")
            for name, seconds in best_s.items():
                print(f"| {name} | {1e3 * seconds:.1f} | {seconds / best_s['plain']:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

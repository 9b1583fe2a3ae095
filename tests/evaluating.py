"""A small index to evaluate: a simple encoder over a folder of WAV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boiler.audio import stream
from boiler.audio.windows import cut_windows
from boiler.encoder import Encoder
from boiler.model import checkpoint
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of


class Bands(Encoder):
    """A bag of 32 bands: the square root of each band's share of the energy. Its codes are the three strongest."""

    def __init__(self) -> None:
        super().__init__(32)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).mean(dim=2).sqrt()

    @torch.jit.export
    def activations(self, waveform: Tensor) -> Tensor:
        power = torch.fft.rfft(waveform[:, 0]).abs().square()[:, 1:].reshape(waveform.shape[0], 32, -1).sum(2)
        return (power / power.sum(1, keepdim=True)).unsqueeze(2)

    @torch.jit.export
    def codes(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).squeeze(2).topk(3).indices


def indexed(sounds: Path, model_dir: Path, *, embedder: bool = True) -> Path:
    """Publish an index of the folder, embedded by `Bands`. Without `embedder`, the index holds vectors only."""
    encoder = Bands()
    paths = sorted(sounds.rglob("*.wav"))
    windows = [[one.samples for one in cut_windows(stream.stream(path))] for path in paths]
    vectors = np.concatenate([encoder(torch.from_numpy(np.stack(one))[:, None]).numpy() for one in windows])
    items = [
        Item(n, path.relative_to(sounds).as_posix(), label=path.parent.name, metadata={"take": path.stem[-1]})
        for n, path in enumerate(paths)
    ]
    header = Header(encoder="Bands", dim=32)
    script = model_dir.parent / "bands.pt"
    checkpoint.save_script(encoder, script, {"encoder": "Bands"})
    generation.publish(
        model_dir,
        header,
        vectors,
        rows_of(np.repeat(np.arange(len(paths)), [len(one) for one in windows])),
        items,
        encoder_pt=script if embedder else None,
        meta={"wav_dir": str(sounds)},
    )
    return model_dir

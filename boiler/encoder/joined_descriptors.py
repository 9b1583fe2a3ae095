"""The best that is learned from a folder in a minute or two: no labels, and no training before the index is made.

Six parts of the log-mel (`boiler.encoder.descriptors`) of the clip itself, not of its repetitions in the window, are
joined and weighed by what the folder's own sounds have in common with altered copies of themselves
(`boiler.encoder.contrastive_head`).

Good for a first index without training, and for short sounds. Measured, P@1 / P@10 / mAP (exp/records/encoders.md):
ESC-10 .84 / .79 / .68, spoken digits of other speakers .87 / .86 / .66; about a minute of one core to learn from 3,400
clips, 2 to 6 ms a window.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from boiler.encoder import Fitted, contrastive_head, descriptors, whitening
from boiler.encoder.contrastive_head import CURVED, LINEAR, REDUCED, Curved
from boiler.encoder.loop_length import periods
from boiler.errors import BoilerError
from boiler.model.device import single_threaded
from boiler.model.mel import LogMel, MelSettings
from boiler.progress import Meter, meter

CLIPS = 4000
"""So many windows are learned from; what comes after them is not looked at."""
VIEWS = 4
PER_PART = 128
"""Directions kept of each part before they are joined."""
STEPS = 500
FLOOR = 1e-2
"""The parts have a floor of their own, above this one: what a view lifts above it must still be there."""
SEED = 0
NAME = "parts"


class AllParts(nn.Module):
    """Every part of one clip. Shape: [F, M] to six vectors."""

    def __init__(self, n_mels: int, words: dict[str, Tensor], shapes: dict[str, Tensor]) -> None:
        super().__init__()
        self.course = descriptors.Course(n_mels)
        self.cepstrum = descriptors.Cepstrum(n_mels)
        self.together = descriptors.Together(n_mels)
        self.modulation = descriptors.Modulation()
        self.words = descriptors.Words(**words)
        self.shapes = descriptors.Shapes(**shapes)

    def forward(self, loudness: Tensor) -> list[Tensor]:
        return [
            self.course(loudness),
            self.cepstrum(loudness),
            self.together(loudness),
            self.modulation(loudness),
            self.words(loudness),
            self.shapes(loudness),
        ]


class Head(nn.Module):
    """Parts in a row to what is kept of them. Shape: [d] to [`LINEAR` + `CURVED`], unit length."""

    def __init__(self, mean: Tensor, matrix: Tensor, curved: Curved) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)
        self.mean: Tensor
        self.matrix: Tensor
        self.curved = curved
        self.linear = LINEAR

    def forward(self, row: Tensor) -> Tensor:
        reduced = (row - self.mean) @ self.matrix
        straight = normalize(reduced[: self.linear], dim=0)
        return normalize(torch.cat([straight, self.curved(reduced[None])[0]]), dim=0)


class JoinedParts(Fitted):
    """Six parts joined by contrast; see the module. D = 192, no checkpoint needed.

    Before `fit` it is a projection drawn at random.
    """

    fit_windows = CLIPS

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """`pt_path` is not read: all that is learned is learned by `fit`."""
        super().__init__(LINEAR + CURVED)
        settings = MelSettings(floor=FLOOR)
        self.n_mels = settings.n_mels
        self.hop_samples = settings.hop_samples
        self.mel = LogMel(settings)
        self.least_frames = descriptors.MIN_FRAMES
        draw = torch.Generator().manual_seed(SEED)
        self.parts = self._parts_of([torch.randn(64, self.n_mels, generator=draw)], draw)
        width = sum(len(part) for part in self.parts(torch.zeros(64, self.n_mels)))
        matrix = torch.randn(width, REDUCED, generator=draw) / math.sqrt(width)
        self.head = Head(torch.zeros(width), matrix, Curved.drawn(REDUCED, draw).requires_grad_(False))
        self.to(device)

    def clip(self, waveform: Tensor, length: int) -> Tensor:
        """The log-mel of the first `length` samples of a window [T], which are repeated in it, [F, M]."""
        frames = (length + self.hop_samples - 1) // self.hop_samples
        frames = max(self.least_frames, min(frames, waveform.shape[0] // self.hop_samples))
        # One hop more than the frames kept, so that the last of them is as it is in the whole window.
        heard = waveform[: (frames + 1) * self.hop_samples]
        loudness: Tensor = self.mel(heard[None, None])
        return loudness[0, 0, :, :frames].T

    def forward(self, waveform: Tensor) -> Tensor:
        return self.of_clips(waveform, periods(waveform))

    def of_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The vectors of windows whose `periods` are known."""
        vectors: list[Tensor] = []
        for one, length in zip(waveform, lengths):  # noqa: B905  # TorchScript knows no strict
            vectors.append(self.head(torch.cat(self.parts(self.clip(one[0], length)))))
        return torch.stack(vectors)

    def fit(self, waveforms: Iterable[Tensor]) -> None:
        """See `Fitted`. Some 15 ms a window on one core, and 10 s at the end; 200 MB at most.

        Raises: BoilerError when there is no window at all.
        """
        device = self.head.mean.device
        self.cpu()
        with torch.inference_mode(False), torch.no_grad(), single_threaded():
            clips: list[Tensor] = []
            for batch in waveforms:
                batch = batch.cpu()
                clips += [self.clip(one[0], length).half() for one, length in zip(batch, periods(batch), strict=True)]
                if len(clips) >= CLIPS:
                    break
            if not clips:
                raise BoilerError("there is no sound to learn from: give a folder with at least one that sounds")
            draw = torch.Generator().manual_seed(SEED)
            self.parts = self._parts_of(clips, draw)
            with meter(f"learning from {len(clips)} windows", len(clips) + STEPS) as progress:
                self.head = self._head_of(self._views_of(clips, draw, progress), draw, progress)
        self.to(device)

    def _parts_of(self, clips: list[Tensor], draw: torch.Generator) -> AllParts:
        return AllParts(self.n_mels, descriptors.Words.learn(clips, draw), descriptors.Shapes.learn(clips, draw))

    def _views_of(self, clips: list[Tensor], draw: torch.Generator, progress: Meter) -> list[Tensor]:
        """Each part of each clip as it is and in `VIEWS` views: [n, 1 + VIEWS, d of the part]."""
        rows: list[list[Tensor]] = []
        for clip in clips:
            loudness = clip.float()
            shown = [loudness, *(contrastive_head.view(loudness, draw) for _ in range(VIEWS))]
            rows.append([torch.stack(part) for part in zip(*map(self.parts, shown), strict=True)])
            progress.step()
        return [torch.stack(part) for part in zip(*rows, strict=True)]

    @staticmethod
    def _head_of(views: list[Tensor], draw: torch.Generator, progress: Meter) -> Head:
        means, matrices = [], []
        for part in views:
            learned = whitening.fit(part, PER_PART)
            reduced = (part - learned["mean"]) @ learned["matrix"]
            size = reduced.square().sum(dim=2).mean().sqrt().clamp(min=1e-6)
            means.append(learned["mean"])
            matrices.append(learned["matrix"] / size)
        mean, apart = torch.cat(means), torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
        joined = (torch.cat(views, dim=2) - mean) @ apart
        centre, directions = contrastive_head.discriminant(joined, REDUCED)
        reduced = (joined - centre) @ directions
        scale = reduced.std().clamp(min=1e-6)
        curved = contrastive_head.train(reduced / scale, draw, steps=STEPS, step=progress.step)
        # One affine map for all of the linear steps; views are centred already, so `centre` is rounding.
        return Head(mean, (apart @ directions / scale).contiguous(), curved)


def fit(windows: Iterable[Tensor]) -> dict[str, Tensor]:
    """What `JoinedParts` learns from these windows, for the table of what is learned from the folder alone."""
    made = JoinedParts()
    made.fit(windows)
    return made.state_dict()


def rebuilt(learned: dict[str, Tensor]) -> JoinedParts:
    """The encoder of what `fit` learned, ready to embed."""
    made = JoinedParts()
    made.load_state_dict(learned)
    return made.eval().requires_grad_(False)

"""The best encoder without a checkpoint: six descriptors, weighted and joined by a head that is fitted to the folder in
a minute or two.

The descriptors (`boiler.encoder.descriptors`) are computed from the clip itself, not from its repetitions in the
window. The head is fitted without labels, to what the folder's sounds have in common with altered copies of themselves
(`boiler.encoder.contrastive_head`).

Good for a first index, and for short sounds. Measured, P@1 / P@10 / mAP (exp/records/encoders.md): ESC-10
.86 / .79 / .68, spoken digits of other speakers .87 / .86 / .67; on one core, fitting to 3,400 clips takes about a
minute, and embedding a window 2 to 6 ms.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from boiler.encoder import UNHURRIED, Fitted, Pace, contrastive_head, descriptors
from boiler.encoder.conditioning import condition, fade_samples
from boiler.encoder.contrastive_head import LINEAR_DIM, PROJECTION_DIM
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.trim_silence import audible_span
from boiler.errors import BoilerError
from boiler.model.device import map_in_threads, single_threaded
from boiler.model.mel import LogMel, MelSettings
from boiler.model.vqvae import VQVAE2, hears_as_general
from boiler.progress import Meter, meter

MAX_CLIPS = 4000
"""The maximum number of windows to fit to; further ones are not read."""
N_VIEWS = 4
DIMS_PER_DESCRIPTOR = 128
"""Number of principal components kept of each descriptor before they are joined."""
STEPS = 500
FLOOR = 1e-2
"""Floor of the log-mel. The descriptors have a higher one, but a view may raise lower values above that."""
SEED = 0
DIM = LINEAR_DIM + PROJECTION_DIM
NAME = "descriptors"


class Descriptors(nn.Module):
    """All descriptors of one clip. Shape: [F, M] to six vectors."""

    def __init__(self, n_mels: int, patch_codes: dict[str, Tensor], patch_filters: dict[str, Tensor]) -> None:
        super().__init__()
        self.mfcc_contour = descriptors.MFCCContour(n_mels)
        self.mfcc_moments = descriptors.MFCCMoments(n_mels)
        self.mfcc_covariance = descriptors.MFCCCovariance(n_mels)
        self.modulation = descriptors.ModulationSpectrum()
        self.patch_codes = descriptors.PatchCodes(**patch_codes)
        self.patch_filters = descriptors.PatchFilters(**patch_filters)

    def forward(self, loudness: Tensor) -> list[Tensor]:
        return [
            self.mfcc_contour(loudness),
            self.mfcc_moments(loudness),
            self.mfcc_covariance(loudness),
            self.modulation(loudness),
            self.patch_codes(loudness),
            self.patch_filters(loudness),
        ]


class JoinedDescriptors(Fitted):
    """Six descriptors, joined by a contrastive head; see the module. D = 192, no checkpoint needed.

    Before `fit` it is a random projection.
    """

    fit_windows = MAX_CLIPS

    def __init__(
        self,
        pt_path: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        sample_rate_hz: int = MelSettings.sample_rate_hz,
    ) -> None:
        """pt_path: is not read, everything is fitted by `fit`; sample_rate_hz: a multiple of 16 kHz, of which the same
        frames and bands are taken"""
        super().__init__(DIM)
        settings = mel_settings(sample_rate_hz)
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = type(self).window_samples * sample_rate_hz // MelSettings.sample_rate_hz
        self.louder = math.log10(sample_rate_hz / MelSettings.sample_rate_hz)
        self.n_mels = settings.n_mels
        self.hop_samples = settings.hop_samples
        self.mel = LogMel(settings)
        self.fade = fade_samples(settings.sample_rate_hz)
        self.silence = descriptors.FLOOR
        self.min_frames = descriptors.MIN_FRAMES
        self.most_steps = STEPS
        generator = torch.Generator().manual_seed(SEED)
        self.descriptors = self._fit_descriptors([torch.randn(64, self.n_mels, generator=generator)], generator)
        width = sum(len(vector) for vector in self.descriptors(torch.zeros(64, self.n_mels)))
        self.head = contrastive_head.random_head(width, generator)
        self.to(device)

    def clip(self, waveform: Tensor, length: int) -> Tensor:
        """The log-mel [F, M] of the first `length` samples of a window [T], the clip that is repeated in it, without
        the silence at its ends."""
        frames = (length + self.hop_samples - 1) // self.hop_samples
        frames = max(self.min_frames, min(frames, waveform.shape[0] // self.hop_samples))
        # One hop more than the frames that are kept, so that the last frame is the same as in the whole window.
        samples = waveform[: (frames + 1) * self.hop_samples]
        mel = self.mel(condition(samples[None, None], [length], self.fade))
        loudness: Tensor = mel[0, 0, :, :frames] - self.louder
        first, past = audible_span(loudness, length, self.silence, self.hop_samples)
        return (loudness[:, first:past] if past - first >= self.min_frames else loudness).T

    def forward(self, waveform: Tensor) -> Tensor:
        return self.embed_clips(waveform, loop_lengths(waveform))

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The vectors of windows [N, 1, T] whose `loop_lengths` are known."""
        vectors: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            vectors.append(self.head(torch.cat(self.descriptors(self.clip(window[0], length)))))
        return torch.stack(vectors)

    def fit(self, waveforms: Iterable[Tensor], *, pace: Pace = UNHURRIED) -> None:
        """See `Fitted`. On one core it takes 15 ms (a short sound) to 150 ms (a full window) per window, and 10 s at
        the end; at most 200 MB.

        pace: of which `is_over` is asked after each window

        Raises: BoilerError: there are no windows.
        """
        self.fit_and_embed(waveforms, pace=pace)

    def fit_and_embed(self, waveforms: Iterable[Tensor], *, pace: Pace = UNHURRIED) -> Tensor:
        """`fit`, and the vectors of the windows, float `[n, D]`, for which nothing is computed again."""
        device = self.head.mean.device
        n_threads = torch.get_num_threads()
        self.cpu()
        with torch.inference_mode(False), torch.no_grad(), single_threaded():
            clips: list[Tensor] = []
            for batch in waveforms:
                batch = batch.cpu()
                clips += [
                    self.clip(window[0], length).half()
                    for window, length in zip(batch, loop_lengths(batch), strict=True)
                ]
                if len(clips) >= MAX_CLIPS:
                    break
            if not clips:
                raise BoilerError("there is no sound to fit to: give a folder with at least one that is not silent")
            generator = torch.Generator().manual_seed(SEED)
            self.descriptors = self._fit_descriptors(clips, generator)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            meter(f"learning from {len(clips)} windows", len(clips) + self._steps()) as progress,
        ):
            views = self._described_views(clips, generator, progress, pace, n_threads)
            # Products of large matrices, which gain from all threads.
            self.head = contrastive_head.fit_head(
                views, DIMS_PER_DESCRIPTOR, generator, steps=self._steps(), on_step=progress.step
            )
            vectors: Tensor = self.head(torch.cat([each[:, 0] for each in views], dim=1))
        self.to(device)
        return vectors

    def _steps(self) -> int:
        return min(STEPS, self.most_steps)

    def _fit_descriptors(self, clips: list[Tensor], generator: torch.Generator) -> Descriptors:
        beside = torch.Generator().manual_seed(SEED + 1)
        with ThreadPoolExecutor(1) as thread:
            filters = thread.submit(descriptors.PatchFilters.fit, clips, beside)
            codes = descriptors.PatchCodes.fit(clips, generator)
            return Descriptors(self.n_mels, codes, filters.result())

    def _described_views(
        self,
        clips: list[Tensor],
        generator: torch.Generator,
        progress: Meter,
        pace: Pace,
        n_threads: int,
    ) -> list[Tensor]:
        """For each descriptor [n, 1 + N_VIEWS, d]: its values for each clip and for the views of the clip."""

        describe = torch.jit.script(self.descriptors)
        view_of = torch.jit.script(contrastive_head.random_view)

        def views_of(clip: Tensor) -> list[Tensor]:
            loudness = clip.float()
            return [loudness, *(view_of(loudness, generator) for _ in range(N_VIEWS))]

        def described(views: list[Tensor]) -> list[Tensor]:
            with torch.no_grad():  # which counts for one thread
                return [torch.stack(vectors) for vectors in zip(*map(describe, views), strict=True)]

        rows: list[list[Tensor]] = []
        for row in map_in_threads(described, map(views_of, clips), n_threads):
            rows.append(row)
            progress.step()
            if pace.is_over(len(rows)):
                break
        return [torch.stack(vectors) for vectors in zip(*rows, strict=True)]


def mel_settings(sample_rate_hz: int) -> MelSettings:
    """The spectrogram up to 8 kHz in frames of 64 ms, at a multiple of 16 kHz.

    Magnitudes are larger by that multiple, since a frame has as many more samples.
    """
    times = sample_rate_hz // MelSettings.sample_rate_hz
    return MelSettings(
        sample_rate_hz=sample_rate_hz,
        n_fft=MelSettings.n_fft * times,
        hop_samples=MelSettings.hop_samples * times,
        floor=FLOOR * times,
        f_max_hz=MelSettings.sample_rate_hz / 2,
    )


def fit_to(network: VQVAE2, windows: Iterable[Tensor], pace: Pace = UNHURRIED) -> dict[str, Tensor]:
    """What a `JoinedDescriptors` learns from windows, beside a plain trunk; see `boiler.encoder.FOLDER_FITTERS`."""
    if hears_as_general(network):
        return {}
    fitted = JoinedDescriptors()
    fitted.fit(windows, pace=pace)
    return fitted.state_dict()


def load(learned: dict[str, Tensor]) -> JoinedDescriptors:
    """The encoder from what `fit` returned, in eval mode."""
    encoder = JoinedDescriptors()
    encoder.load_state_dict(learned)
    return encoder.eval().requires_grad_(False)

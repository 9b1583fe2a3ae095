"""A pretrained encoder joined with what the folder itself teaches: the vectors of both, side by side.

The pretrained one knows sounds that the folder does not hold; the descriptors (`boiler.encoder.joined_descriptors`) are
weighed by what the folder's sounds have in common with altered copies of themselves. Each is of unit length, and they
count the same unless the descriptors are fitted to many windows (`equal_at`). Instead of the descriptors it may be an
encoder that was trained on the folder. Both see the clip itself, not its repetitions in the window. The joined vectors
move towards those of the windows that it was fitted to (`boiler.encoder.mean_shift`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchaudio.transforms import Resample

from boiler.encoder import Fitted, mean_shift, whitening
from boiler.encoder.aisfx import SAMPLE_RATE_HZ, WINDOW_SAMPLES, AISFXEncoder
from boiler.encoder.clip_encoder import ClipEncoder
from boiler.encoder.contrastive_head import WINDOWS_PER_STEP
from boiler.encoder.joined_descriptors import MAX_CLIPS, STEPS, JoinedDescriptors
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.mean_shift import MeanShift
from boiler.encoder.whitening import Whitening
from boiler.errors import BoilerError
from boiler.model.device import map_in_threads
from boiler.model.mel import MelSettings

WHITENED_DIM = 256
"""Principal components kept of the pretrained encoder's vectors."""
MAX_WHITENED = 1000
"""Windows that its whitening is fitted to, and whose vectors are the references of the mean shift."""


class ClipResampler(nn.Module):
    """The first `length` samples of a window at another rate, repeated to fill a window there.

    The window's repetitions must not be resampled with it: the copies would differ in their first samples.
    """

    def __init__(self, rate_hz: int, to_rate_hz: int, window_samples: int) -> None:
        super().__init__()
        self.rate_hz, self.to_rate_hz = rate_hz, to_rate_hz
        self.samples = window_samples * to_rate_hz // rate_hz
        self.resample = nn.Identity() if rate_hz == to_rate_hz else Resample(rate_hz, to_rate_hz)

    def forward(self, window: Tensor, length: int) -> Tensor:
        """Shape: [T] to [`samples`]."""
        clip: Tensor = self.resample(window[:length].float())
        times = (self.samples + clip.shape[0] - 1) // clip.shape[0]
        return clip.repeat(times)[: self.samples]

    def length(self, length: int) -> int:
        """Samples of the clip at the other rate, of `length` at this."""
        return min(self.samples, (length * self.to_rate_hz + self.rate_hz - 1) // self.rate_hz)


class JoinedPretrained(Fitted):
    """A pretrained encoder, whitened, and one that knows the folder: six descriptors, if no other is given; see the
    module."""

    fit_windows = MAX_CLIPS
    whitening_power: ClassVar[float] = 0.5
    """Of the pretrained encoder's vectors; 0 only centres and rotates them."""
    fit_s: ClassVar[float] = math.inf
    """Seconds of sound that the descriptors are fitted to: of short sounds many, of long ones few."""
    equal_at: ClassVar[int | None] = None
    """With descriptors that are fitted to this many windows, or fewer, both count half; with more the descriptors are
    better and count more, by the fifth root of the number. None: both always count half."""
    head_steps: ClassVar[int] = STEPS
    """Training steps of the descriptors' head, unless `WINDOWS_PER_STEP` gives more."""

    def __init__(self, pretrained: ClipEncoder, of_folder: JoinedVQVAE | None = None, device: str = "cpu") -> None:
        """of_folder: default: `JoinedDescriptors`, fitted by `fit`"""
        known: JoinedDescriptors | JoinedVQVAE
        rate_hz, own_rate_hz = pretrained.sample_rate_hz, MelSettings.sample_rate_hz
        if of_folder is None:
            known = JoinedDescriptors(sample_rate_hz=own_rate_hz if rate_hz % own_rate_hz else rate_hz)
            known.most_steps = self.head_steps
        else:
            known = of_folder
        dim = min(WHITENED_DIM, pretrained.dim)
        super().__init__(dim + known.dim)
        self.whitened_dim = dim
        self.pretrained = pretrained
        self.of_folder = known
        self.whitening = Whitening(torch.zeros(pretrained.dim), torch.eye(pretrained.dim)[:, :dim])
        self.resampler = ClipResampler(rate_hz, known.sample_rate_hz, pretrained.window_samples)
        self.known_scale, self.folder_scale = scales(1.0, 1.0)
        self.mean_shift = mean_shift.identity(self.dim)
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        lengths = loop_lengths(waveform)
        if self.resampler.rate_hz == self.resampler.to_rate_hz:
            described = self.of_folder.embed_clips(waveform, lengths)
        else:
            at_rate: list[Tensor] = []
            short: list[int] = []
            for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
                at_rate.append(self.resampler(window[0], length))
                short.append(self.resampler.length(length))
            described = self.of_folder.embed_clips(torch.stack(at_rate)[:, None], short)
        vectors: Tensor = self.mean_shift(self.join(self.features(waveform, lengths), described))
        return vectors

    def features(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """What `join` needs of the pretrained encoder: its vectors. Shape: [N, 1, T] to [N, F]"""
        return self.pretrained.embed_clips(waveform, lengths)

    def join(self, features: Tensor, of_folder: Tensor) -> Tensor:
        """The vectors of both, side by side. Shape: [N, F], [N, D''] to [N, D], rows of unit length."""
        known = self.whitening(features)
        return torch.cat([known * self.known_scale, of_folder * self.folder_scale], dim=1)

    def features_to_fit(self) -> Callable[[Tensor, int, int], Tensor]:
        """What `fit_known` needs of each window: a function of a window [1, T], the length of its clip and its number.

        It gives `features` of the window, and after them those of other views of it, if they are needed: [V, F].
        """
        device = self.whitening.mean.device

        def features(window: Tensor, length: int, number: int) -> Tensor:
            return self.features(window[None].to(device), [length])

        return features

    def fit_known(self, features: Tensor) -> None:
        """Fit what belongs to the pretrained encoder to `features_to_fit` of n windows [n, V, F]."""
        self.fit_whitening(features[:, 0])

    def fit_whitening(self, vectors: Tensor) -> None:
        """Fit the whitening to vectors of the pretrained encoder. Shape: [n, D']"""
        fitted = whitening.fit([vectors], self.whitened_dim, self.whitening_power)
        self.whitening = Whitening(fitted["mean"], fitted["matrix"])

    def fit(self, waveforms: Iterable[Tensor]) -> None:
        rows: list[Tensor] = []
        of_folder, features_to_fit = self.of_folder, self.features_to_fit()

        def both(numbered: tuple[int, Tensor]) -> tuple[Tensor | None, Tensor, int]:
            """Of a window [1, T] the features of the pretrained encoder, for as many as are needed, and the clip at
            the descriptors' rate with its length."""
            number, window = numbered
            with torch.inference_mode(False), torch.no_grad():
                (length,) = loop_lengths(window[None])
                clip, short = self.resampler(window[0], length), self.resampler.length(length)
                if number >= MAX_WHITENED:
                    return None, clip, short
                return features_to_fit(window, length, number).cpu(), clip, short

        def clips() -> Iterator[tuple[Tensor, int]]:
            each = enumerate(window for batch in waveforms for window in batch.cpu())
            n, left = 0, self.fit_s * self.resampler.to_rate_hz
            for features, clip, short in map_in_threads(both, each, n_threads):
                if features is not None:
                    rows.append(features)
                yield clip[None, None], short
                n, left = n + 1, left - short
                if left <= 0:
                    break
            fitting.append(beside.submit(fit_known))
            if isinstance(of_folder, JoinedDescriptors):
                of_folder.most_steps = max(self.head_steps, n // WINDOWS_PER_STEP)
            if self.equal_at is not None:
                self.set_scales(max(1.0, n / self.equal_at) ** 0.2)

        def fit_known() -> None:
            if not rows:
                raise BoilerError("there is no sound to fit to: give a folder with at least one that is not silent")
            with torch.inference_mode(False), torch.no_grad():
                self.fit_known(torch.stack(rows))

        # What belongs to the pretrained encoder is fitted beside the descriptors, which have parts that use one core.
        fitting: list[Future[None]] = []
        device = self.whitening.mean.device
        n_threads = torch.get_num_threads() if device.type == "cpu" else 1
        self.resampler.cpu()
        with torch.no_grad(), ThreadPoolExecutor(1) as beside:
            if isinstance(of_folder, JoinedDescriptors):
                described = of_folder.fit_and_embed(clip for clip, _ in clips())
            else:
                each = (
                    of_folder.embed_clips(clip.to(device), [short])
                    for number, (clip, short) in enumerate(clips())
                    if number < MAX_WHITENED
                )
                described = torch.cat([torch.zeros(0, of_folder.dim, device=device), *each])
            for one in fitting:
                one.result()
            self.to(device)
            features = torch.stack(rows)[:, 0].to(device)
            joined = self.join(features, described[: len(features)].to(device))
            self.mean_shift = MeanShift(joined)
        self.to(device)

    def set_scales(self, ratio: float) -> None:
        """Let the folder's vectors count more than the pretrained encoder's by this factor."""
        self.known_scale, self.folder_scale = scales(1.0, ratio)


def scales(*weights: float) -> list[float]:
    """The factors, in proportion to the weights, by which vectors of unit length are multiplied, so that the joined
    one has unit length, too."""
    return [weight / math.hypot(*weights) for weight in weights]


class JoinedAISFX(JoinedPretrained):
    """`AISFXEncoder` joined with the folder's descriptors. D = 448.

    Good for: drums, one-shots and effects, where the time for it is there (0.1 s of one core for 2.3 s of sound).
    """

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = AISFXEncoder.checkpoint_hint
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        super().__init__(AISFXEncoder(pt_path, device), device=device)

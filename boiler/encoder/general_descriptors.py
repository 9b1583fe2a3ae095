"""The six descriptors and what the general network hears, joined by one head that is fitted to all of a folder.

`JoinedDescriptors` with one more descriptor: what the general network (`boiler.model.general`) pools over time. The
head learns from altered views of every sound, those of the spectrograms that either of them takes. Fitted in training,
once, before the first step; in the first minutes it teaches more about a folder than the network's own steps
(exp/records/general.md). D = 192.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor

from boiler.encoder import contrastive_head
from boiler.encoder.general import GeneralEncoder
from boiler.encoder.joined_descriptors import DIMS_PER_DESCRIPTOR, MAX_CLIPS, N_VIEWS, SEED, JoinedDescriptors
from boiler.encoder.loop_length import loop_lengths
from boiler.errors import BoilerError
from boiler.model.device import map_in_threads, single_threaded
from boiler.model.vqvae import VQVAE2, GeneralTrunk, hears_as_general
from boiler.progress import meter

NAME = "general_descriptors"
LEARNING_RATE = 4e-3
MIN_STEPS, MOST_STEPS = 150, 600
WINDOWS_PER_STEP = 4
"""Each so many windows give the head one training step."""
GENERAL = "general."
"""Prefix of the weights that are not learned here."""


class GeneralDescriptors(JoinedDescriptors):
    """Seven descriptors, joined by a contrastive head; see the module. Before `fit` it is a random projection."""

    def __init__(self, general: GeneralEncoder) -> None:
        """general: is shared, not copied"""
        super().__init__(sample_rate_hz=general.sample_rate_hz)
        self.general = general
        width = len(self.head.mean) + general.network.out.in_features
        generator = torch.Generator().manual_seed(SEED)
        self.head = contrastive_head.random_head(width, generator)

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        return self.embed_pooled(waveform, lengths, self.general.pooled_clips(waveform, lengths))

    def embed_pooled(self, waveform: Tensor, lengths: list[int], pooled: Tensor) -> Tensor:
        """`embed_clips` where the general network's part [N, F] is known already."""
        vectors: list[Tensor] = []
        for window, length, heard in zip(waveform, lengths, pooled):  # noqa: B905  # TorchScript does not know strict
            own = self.descriptors(self.clip(window[0], length))
            vectors.append(self.head(torch.cat([torch.cat(own), heard])))
        return torch.stack(vectors)

    def fit_and_embed(
        self, waveforms: Iterable[Tensor], *, is_enough: Callable[[int], bool] = lambda n: False
    ) -> Tensor:
        n_threads = torch.get_num_threads()

        def heard(numbered: tuple[int, Tensor]) -> tuple[Tensor, Tensor, int]:
            """The log-mel of a window [1, T], what the general network pools of views of it, and its length."""
            number, window = numbered
            with torch.inference_mode(False), torch.no_grad():  # which count for one thread
                (length,) = loop_lengths(window[None])
                views = self.general.pooled_views(window, length, N_VIEWS, SEED + number)
                return self.clip(window[0], length).half(), views, length

        with torch.inference_mode(False), torch.no_grad():
            clips, pooled, lengths = [], [], []
            windows = enumerate(window for batch in waveforms for window in batch.cpu())
            for clip, views, length in map_in_threads(heard, windows, n_threads):
                clips.append(clip)
                pooled.append(views)
                lengths.append(length)
                if len(clips) >= MAX_CLIPS or is_enough(len(clips)):
                    break
            if not clips:
                raise BoilerError("there is no sound to fit to: give a folder with at least one that is not silent")
            generator = torch.Generator().manual_seed(SEED)
            steps = min(MOST_STEPS, max(MIN_STEPS, len(clips) // WINDOWS_PER_STEP))
            with single_threaded(), meter(f"learning from {len(clips)} windows", len(clips) + steps) as progress:
                self.descriptors = self._fit_descriptors(clips, generator)
                described = self._described_views(clips, generator, progress, is_enough, n_threads)
                views = torch.stack(pooled[: len(described[0])])
                self.head = contrastive_head.fit_head(
                    [*described, views],
                    DIMS_PER_DESCRIPTOR,
                    generator,
                    steps=steps,
                    learning_rate=LEARNING_RATE,
                    weights=torch.tensor(lengths[: len(views)]).float().sqrt(),
                    on_step=progress.step,
                )
            vectors: Tensor = self.head(torch.cat([*(each[:, 0] for each in described), views[:, 0]], dim=1))
            return vectors


def fit_to(
    network: VQVAE2, windows: Iterable[Tensor], is_enough: Callable[[int], bool] = lambda n: False
) -> dict[str, Tensor]:
    """What a `GeneralDescriptors` learns from windows, beside a general trunk; an entry of
    `boiler.encoder.FOLDER_FITTERS`."""
    if not hears_as_general(network):
        return {}
    trunk = copy.deepcopy(cast(GeneralTrunk, network.trunk)).cpu()
    fitted = GeneralDescriptors(GeneralEncoder(network=trunk.as_network()))
    fitted.fit(windows, is_enough=is_enough)
    return {name: value for name, value in fitted.state_dict().items() if not name.startswith(GENERAL)}


def load(learned: dict[str, Tensor], general: GeneralEncoder) -> GeneralDescriptors:
    """The encoder from what `fit` returned, in eval mode."""
    encoder = GeneralDescriptors(general)
    known = {f"{GENERAL}{name}": value for name, value in general.state_dict().items()}
    encoder.load_state_dict({**known, **learned})
    return encoder.eval().requires_grad_(False)

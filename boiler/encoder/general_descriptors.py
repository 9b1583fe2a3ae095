"""The six descriptors and the activations of the general network, joined by one head that is fitted to all of a folder.

`JoinedDescriptors` with one more descriptor: what the general network (`boiler.model.general`) pools over time. The
head learns from altered views of every sound, those of the spectrograms that either of them takes. Fitted in training,
once, before the first step; in the first minutes it teaches more about a folder than the network's own steps
(exp/records/general.md). D = 192.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import chain, islice
from typing import cast

import torch
from torch import Tensor

from boiler.encoder import UNHURRIED, Pace, contrastive_head
from boiler.encoder.general import GeneralEncoder, PooledViews
from boiler.encoder.joined_descriptors import DIMS_PER_DESCRIPTOR, MAX_CLIPS, SEED, JoinedDescriptors
from boiler.encoder.loop_length import loop_length
from boiler.errors import BoilerError
from boiler.model.device import map_in_threads, single_threaded
from boiler.model.vqvae import VQVAE2, GeneralTrunk, hears_as_general
from boiler.progress import meter

NAME = "general_descriptors"
N_VIEWS, N_LATE_VIEWS = 4, 2
"""Of each window, and of each that comes while the fit is late: four are better than two, but two of all windows are
better than four of a third of them (exp/records/general.md)."""
PATCH_WINDOWS = 600
"""Windows that the patches of two descriptors are learned from."""
LEARNING_RATE = 4e-3
MIN_STEPS, MOST_STEPS = 150, 600
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
        for window, length, activations in zip(waveform, lengths, pooled):  # noqa: B905  # TorchScript does not know strict
            own = self.descriptors(self.clip(window[0], length))
            vectors.append(self.head(torch.cat([torch.cat(own), activations])))
        return torch.stack(vectors)

    def fit_and_embed(self, waveforms: Iterable[Tensor], *, pace: Pace = UNHURRIED) -> Tensor:
        windows = (window for batch in waveforms for window in batch.cpu())
        n_threads = torch.get_num_threads()
        pooled_views = PooledViews(self.general)
        view_of = torch.jit.script(contrastive_head.random_view)

        def clip_of(window: Tensor) -> Tensor:
            with torch.no_grad():  # which counts for one thread
                return self.clip(window[0], loop_length(window[0]))

        def described(numbered: tuple[int, Tensor]) -> tuple[list[Tensor], int]:
            """Of a window [1, T] each descriptor with those of altered views [1 + `N_VIEWS`, d], and its length. Where
            there are fewer views, they are repeated."""
            number, window = numbered
            n_views = N_LATE_VIEWS if pace.is_late(number) else N_VIEWS
            repeated = [0, *(1 + view % n_views for view in range(N_VIEWS))]
            with torch.inference_mode(False), torch.no_grad():
                length = loop_length(window[0])
                clip, generator = self.clip(window[0], length), torch.Generator().manual_seed(SEED + number)
                views = [clip, *(view_of(clip, generator) for _ in range(n_views))]
                own = [torch.stack(kind)[repeated] for kind in zip(*map(describe, views), strict=True)]
                return [*own, pooled_views(window, length, n_views, SEED + number)[repeated]], length

        with torch.inference_mode(False), torch.no_grad(), single_threaded():
            first = list(islice(windows, PATCH_WINDOWS))
            if not first:
                raise BoilerError("there is no sound to fit to: give a folder with at least one that is not silent")
            generator = torch.Generator().manual_seed(SEED)
            self.descriptors = self._fit_descriptors(list(map_in_threads(clip_of, first, n_threads)), generator)
            describe = torch.jit.script(self.descriptors)
            rows: list[list[Tensor]] = []
            lengths: list[int] = []
            with meter("learning from windows", MAX_CLIPS) as progress:
                every = enumerate(islice(chain(first, windows), MAX_CLIPS))
                for row, length in map_in_threads(described, every, n_threads):
                    rows.append(row)
                    lengths.append(length)
                    progress.step()
                    if pace.is_over(len(rows)):
                        break
        # Products of large matrices, which gain from all threads.
        with torch.inference_mode(False), torch.no_grad():
            views = [torch.stack(kind) for kind in zip(*rows, strict=True)]
            steps = min(MOST_STEPS, max(MIN_STEPS, len(rows) // contrastive_head.WINDOWS_PER_STEP))
            with meter("joining descriptors", steps) as progress:
                self.head = contrastive_head.fit_head(
                    views,
                    DIMS_PER_DESCRIPTOR,
                    generator,
                    steps=steps,
                    learning_rate=LEARNING_RATE,
                    weights=torch.tensor(lengths).float().sqrt(),
                    on_step=progress.step,
                )
            vectors: Tensor = self.head(torch.cat([kind[:, 0] for kind in views], dim=1))
            return vectors


def fit_to(network: VQVAE2, windows: Iterable[Tensor], pace: Pace = UNHURRIED) -> dict[str, Tensor]:
    """What a `GeneralDescriptors` learns from windows, beside a general trunk; an entry of
    `boiler.encoder.FOLDER_FITTERS`."""
    if not hears_as_general(network):
        return {}
    trunk = copy.deepcopy(cast(GeneralTrunk, network.trunk)).cpu()
    fitted = GeneralDescriptors(GeneralEncoder(network=trunk.as_network()))
    fitted.fit(windows, pace=pace)
    return {name: value for name, value in fitted.state_dict().items() if not name.startswith(GENERAL)}


def load(learned: dict[str, Tensor], general: GeneralEncoder) -> GeneralDescriptors:
    """The encoder from what `fit` returned, in eval mode."""
    encoder = GeneralDescriptors(general)
    known = {f"{GENERAL}{name}": value for name, value in general.state_dict().items()}
    encoder.load_state_dict({**known, **learned})
    return encoder.eval().requires_grad_(False)

"""The bag counts what the words name, and says when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boiler.encoder.bag_bottom import BagBottomVQVAE
from boiler.encoder.bag_top import BagTopVQVAE
from boiler.encoder.vqvae_base import opened


def waveform() -> torch.Tensor:
    return torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "columns"), [(BagTopVQVAE, 32), (BagBottomVQVAE, 64)])
def test_the_vector_is_the_root_of_the_words_shares(kind: type, columns: int, checkpoint_path: Path) -> None:
    made = kind(checkpoint_path)
    presence = made.presence(waveform())
    assert presence.shape == (2, made.dim, columns)
    torch.testing.assert_close(presence.sum(dim=1), torch.ones(2, columns))
    torch.testing.assert_close(made(waveform()), presence.mean(dim=2).sqrt(), atol=1e-5, rtol=0)
    assert (made(waveform()) >= 0).all()


@pytest.mark.parametrize("kind", [BagTopVQVAE, BagBottomVQVAE])
def test_the_code_of_a_cell_is_the_word_it_is_nearest_to(kind: type, checkpoint_path: Path) -> None:
    made = kind(checkpoint_path)
    codes = made.codes(waveform())
    assert codes.dtype == torch.int64
    made.softness = 1e-6  # so cold that each cell is wholly its nearest word's
    shares = made.presence(waveform()).mean(dim=2)
    for bag, of_sound in zip(shares, codes, strict=True):
        counts = torch.bincount(of_sound, minlength=made.dim) / len(of_sound)
        torch.testing.assert_close(bag, counts, atol=1e-3, rtol=0)


def test_the_lengths_are_those_of_the_codebooks(checkpoint_path: Path) -> None:
    network, _ = opened(checkpoint_path)
    assert BagTopVQVAE(checkpoint_path).dim == network.top.n_codes
    assert BagBottomVQVAE(checkpoint_path).dim == network.bottom.n_codes


def test_a_word_is_present_when_it_sounds(checkpoint_path: Path) -> None:
    sound = waveform()[:1].clone()
    sound[..., : 2**16] = 0  # the first half is silent
    presence = BagTopVQVAE(checkpoint_path).presence(sound)[0]
    silent, sounding = presence[:, 2:14].mean(dim=1), presence[:, 18:30].mean(dim=1)
    assert (silent - sounding).abs().max() > 1e-3
    torch.testing.assert_close(presence[:, 4], presence[:, 10], atol=1e-4, rtol=0)

"""`JoinedDescriptors`: its invariances, and that it is better than MFCC statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.audio import synthesis
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.encoder import Fitted, joined_descriptors
from boiler.encoder.joined_descriptors import JoinedDescriptors
from boiler.errors import BoilerError

KINDS = ["pluck", "siren", "chirp", "tick", "snare", "wind"]
PER_KIND = 5


def sounds(seed: int) -> list[np.ndarray]:
    return [
        synthesis.synthesize(kind, np.random.default_rng((seed, place, number)))[:WINDOW_SAMPLES]
        for place, kind in enumerate(KINDS)
        for number in range(PER_KIND)
    ]


def window(samples: np.ndarray) -> torch.Tensor:
    """Repeated to fill the window, as in the indexer. Shape: [1, 1, 2**17]"""
    return torch.from_numpy(np.resize(samples, WINDOW_SAMPLES).astype(np.float32))[None, None]


def windows(seed: int) -> torch.Tensor:
    return torch.cat([window(one) for one in sounds(seed)])


def precision(vectors: torch.Tensor) -> float:
    """Precision at 3, leave-one-out."""
    kind = torch.arange(len(vectors)) // PER_KIND
    nearest = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).topk(3, dim=1).indices
    return float((kind[nearest] == kind[:, None]).float().mean())


def fitted(name: str, sounds_fitted: torch.Tensor) -> Fitted:
    made = encoder.create(name)
    assert isinstance(made, Fitted)
    made.fit(sounds_fitted.split(16))
    return made


@pytest.fixture(scope="module")
def joined() -> Fitted:
    return fitted("JoinedDescriptors", windows(0))


@pytest.mark.slow
def test_held_out_sounds_are_found_at_least_as_well_as_by_mfcc_statistics(joined: Fitted) -> None:
    unseen = windows(1)
    baseline = fitted("MFCCStats", windows(0))
    assert precision(joined(unseen)) >= max(0.6, precision(baseline(unseen)))


@pytest.mark.slow
def test_leading_silence_and_level_hardly_change_a_short_sound(joined: Fitted) -> None:
    bark = sounds(2)[2 * PER_KIND][:12_000]
    vector = joined(window(bark))
    later = joined(window(0.1 * np.concatenate([np.zeros(8192, np.float32), bark])))
    others = joined(windows(2))
    assert (vector @ later.T).item() > (vector @ others.T).median().item()
    torch.testing.assert_close(joined(window(0.25 * bark)), vector, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_scripted_and_eager_agree(joined: Fitted) -> None:
    scripted = torch.jit.script(joined)
    some = windows(3)[::7]
    torch.testing.assert_close(scripted(some), joined(some), rtol=0, atol=1e-5)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_descriptors, "STEPS", 10)


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_fitting_is_deterministic_also_in_inference_mode() -> None:
    few = windows(4)[::7]
    one = fitted("JoinedDescriptors", few)
    with torch.inference_mode():
        two = fitted("JoinedDescriptors", few)
        assert torch.equal(two(few), one(few))


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_or_two_sounds_are_enough_to_fit(count: int) -> None:
    few = windows(5)[:count]
    vectors = fitted("JoinedDescriptors", few)(few)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(count), atol=1e-4, rtol=0)


def test_fitting_to_no_sounds_is_refused() -> None:
    with pytest.raises(BoilerError, match="no sound"):
        JoinedDescriptors().fit([])


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_fitting_restores_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fitted("JoinedDescriptors", windows(4)[::7])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

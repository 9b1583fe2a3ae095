"""The joined encoder: what it must not care about, and that it is better than the classic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.audio import synthesis
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.encoder import Fitted
from boiler.encoder.joined_descriptors import JoinedParts
from boiler.errors import BoilerError

KINDS = ["pluck", "siren", "chirp", "tick", "snare", "wind"]
PER_KIND = 5


def sounds(seed: int) -> list[np.ndarray]:
    return [
        synthesis.make(kind, np.random.default_rng((seed, place, number)))[:WINDOW_SAMPLES]
        for place, kind in enumerate(KINDS)
        for number in range(PER_KIND)
    ]


def window(samples: np.ndarray) -> torch.Tensor:
    """As the indexer does: repeated to fill. [1, 1, 2**17]."""
    return torch.from_numpy(np.resize(samples, WINDOW_SAMPLES).astype(np.float32))[None, None]


def windows(seed: int) -> torch.Tensor:
    return torch.cat([window(one) for one in sounds(seed)])


def precision(vectors: torch.Tensor) -> float:
    """At 3, each sound asked for the others."""
    kind = torch.arange(len(vectors)) // PER_KIND
    nearest = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).topk(3, dim=1).indices
    return float((kind[nearest] == kind[:, None]).float().mean())


def fitted(name: str, learned_from: torch.Tensor) -> Fitted:
    made = encoder.create(name)
    assert isinstance(made, Fitted)
    made.fit(learned_from.split(16))
    return made


@pytest.fixture(scope="module")
def joined() -> Fitted:
    return fitted("JoinedParts", windows(0))


def test_sounds_that_it_did_not_learn_from_are_found_better_than_by_the_classic(joined: Fitted) -> None:
    unseen = windows(1)
    classic = fitted("MFCCStats", windows(0))
    assert precision(joined(unseen)) >= max(0.6, precision(classic(unseen)))


def test_a_short_sound_is_the_same_behind_silence_and_at_any_level(joined: Fitted) -> None:
    bark = sounds(2)[2 * PER_KIND][:12_000]
    vector = joined(window(bark))
    later = joined(window(0.1 * np.concatenate([np.zeros(8192, np.float32), bark])))
    others = joined(windows(2))
    assert (vector @ later.T).item() > (vector @ others.T).median().item()
    torch.testing.assert_close(joined(window(0.25 * bark)), vector, rtol=0, atol=2e-3)


def test_scripted_and_eager_agree(joined: Fitted) -> None:
    scripted = torch.jit.script(joined)
    some = windows(3)[::7]
    torch.testing.assert_close(scripted(some), joined(some), rtol=0, atol=1e-5)


def test_learning_is_the_same_again_and_within_inference_mode() -> None:
    few = windows(4)[::7]
    one = fitted("JoinedParts", few)
    with torch.inference_mode():
        two = fitted("JoinedParts", few)
        assert torch.equal(two(few), one(few))


@pytest.mark.parametrize("count", [1, 2])
def test_one_sound_or_two_are_enough(count: int) -> None:
    few = windows(5)[:count]
    vectors = fitted("JoinedParts", few)(few)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(count), atol=1e-4, rtol=0)


def test_no_sound_at_all_is_refused() -> None:
    with pytest.raises(BoilerError, match="no sound"):
        JoinedParts().fit([])


def test_learning_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fitted("JoinedParts", windows(4)[::7])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

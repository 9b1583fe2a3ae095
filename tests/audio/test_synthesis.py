"""Synthetic sounds: many kinds, varied within each, and reproducible."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from boiler.audio import synthesis
from boiler.errors import UnknownNameError


def test_there_are_at_least_as_many_kinds_as_the_demo_needs() -> None:
    assert len(synthesis.KINDS) >= 12


@pytest.mark.parametrize("kind", synthesis.KINDS)
def test_a_kind_is_audible_finite_and_varied(kind: str) -> None:
    sounds = [synthesis.synthesize(kind, np.random.default_rng(seed)) for seed in range(8)]
    for sound in sounds:
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert 0.04 < np.abs(sound).max() <= 1
        assert 0.3 * synthesis.RATE_HZ < len(sound) < 10 * synthesis.RATE_HZ
    assert len({len(sound) for sound in sounds}) > 4
    levels_db = [20 * np.log10(np.abs(sound).max()) for sound in sounds]
    assert max(levels_db) - min(levels_db) > 6


def test_the_seed_determines_the_sound() -> None:
    first, again, other = (synthesis.synthesize("rain", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bell'"):
        synthesis.synthesize("bel", np.random.default_rng(0))


@pytest.mark.slow
def test_a_collection_has_a_folder_per_kind_and_is_not_written_twice(tmp_path: Path) -> None:
    paths = synthesis.write_collection(tmp_path, per_kind=2)
    assert len(paths) == 2 * len(synthesis.KINDS)
    assert {path.parent.name for path in paths} == set(synthesis.KINDS)
    with wave.open(str(paths[0])) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, synthesis.RATE_HZ)
        assert sound.getnframes() > 0
    before = paths[0].stat().st_mtime_ns
    synthesis.write_collection(tmp_path, per_kind=2)
    assert paths[0].stat().st_mtime_ns == before

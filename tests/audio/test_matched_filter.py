"""A short sound is found where it occurs, also below other sounds, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from boiler.audio.matched_filter import MAX_S, Pattern, find_occurrences
from boiler.audio.stream import SAMPLE_RATE_HZ, Samples


def noise(seconds: float, seed: int = 0) -> Samples:
    """Noise with more energy at low frequencies, as in most recordings."""
    white = np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE_HZ))
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(1 + np.linspace(0, 200, len(spectrum)))
    return np.asarray(np.fft.irfft(spectrum, len(white)), np.float32)


SOUGHT = noise(1.5, seed=1)


def mixed(at_s: list[float], gain: float, seconds: float = 70.0) -> Samples:
    recording = noise(seconds)
    level = recording.std() / SOUGHT.std()
    for one in at_s:
        first = round(one * SAMPLE_RATE_HZ)
        recording[first : first + len(SOUGHT)] += gain * level * SOUGHT
    return recording


@pytest.mark.parametrize("gain_db", [12, 0, -6, -15])
def test_every_occurrence_is_found_to_the_sample(gain_db: float) -> None:
    at_s = [0.0, 3.5, 16.0, 31.25, 68.5]  # at both edges, and where blocks meet
    found = find_occurrences(Pattern(SOUGHT), [mixed(at_s, 10 ** (gain_db / 20))])
    assert [one.start_s for one in found] == at_s
    share = 1 / np.sqrt(1 + 10 ** (-gain_db / 10))  # of the amplitude of the mix
    assert [one.correlation for one in found] == pytest.approx([share] * 5, rel=0.15)
    level_db = gain_db + 20 * np.log10(noise(70.0).std() / SOUGHT.std())
    assert [one.gain_db for one in found] == pytest.approx([level_db] * 5, abs=1.0)


def test_nothing_is_found_where_it_does_not_occur() -> None:
    assert find_occurrences(Pattern(SOUGHT), [mixed([], 0)]) == []
    assert find_occurrences(Pattern(SOUGHT), [np.zeros(SAMPLE_RATE_HZ * 40, np.float32)]) == []
    assert find_occurrences(Pattern(SOUGHT), [SOUGHT[:-1]]) == []  # a recording shorter than the sound
    assert find_occurrences(Pattern(SOUGHT), []) == []


@pytest.mark.parametrize("size", [1_000, 16_000, 262_144, 300_000])
def test_results_do_not_depend_on_the_block_size(size: int) -> None:
    recording = mixed([2.0, 33.0], 0.5)
    blocks = [recording[at : at + size] for at in range(0, len(recording), size)]
    assert find_occurrences(Pattern(SOUGHT), blocks) == find_occurrences(Pattern(SOUGHT), [recording])


def test_an_inverted_sound_is_found() -> None:
    assert [one.start_s for one in find_occurrences(Pattern(-SOUGHT), [mixed([5.0], 1.0)])] == [5.0]


def test_silence_around_the_query_only_shifts_its_start() -> None:
    quiet = np.zeros(SAMPLE_RATE_HZ // 2, np.float32)
    padded = np.concatenate([quiet, SOUGHT, quiet])
    (found,) = find_occurrences(Pattern(padded), [mixed([5.0], 0.5)])
    assert found.start_s == 4.5
    (plain,) = find_occurrences(Pattern(SOUGHT), [mixed([5.0], 0.5)])
    assert found.correlation == pytest.approx(plain.correlation)


def test_the_query_itself_has_correlation_one() -> None:
    (found,) = find_occurrences(Pattern(SOUGHT), [SOUGHT])
    assert found.start_s == 0
    assert found.correlation == pytest.approx(1, abs=0.02)
    assert found.gain_db == pytest.approx(0, abs=0.1)


def test_a_repeated_sound_is_found_each_time() -> None:
    found = find_occurrences(Pattern(SOUGHT), [np.tile(SOUGHT, 8)])
    assert [one.start_s for one in found] == [1.5 * turn for turn in range(8)]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(20_000, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (noise(0.03), "0.05"),
        (noise(MAX_S + 1), "60"),
    ],
)
def test_queries_that_are_silent_too_short_or_too_long_are_refused(samples: Samples, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(samples)

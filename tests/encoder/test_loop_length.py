"""The length of a clip is recovered from the window that it was repeated to fill."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.encoder.loop_length import (
    clip_lengths,
    is_same,
    loop_length,
    loop_lengths,
    needle_places,
    places_to_search,
)

WINDOW = 2**14


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def lengths_of(waveform: torch.Tensor) -> list[int]:
    """The lengths found by each of the two searches."""
    return [loop_length(waveform), int(clip_lengths(waveform[None, None]))]


def filled(clip: torch.Tensor) -> torch.Tensor:
    return clip.repeat(WINDOW // len(clip) + 1)[:WINDOW]


@pytest.mark.parametrize("samples", [17, 100, 4097, WINDOW // 2, WINDOW // 2 + 1, WINDOW - 1000])
def test_the_length_of_the_clip_is_found(samples: int) -> None:
    assert lengths_of(filled(noise(samples))) == [samples, samples]


def test_a_window_without_repetition_is_one_clip() -> None:
    assert lengths_of(noise(WINDOW)) == [WINDOW, WINDOW]


def test_silence_around_the_sound_is_part_of_the_clip() -> None:
    clip = torch.cat([torch.zeros(900), noise(300), torch.zeros(500)])
    assert lengths_of(filled(clip)) == [1700, 1700]


def test_silence_alone_repeats_one_sample() -> None:
    assert lengths_of(torch.zeros(WINDOW)) == [1, 1]


def test_a_distorted_sound_with_equal_samples_is_found() -> None:
    assert lengths_of(filled(noise(3000).clamp(-0.5, 0.5))) == [3000, 3000]


def test_an_inexact_repetition_is_one_clip() -> None:
    waveform = filled(noise(WINDOW // 2))
    waveform[-1] += 0.01
    assert lengths_of(waveform) == [WINDOW, WINDOW]


def test_every_window_of_a_batch_has_its_own_length() -> None:
    lengths = [17, 5000, WINDOW, WINDOW - 1000, 100]
    windows = torch.stack([filled(noise(length, seed)) for seed, length in enumerate(lengths)])[:, None]
    assert clip_lengths(windows).tolist() == lengths
    assert loop_lengths(windows) == lengths
    assert clip_lengths(1e-6 * windows).tolist() == lengths


def test_the_length_of_a_clip_with_silence_behind_it_is_found_in_the_silence() -> None:
    clip = torch.cat([torch.randn(18_493, generator=torch.Generator().manual_seed(3)), torch.zeros(48_000)])
    window = clip.repeat(2)[: 2**17]
    assert loop_length(window) == len(clip)


def test_a_square_wave_is_as_long_as_its_period() -> None:
    wave = (torch.arange(WINDOW) % 40 < 20).float()
    assert lengths_of(wave) == [40, 40]


def test_a_silent_copy_does_not_count() -> None:
    sound = torch.cat([torch.zeros(2000), noise(WINDOW - 4000), torch.zeros(2000)])
    assert lengths_of(sound) == [WINDOW, WINDOW]


def test_samples_that_differ_by_less_than_a_quantisation_level_differ() -> None:
    """The search hashes quantised samples; what it finds is verified exactly."""
    waveform = filled(noise(3000))
    waveform[WINDOW - 100] = torch.nextafter(waveform[WINDOW - 100], torch.tensor(10.0))
    assert lengths_of(waveform) == [WINDOW, WINDOW]


def test_traced_and_eager_agree_on_other_windows() -> None:
    traced = torch.jit.trace(clip_lengths, noise(2 * WINDOW).reshape(2, 1, WINDOW))
    windows = torch.stack([filled(noise(1234)), noise(WINDOW), torch.zeros(WINDOW)])[:, None]
    assert torch.equal(traced(windows), clip_lengths(windows))


@pytest.mark.parametrize("waveform", [torch.zeros(WINDOW), torch.full((WINDOW,), torch.nan)])
def test_silence_and_nan_give_a_valid_length(waveform: torch.Tensor) -> None:
    assert all(1 <= length <= WINDOW for length in lengths_of(waveform))


def test_scripted_and_eager_agree() -> None:
    scripted = torch.jit.script(loop_length)
    long = noise(80_000).repeat(2)[: 2**17]
    for waveform in (noise(WINDOW), filled(noise(1234)), torch.zeros(WINDOW), long):
        assert scripted(waveform) == loop_length(waveform)
    places = torch.jit.script(places_to_search)
    needle_at = 2**17 - 1024 + int(long[2**17 - 1024 : 2**17 - 300].abs().argmax())
    assert places(long, needle_at, needle_at - 300) == places_to_search(long, needle_at, needle_at - 300)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 900), st.floats(0, 0.02) | st.floats(0, 1), st.sampled_from([0, 9, 10**6]), st.integers(0, 2**31))
def test_places_of_a_needle_are_those_where_all_of_it_is_found(length: int, share: float, few: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.where(torch.rand(length, generator=generator) < share, 0.25, -0.5)
    needle = torch.tensor([0.25, -0.5, 0.25])
    expected = [at for at in range(length - 2) if torch.equal(samples[at : at + 3], needle)]
    assert needle_places(samples, needle, few).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 7, 256]),
    st.lists(st.sampled_from([0.0, 0.5, -0.5, 0.75, -0.75, 1.0, -1.0]), min_size=17, max_size=90),
)
def test_the_length_does_not_depend_on_how_much_is_searched_at_once(
    searched: int, row: int, samples: list[float]
) -> None:
    clip = torch.tensor(samples)
    window = clip.repeat(400 // len(clip) + 1)[:400]
    expected = next(n for n in range(1, 401) if torch.equal(window[n:], window[: 400 - n]))
    assert loop_length(window, searched_samples=searched, row_samples=row) == expected
    assert loop_length(window) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(100, 4500),
    st.sampled_from(["noise", "negative", "clipped", "altered"]),
    st.integers(0, 2**31),
)
def test_the_length_is_the_same_by_rows_and_by_all_samples(row: int, length: int, kind: str, seed: int) -> None:
    window = noise(length, seed).repeat(4500 // length + 1)[:4500]
    if kind == "negative":
        window = -window.abs()
    elif kind == "clipped":
        window = window.clamp(-1.5, 1.5)
    elif kind == "altered":
        window[seed % 4500] += 1e-3
    assert loop_length(window, row_samples=row) == loop_length(window, row_samples=len(window))


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 900), st.booleans(), st.integers(0, 2**31))
def test_the_copies_of_a_needle_are_in_the_few_parts_that_are_searched(length: int, negative: bool, seed: int) -> None:
    window = noise(length, seed).repeat(2000 // length + 1)[:2000]
    window = -window.abs() if negative else window
    needle_at = 1900 + int(window[1900:].abs().argmax())
    parts = places_to_search(window, needle_at, 1900, row_samples=16)
    copies = range(needle_at - length, -1, -length)
    assert all(any(start <= copy < past for start, past in parts) for copy in copies)
    if 1916 <= needle_at <= 1984 and len(copies) <= 14:
        assert sum(past - start for start, past in parts) <= 16 * (len(copies) + 2)
    assert [start for start, _ in parts] == sorted((start for start, _ in parts), reverse=True)


def test_samples_that_differ_behind_the_first_ones_are_not_the_same() -> None:
    samples = noise(3000)
    assert is_same(samples, samples.clone())
    for place in (3, 2999):
        other = samples.clone()
        other[place] += 1e-6
        assert not is_same(samples, other)
    assert is_same(samples[:10], samples[:10].clone())


def test_of_a_sound_that_matches_everywhere_only_some_places_are_verified() -> None:
    """Two periods in which the needle is found every 20 samples; the search gives up after so many, in any part."""
    clip = torch.cat([torch.tensor([0.5] * 10 + [-0.5] * 10).repeat(40), torch.tensor([0.1])])
    window = clip.repeat(3)[:2000]
    for searched in (50, 2000):
        assert loop_length(window, max_candidates=200, searched_samples=searched) == 801
        assert loop_length(window, max_candidates=5, searched_samples=searched) == 2000

"""Windows cover a sound without a gap for any length, block size, rate and hop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import noise

from boiler.audio.windows import (
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    Which,
    WindowCutter,
    WindowSpec,
    cut_windows,
    fill_window,
    is_silent,
)


@given(
    n=st.integers(1, 5 * WINDOW_SAMPLES),
    hop=st.integers(2_000, WINDOW_SAMPLES),
    block=st.integers(5_000, 200_000),
)
def test_windows_cover_the_sound_and_state_their_times(n: int, hop: int, block: int) -> None:
    sound = np.arange(1, n + 1, dtype=np.float32)  # each sample is its own index; below 2**24 a float32 is exact
    blocks = [sound[i : i + block] for i in range(0, n, block)]
    windows = list(cut_windows(blocks, WindowSpec(hop_s=hop / SAMPLE_RATE_HZ)))
    starts = [round(window.start_s * SAMPLE_RATE_HZ) for window in windows]
    ends = [round(window.end_s * SAMPLE_RATE_HZ) for window in windows]
    if n <= WINDOW_SAMPLES:
        assert (starts, ends) == ([0], [n])
        assert np.array_equal(windows[0].samples, np.resize(sound, WINDOW_SAMPLES))
        assert np.array_equal(windows[0].clip, sound)
        return
    for window, start, end in zip(windows, starts, ends, strict=True):
        assert end - start == WINDOW_SAMPLES
        assert np.array_equal(window.samples, sound[start:end])
    assert starts[:-1] == [i * hop for i in range(len(starts) - 1)]
    assert starts[0] == 0
    assert ends[-1] == n
    assert all(0 < b - a <= hop for a, b in itertools.pairwise(starts))


@given(sizes=st.lists(st.integers(1, 90_000), min_size=1, max_size=12))
def test_windows_do_not_depend_on_the_block_size(sizes: list[int]) -> None:
    sound = noise(sum(sizes))
    whole = list(cut_windows([sound]))
    pieces = list(cut_windows(np.split(sound, np.cumsum(sizes)[:-1])))
    assert [(w.start_s, w.end_s, w.silent) for w in whole] == [(w.start_s, w.end_s, w.silent) for w in pieces]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(whole, pieces, strict=True))


def test_the_first_window_reads_no_further_than_it_needs() -> None:
    read = []

    def blocks() -> object:
        for n in range(100):
            read.append(n)
            yield noise(16_000, n)

    windows = list(cut_windows(blocks(), WindowSpec(which="first")))  # type: ignore[arg-type]
    assert [(w.start_s, w.end_s) for w in windows] == [(0.0, WindowSpec().window_s)]
    assert len(read) == 9


def test_the_first_window_equals_the_first_of_all_windows() -> None:
    sound = noise(3 * WINDOW_SAMPLES)
    (first,) = cut_windows([sound], WindowSpec(which="first"))
    assert np.array_equal(first.samples, next(iter(cut_windows([sound]))).samples)


@pytest.mark.parametrize("hop_s", [0.0, -1.0, 8.192 + 0.001, float("nan"), float("inf")])
def test_a_hop_longer_than_the_window_is_refused(hop_s: float) -> None:
    with pytest.raises(ValueError, match=r"hop_s must be above 0 and at most a window \(8.192 s\)"):
        WindowSpec(hop_s=hop_s)


def test_other_invalid_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="'all' or 'first'"):
        WindowSpec(which="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one sample"):
        WindowSpec(window_samples=0)
    with pytest.raises(ValueError, match="at least one sample"):
        WindowSpec(sample_rate_hz=0)


@given(
    rate_hz=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    size=st.integers(50, 4_000),
    hop_share=st.floats(0.1, 1),
    n=st.integers(1, 20_000),
    which=st.sampled_from(["all", "first"]),
)
def test_the_number_of_windows_is_as_predicted(rate_hz: int, size: int, hop_share: float, n: int, which: Which) -> None:
    spec = WindowSpec(rate_hz, size, size * hop_share / rate_hz, which)
    windows = list(cut_windows([np.ones(n, np.float32)], spec))
    assert len(windows) == spec.n_windows(n)
    assert all(window.samples.shape == (size,) for window in windows)
    assert windows[0].start_s == 0
    if which == "all":
        assert windows[-1].end_s == pytest.approx(n / rate_hz)


def test_the_cutter_keeps_at_most_two_windows_in_memory() -> None:
    cutter = WindowCutter()
    for n in range(200):
        for window in cutter.push(noise(16_000, n)):
            assert window.clip.base is None  # a copy: what is kept of it keeps nothing else
        assert len(cutter._held) <= 2 * WINDOW_SAMPLES


def test_silence_is_decided_for_each_window() -> None:
    sound = np.concatenate([np.zeros(2 * WINDOW_SAMPLES, np.float32), noise(WINDOW_SAMPLES)])
    assert [window.silent for window in cut_windows([sound])] == [True, True, True, False, False]


def test_silent_means_within_one_step_of_16_bits() -> None:
    assert is_silent(np.zeros(10, np.float32))
    assert is_silent(np.array([0, 2**-15, -(2**-15)], np.float32))
    assert not is_silent(np.array([0, 2**-14], np.float32))
    assert not is_silent(np.full(10, -0.5, np.float32))


def test_fill_window_repeats_or_cuts() -> None:
    assert np.array_equal(fill_window(noise(50_000)), np.resize(noise(50_000), WINDOW_SAMPLES))
    assert np.array_equal(fill_window(noise(200_000)), noise(200_000)[:WINDOW_SAMPLES])
    with pytest.raises(ValueError, match="no sample"):
        fill_window(np.empty(0, np.float32))

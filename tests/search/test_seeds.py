"""Seeds of a query, and the combination of several weighted seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boiler import engine
from boiler.errors import QueryError
from boiler.search import seeds
from boiler.search.seeds import (
    ByItem,
    BySamples,
    BySound,
    ByVector,
    ByWindows,
    combine,
    evenly_spaced,
    mono_samples,
    to_seeds,
    window_vectors,
)


def test_one_seed_and_several_are_a_query() -> None:
    assert to_seeds(ByItem(3)) == to_seeds([ByItem(3)]) == [ByItem(3)]


def test_an_item_with_a_start_or_an_end_is_not_the_whole_item() -> None:
    assert ByItem(3).whole
    assert not ByItem(3, 1.0).whole
    assert not ByItem(3, end_s=2.0).whole
    assert not ByItem(3, -1.0).whole  # so that the invalid start is refused and not ignored


def test_plain_values_are_seeds(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    vector = np.array([1.0, 2.0])
    assert to_seeds("rain/a.wav") == [ByItem("rain/a.wav")]
    assert to_seeds(str(path)) == [BySound(str(path))]
    assert to_seeds([path, b"RIFF", 3, np.int64(4)]) == [BySound(path), BySound(b"RIFF"), ByItem(3), ByItem(4)]
    assert to_seeds([1.0, 2.0]) == [ByVector([1.0, 2.0])]
    assert [seed.values is vector for seed in to_seeds([vector, vector])] == [True, True]  # type: ignore[union-attr]
    with path.open("rb") as sound:
        assert to_seeds(sound) == [BySound(sound)]  # type: ignore[arg-type]
    assert to_seeds("a" * 10_000) == [ByItem("a" * 10_000)]  # no path is so long


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ([], "at least one seed"),
        ([ByItem(1, weight=-1)], "at least one seed"),
        ([ByItem(1, weight=-0.1), ByItem(2, weight=-0.2)], "at least one seed"),
        (ByItem(1, weight=0), "a finite number other than 0"),
        (ByVector([1.0], weight=float("nan")), "a finite number other than 0"),
        ({"id": "dog.wav"}, "of boiler.api.nearest, or a list of these; not dict"),
        ([True], "not bool"),
        ([[]], "not list"),
        (None, "not NoneType"),
    ],
)
def test_an_invalid_query_is_refused(query: Any, error: str) -> None:
    with pytest.raises(QueryError, match=error):
        to_seeds(query)


def test_the_combined_vector_is_near_positive_seeds_and_far_from_negative_ones() -> None:
    a, b, c = engine.normalize(np.random.default_rng(0).normal(size=(3, 1, 40)))
    both = combine([a, b], [1.0, 1.0])
    assert both @ a[0] == pytest.approx(both @ b[0])
    assert combine([a, b], [3.0, 1.0]) @ a[0] > both @ a[0]
    assert combine([a, b, c], [1.0, 1.0, -0.5]) @ c[0] < both @ c[0]
    # For single windows the ranking equals that by the weighted sum of similarities.
    others = engine.normalize(np.random.default_rng(1).normal(size=(50, 40)))
    by_sum = np.argsort(-(others @ a[0] - 0.5 * (others @ b[0])))
    assert np.argsort(-(others @ combine([a, b], [1.0, -0.5]))).tolist() == by_sum.tolist()


def test_the_duration_of_a_sound_does_not_change_its_weight() -> None:
    a, b = np.eye(2, dtype=np.float32)[:, None]
    long = np.repeat(a, 30, axis=0)
    np.testing.assert_allclose(combine([long, b], [1, 1]), engine.normalize([1, 1]), atol=1e-6)


def test_seeds_that_cancel_each_other_out_are_refused() -> None:
    a = np.array([[1.0, 0.0]], np.float32)
    with pytest.raises(QueryError, match="cancel"):
        combine([a, a], [1.0, -1.0])


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (8_000, 1), (44_100, 2)])
def test_samples_of_any_rate_are_resampled_to_16_khz(rate: int, channels: int) -> None:
    t = np.arange(4 * rate) / rate
    tone = np.sin(2 * np.pi * 440 * t)
    samples = tone if channels == 1 else np.stack([tone] * channels, axis=1)
    part = mono_samples(BySamples(samples, rate, 1.0, 3.0), 16_000)
    assert part.dtype == np.float32
    assert abs(len(part) - 32_000) <= 2
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    assert np.argmax(spectrum) / len(part) * 16_000 == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    "seed",
    [
        BySamples(np.zeros((3, 3, 3)), 16_000),
        BySamples(np.zeros(100, np.int16), 16_000),
        BySamples(np.zeros(0), 16_000),
        BySamples(np.full(100, np.nan), 16_000),
        BySamples(np.zeros(100), 0),
        BySamples(np.zeros(16_000), 16_000, start_s=2.0),
        BySamples(np.zeros(16_000), 16_000, start_s=0.5, end_s=0.2),
    ],
)
def test_invalid_samples_are_refused(seed: BySamples) -> None:
    with pytest.raises(QueryError):
        mono_samples(seed, 16_000)


def test_embedded_windows_are_normalised() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 2.0]])
    found = window_vectors(ByWindows(vectors, [(0.0, 8.0), (4.0, 12.0)]), 2)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    "seed",
    [
        ByWindows([], []),
        ByWindows([[1.0, 0.0]], []),
        ByWindows([[1.0, 0.0, 0.0]], [(0.0, 8.0)]),
        ByWindows([[0.0, 0.0]], [(0.0, 8.0)]),
        ByWindows([[1.0, 0.0]], [(8.0, 0.0)]),
        ByWindows(5, [(0.0, 8.0)]),
        ByWindows([[1.0, 0.0]], [3]),  # type: ignore[list-item]  # as a caller may
        ByWindows([[1.0, 0.0]], [("from", "to")]),  # type: ignore[list-item]
    ],
)
def test_invalid_windows_are_refused(seed: ByWindows) -> None:
    with pytest.raises(QueryError):
        window_vectors(seed, 2)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e300])
def test_a_vector_of_any_norm_keeps_its_direction(size: float) -> None:
    np.testing.assert_allclose(seeds.unit_vector([3 * size, 4 * size], 2), [0.6, 0.8], rtol=1e-6)


def test_very_many_windows_are_sampled_evenly() -> None:
    assert evenly_spaced(range(10)) == list(range(10))
    some = evenly_spaced(range(100_000))
    assert len(some) == seeds.MAX_WINDOWS
    assert some[0] == 0
    assert some[-1] > 99_000
    assert evenly_spaced([]) == []

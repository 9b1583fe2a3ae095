"""Frames follow the published definition, in blocks as in one piece; batches are filled across jobs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.embedding.framing import FrameCutter, Framing, in_batches
from boiler.errors import BoilerError, EmbeddingError

Floats = npt.NDArray[np.float32]


def by_definition(sound: Floats, framing: Framing) -> Floats:
    """The definition of OpenL3: pad in front, pad at the end to a whole hop, cut."""
    size, hop = framing.frame_samples, framing.hop_samples
    padded = np.concatenate([np.zeros(size // 2 if framing.center else 0, np.float32), sound])
    missing = size - len(padded) if len(padded) < size else -(len(padded) - size) % hop
    padded = np.concatenate([padded, np.zeros(missing, np.float32)])
    return np.stack([padded[begin : begin + size] for begin in range(0, len(padded) - size + 1, hop)])


@given(
    n_samples=st.integers(1, 200),
    frame_samples=st.integers(2, 40),
    hop_samples=st.integers(1, 90),
    center=st.booleans(),
    n_cuts=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_frames_follow_the_definition_for_any_block_size(
    n_samples: int, frame_samples: int, hop_samples: int, center: bool, n_cuts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sound = np.arange(1, n_samples + 1, dtype=np.float32)
    framing = Framing(frame_samples, hop_samples, center)
    cutter = FrameCutter(framing)
    blocks = np.split(sound, np.sort(rng.integers(0, n_samples + 1, n_cuts)))
    frames = np.concatenate([*(cutter.push(block) for block in blocks), cutter.end()])
    expected = by_definition(sound, framing)
    assert np.array_equal(frames, expected)
    assert framing.n_frames(n_samples) == len(expected)
    assert (cutter.n_samples, cutter.peak) == (n_samples, n_samples)


def test_memory_does_not_grow_with_the_length_of_the_sound() -> None:
    cutter = FrameCutter(Framing(100, 10, True))
    for _ in range(50):
        cutter.push(np.ones(1_000, np.float32))
    assert len(cutter._held) < 1_200


def test_batches_are_filled_across_jobs_and_results_are_per_job() -> None:
    sizes: list[int] = []

    def double(batch: Floats) -> Floats:
        sizes.append(len(batch))
        return 2 * batch

    def pieces(rows: list[int]) -> Iterator[Floats]:
        for row in rows:
            yield np.full((1, 3), row, np.float32)

    jobs = [("a", pieces([1, 2, 3])), ("b", pieces([4])), ("c", pieces([5, 6, 7]))]
    found = dict(in_batches(iter(jobs), double, 4))
    assert sizes == [4, 3]
    assert {key: rows[:, 0].tolist() for key, rows in found.items() if not isinstance(rows, BoilerError)} == {
        "a": [2, 4, 6],
        "b": [8],
        "c": [10, 12, 14],
    }


def test_a_job_that_fails_late_loses_only_itself() -> None:
    embedded: list[float] = []

    def same(batch: Floats) -> Floats:
        embedded.extend(batch[:, 0].tolist())
        return batch

    def failing() -> Iterator[Floats]:
        yield np.full((2, 1), 9, np.float32)
        raise EmbeddingError("broken")

    jobs = [("a", iter([np.ones((1, 1), np.float32)])), ("b", failing()), ("c", iter([np.ones((2, 1), np.float32)]))]
    found = dict(in_batches(iter(jobs), same, 8))
    assert isinstance(found["b"], EmbeddingError)
    assert [len(found[key]) for key in ("a", "c")] == [1, 2]  # type: ignore[arg-type]
    assert embedded == [1, 1, 1]  # rows of the failed one that were waiting were not embedded


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_job_gives_exactly_one_result(count: int) -> None:
    jobs = ((at, iter([np.zeros((1, 1), np.float32)])) for at in range(count))
    assert [key for key, _ in in_batches(jobs, lambda batch: batch, 2)] == list(range(count))

"""Windows that are kept until they are embedded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.audio.decoder_pool import MAX_WINDOWS, DecodedSound, DecodedWindows, DecodeEvent, DecodeFailure, Decoders
from boiler.audio.windows import DEFAULT_WINDOWS, WINDOW_SAMPLES, WindowSpec
from boiler.indexing.kept_windows import KeptWindows

WINDOW_BYTES = 4 * WINDOW_SAMPLES


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(workers=2) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Path]]:
    """Sounds of one to three windows, a silent one, and a file that is none."""
    folder = tmp_path_factory.mktemp("sounds")
    for n, seconds in enumerate([1, 12, 0.3, 20, 2, 5]):
        write(folder / f"{n}.wav", tone(200 * (n + 1), seconds, 8_000), 8_000)
    write(folder / "6.wav", np.zeros(8_000), 8_000)
    (folder / "7.wav").write_bytes(b"none")
    write(folder / "8.wav", tone(77, 1, 8_000), 8_000)
    return [(n, folder / f"{n}.wav") for n in range(9)]


def summary(events: Iterator[DecodeEvent[int]]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for event in events:
        match event:
            case DecodedWindows(key, windows):
                found += [(key, window.start_s, window.samples.tobytes()) for window in windows]
            case DecodedSound(key):
                found.append((key, event.sha256, event.probe, event.silent))
            case DecodeFailure(key, error):
                found.append((key, error.reason))
    return found


def keep(kept: KeptWindows, decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    for _ in kept.keeping(decoders.windows(jobs, DEFAULT_WINDOWS, ordered=True), range(9)):
        pass


def test_short_sounds_take_no_more_room_than_their_samples(decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    kept = KeptWindows(max_bytes=4 * DEFAULT_WINDOWS.window_samples)  # of one window
    keep(kept, decoders, [jobs[n] for n in (0, 2, 4, 8)])
    assert [n in kept for n in (0, 2, 4, 8)] == [True] * 4
    assert not kept.is_full


@pytest.mark.parametrize("numbers", [[], [0], [3, 1], [8], [7, 6], list(range(9)), [8, 2, 4]])
def test_events_are_the_same_and_in_the_same_order_whatever_is_kept(
    decoders: Decoders, jobs: list[tuple[int, Path]], numbers: list[int]
) -> None:
    expected = summary(decoders.windows(jobs, DEFAULT_WINDOWS, ordered=True))
    kept = KeptWindows()
    keep(kept, decoders, [jobs[n] for n in numbers])
    assert len(kept) == len([n for n in numbers if n != 7])
    decoded: list[int] = []

    class Counting:
        def windows(
            self, jobs: Iterable[tuple[int, Path]], spec: WindowSpec, *, ordered: bool
        ) -> Iterator[DecodeEvent[int]]:
            def noted() -> Iterator[tuple[int, Path]]:
                for job in jobs:
                    decoded.append(job[0])
                    yield job

            return decoders.windows(noted(), spec, ordered=ordered)

    assert summary(kept.windows(Counting(), iter(jobs), DEFAULT_WINDOWS)) == expected  # type: ignore[arg-type]
    assert decoded == [n for n in range(9) if n not in numbers or n == 7]
    assert len(kept) == 0
    assert summary(kept.windows(decoders, iter(jobs), DEFAULT_WINDOWS)) == expected


def test_other_files_are_not_kept(decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    kept = KeptWindows()
    for _ in kept.keeping(decoders.windows(jobs, DEFAULT_WINDOWS, ordered=True), {1, 4}):
        pass
    assert [n for n in range(9) if n in kept] == [1, 4]


def test_no_more_is_kept_than_there_is_room_for(decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    kept = KeptWindows(7 * DEFAULT_WINDOWS.sample_rate_hz * 4 + 40_000)  # of 7.6 s
    keep(kept, decoders, [jobs[0], jobs[3], jobs[2], jobs[4], jobs[5]])  # 1, 20, 0.3, 2 and 5 s
    assert [n for n in range(9) if n in kept] == [0, 2, 4]
    assert kept.is_full
    list(kept.windows(decoders, iter(jobs[:1]), DEFAULT_WINDOWS))
    keep(kept, decoders, [jobs[5]])
    assert [n for n in range(9) if n in kept] == [2, 4, 5]


def test_a_long_file_is_kept_as_a_whole_or_not_at_all(decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    spec = replace(DEFAULT_WINDOWS, hop_s=0.1)
    for number in (1, 3):
        expected = summary(decoders.windows([jobs[number]], spec, ordered=True))
        n_windows = len(expected) - 1
        assert n_windows > MAX_WINDOWS  # in several events
        for room in (0, 1, 33, n_windows - 1, 200):
            kept = KeptWindows(room * WINDOW_BYTES)
            for _ in kept.keeping(decoders.windows([jobs[number]], spec, ordered=True), range(9)):
                pass
            assert (number in kept) == (room == 200) == (not kept.is_full)
            assert summary(kept.windows(decoders, iter([jobs[number]]), spec)) == expected


def test_a_file_that_is_not_decoded_to_its_end_is_not_kept(decoders: Decoders, jobs: list[tuple[int, Path]]) -> None:
    kept = KeptWindows(4 * WINDOW_BYTES + 1)
    events = kept.keeping(decoders.windows([jobs[3]], DEFAULT_WINDOWS, ordered=True), range(9))
    assert isinstance(next(events), DecodedWindows)
    events.close()  # type: ignore[attr-defined]
    assert len(kept) == 0
    keep(kept, decoders, [jobs[3]])
    assert 3 in kept  # all the room was free again

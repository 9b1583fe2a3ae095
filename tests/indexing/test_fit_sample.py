"""The windows that an encoder is fitted to, and what is decoded meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import write

from boiler.audio.decoder_pool import DecodeEvent, Decoders
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.catalog.catalog import Catalog
from boiler.errors import BoilerError
from boiler.indexing import fit_sample
from boiler.indexing.fit_sample import FitSample

Sample = Callable[..., FitSample]


def test_a_sample_gives_the_same_batches_each_time(sample: Sample) -> None:
    batches = list(sample())
    assert [tuple(batch.shape) for batch in batches[:-1]] == [(4, 1, WINDOW_SAMPLES)] * (len(batches) - 1)
    again = list(sample())
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))
    elsewhere = list(sample(seed=1))
    assert not torch.equal(batches[0], elsewhere[0])


def test_a_sample_can_be_read_again_and_asked_for_sound_at_any_time(sample: Sample) -> None:
    drawn = sample()
    assert drawn.has_sound()
    assert drawn.has_sound()
    once = torch.cat(list(drawn))
    assert drawn.has_sound()
    assert torch.equal(once, torch.cat(list(drawn)))


def test_what_is_decoded_for_the_sample_and_behind_it_is_kept(sample: Sample) -> None:
    with sample(n_windows=2) as drawn:
        assert len(torch.cat(list(drawn))) == 2
        wait_for(lambda: len(drawn.kept) == 10)


def test_the_first_iteration_is_decoded_from_the_start_on(sample: Sample) -> None:
    with sample() as drawn:
        drawn.start()
        wait_for(lambda: len(drawn.kept) == 10)
        kept = torch.cat(list(drawn))
        assert torch.equal(kept, torch.cat(list(drawn)))


def test_at_most_so_many_windows_wait_to_be_read(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_sample, "AHEAD_WINDOWS", 1)
    with sample() as drawn:
        drawn.start()
        wait_for(drawn._waiting.full)
        time.sleep(0.5)
        assert len(drawn.kept) <= 2
        all_windows = torch.cat(list(drawn))
        assert len(all_windows) > 2
    with sample(n_windows=2) as drawn:
        assert torch.equal(torch.cat(list(drawn)), all_windows[:2])
        wait_for(lambda: len(drawn.kept) == 10)


def test_an_iteration_ends_with_the_block_and_with_another_one(sample: Sample) -> None:
    with sample() as drawn:
        left = iter(drawn)
        next(left)
    assert len(list(left)) <= 10
    with sample() as drawn:
        assert drawn.has_sound()
        one, other = iter(drawn), iter(drawn)
        next(one)
        next(other)
        one.close()  # type: ignore[attr-defined]
        assert len(list(other)) <= 10


def test_of_an_address_nothing_is_decoded_behind_the_sample(sample: Sample) -> None:
    drawn = sample(n_windows=2)
    drawn._works_ahead = False
    assert len(torch.cat(list(drawn))) == 2
    assert drawn._decoding is not None
    drawn._decoding.join(30)
    assert not drawn._decoding.is_alive()
    assert len(drawn.kept) == 0


def test_an_error_of_the_decoders_reaches_who_reads_the_sample(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> Iterator[DecodeEvent[int]]:
        raise BoilerError("no worker starts")
        yield

    monkeypatch.setattr(Decoders, "windows", fails)
    with sample() as drawn, pytest.raises(BoilerError, match="no worker starts"):
        list(drawn)


def test_nothing_waits_for_a_long_silence_that_is_decoded_ahead(sample: Sample, root: Path, store: Catalog) -> None:
    write(root / "0.wav", np.zeros(3 * 3600 * 8_000), 8_000)  # takes seconds, and gives no window on the way
    number = next(pending.n for pending in store.queue if pending.found.id == "0.wav")
    with sample(n_windows=1) as drawn:
        assert len(torch.cat(list(drawn))) == 1
    assert number not in drawn.kept
    with sample(n_windows=1) as drawn:
        for _ in range(2):
            assert len(torch.cat(list(drawn))) == 1
            assert number not in drawn.kept


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)

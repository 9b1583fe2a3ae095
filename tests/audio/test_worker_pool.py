"""A worker is used by one thread at a time, returned after use, and stopped if a request was abandoned."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from sounds import wav_bytes

from boiler.audio.stream import Limits
from boiler.audio.worker_pool import WorkerPool

SOUND = wav_bytes(np.arange(-8_000, 8_000, dtype="<i2").tobytes())


class Pool(WorkerPool):
    MODULE: ClassVar[str] = "boiler.audio.decode_worker"


def test_no_worker_is_used_twice_at_a_time_and_all_are_returned() -> None:
    with Pool(2, 60.0, 2**31) as pool:
        with pool._acquired(1) as (first,), pool._acquired(5) as others:
            assert len(others) == 1
            assert others[0] is not first
        with pool._acquired(2) as workers:
            assert len(workers) == 2


def test_a_worker_with_a_pending_answer_is_stopped_and_restarted() -> None:
    with Pool(1, 60.0, 2**31) as pool:
        with pool._acquired(1) as (worker,):
            worker.send("load", SOUND, 0.0, None, 16_000, Limits())
        assert worker.pid is None
        with pool._acquired(1) as (again,):
            again.send("load", SOUND, 0.0, None, 16_000, Limits())
            assert again.receive()[1].size == 16_000
        assert worker.pid is not None
    assert worker.pid is None


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        Pool(0, 60.0, 2**31)

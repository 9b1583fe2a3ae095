"""The device is resolved by name, and torch can be limited to one thread in a block."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from boiler.errors import SettingsError
from boiler.model.device import keep_freed_memory, map_in_threads, resolve_device, single_threaded


def test_a_device_resolves_to_one_that_is_available() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda", "mps")


def test_an_unusable_device_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="--device tpu cannot be used on this machine"):
        resolve_device("tpu")


def test_the_number_of_threads_is_restored_after_the_block_even_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with single_threaded():
            assert torch.get_num_threads() == 1
        with pytest.raises(ValueError, match="inside"), single_threaded():
            raise ValueError("inside")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_map_in_threads_keeps_the_order_and_reads_a_few_items_at_a_time() -> None:
    read: list[int] = []
    both = threading.Barrier(2, timeout=20)

    def items() -> Iterator[int]:
        for n in range(1, 101):
            read.append(n)
            yield n

    def square(n: int) -> int:
        if n < 3:
            both.wait()  # the first two run at the same time
        assert torch.get_num_threads() == 1
        return n * n

    found = map_in_threads(square, items(), n_threads=2)
    assert next(found) == 1
    assert len(read) < 50
    assert list(found) == [n * n for n in range(2, 101)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, int]] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *given: called.append(given)))
    keep_freed_memory(2**20)
    assert called == [(-3, 2**25), (-1, 2**20)]  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    keep_freed_memory()
    assert len(called) == 2

"""The device is resolved by name, and torch can be limited to one thread in a block."""

from __future__ import annotations

import pytest
import torch

from boiler.errors import SettingsError
from boiler.model.device import resolve_device, single_threaded


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

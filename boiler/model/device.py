"""Where tensors are computed: the device, and the number of CPU threads of an operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from boiler.errors import SettingsError, first_line


def resolve_device(name: str) -> str:
    """The device of that name; `auto` is CUDA, else MPS, else the CPU.

    Raises: `SettingsError` when it cannot be used on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"--device {name} cannot be used on this machine ({first_line(error)}): leave it out, or give cpu"
        ) from error
    return name


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run each operation of torch on the calling thread alone.

    Small operations gain little from more threads, and on a busy machine the threads of one operation wait for each
    other: fitting to 48 windows took 86 s on two threads of a busy machine, 7 s on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

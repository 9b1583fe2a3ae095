"""Where tensors are computed: the device, and the number of CPU threads of an operation."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from boiler.errors import SettingsError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def keep_freed_memory(at_most_bytes: int = 2**28) -> None:
    """Ask glibc to keep this much freed memory for what is allocated next, in the whole process.

    By default it returns large blocks to the system at once, and getting them back page by page takes longer than the
    arithmetic: the spectrogram of 5 s 4.4 ms instead of 2.2, a training step 1.2 s instead of 0.5. Other C libraries
    are left alone.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 2**25)  # the largest that glibc takes
    mallopt(trim_threshold, at_most_bytes)


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


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], n_threads: int | None = None
) -> Iterator[Result]:
    """`map` on several threads, each item on one of them. The results keep the order of the items, which are read a few
    at a time, in the calling thread.

    For small operations this is the way to use all cores: threads that share one of them mostly wait for each other.

    n_threads: default: as many as torch may use
    """
    n_threads = n_threads or torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > 4 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()

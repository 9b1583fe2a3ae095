"""One writer at a time in a model directory. The lock is the kernel's, so it ends with the process that holds it,
however that ends; nothing is left to clean up after a kill."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boiler.errors import CatalogueError

FILE = ".lock"


@contextmanager
def writing(model_dir: Path) -> Iterator[None]:
    """Hold the model directory for writing; it is made when missing.

    Raises: CatalogueError: another process (or another part of this one) is writing there; the message names it.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(model_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            raise CatalogueError(
                f"{model_dir} is being written by {holder}: let it end, or stop it, then try again"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}, at work since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(), 0)
        yield
    finally:
        os.close(handle)

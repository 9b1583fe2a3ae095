"""Atomic replacement of files and links, hashes, and the lock that allows one writer per model directory.

Replacement survives a power cut: write to a temporary file, fsync it, rename it over the target, fsync the folder. The
kernel holds the lock (flock), so it ends with its process, and a kill leaves nothing to clean up.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from boiler.errors import CatalogError

LOCK_FILE = ".lock"
_HASH_BLOCK_BYTES = 1 << 20


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder and with the same suffix, to write to. When the block ends, that file
    replaces `path`; if it raises, `path` is unchanged and the temporary file is deleted.

    >>> with replacing(Path("figures.json")) as aside:  # doctest: +SKIP
    ...     aside.write_text("{}")
    """
    aside = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield aside
        fsync(aside)
        aside.replace(path)
        fsync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def relink(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, atomically. A relative target stays relative, so the folder can be
    moved."""
    aside = link.with_name(f".{link.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.symlink_to(target)
        aside.replace(link)
        fsync(link.parent)
    finally:
        aside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def lock_for_writing(model_dir: Path) -> Iterator[None]:
    """Lock the model directory for writing; it is created if missing.

    Raises: CatalogError: another process, or another part of this one, is writing there; the message names it.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    path = model_dir / LOCK_FILE
    # No fallback to a lock file without the kernel's lock: that one would survive a killed process.
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise CatalogError(f"{model_dir} is being written by {holder}: wait until it ends, or stop it") from error
    with lock:
        path.write_text(f"process {os.getpid()}, running since {time.strftime('%Y-%m-%d %H:%M:%S')}\n", "utf-8")
        yield

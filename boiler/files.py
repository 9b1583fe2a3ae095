"""Atomic replacement of files and links, hashes, and the lock that allows one writer per model directory.

Replacement survives a power cut: write to a temporary file, fsync it, rename it over the target, fsync the folder. The
lock is held by the kernel, so it ends with the process that holds it, and a kill leaves nothing to clean up.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boiler.errors import CatalogError

LOCK_FILE = ".lock"
_HASH_BLOCK_BYTES = 1 << 20


def fsync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path aside, in the same folder and with the same suffix, to write to; when the block ends well, that
    file takes the place of `path`. When it does not, `path` is as it was and nothing is left over.

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
    """Make `link` a symbolic link to `target` (as written, so a relative one stays portable), replacing what it was
    in one step."""
    aside = link.with_name(f".{link.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.symlink_to(target)
        aside.replace(link)
        fsync(link.parent)
    finally:
        aside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex, read in blocks, so that a large file costs no memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def lock_for_writing(model_dir: Path) -> Iterator[None]:
    """Hold the model directory for writing; it is made when missing.

    Raises: CatalogError: another process (or another part of this one) is writing there; the message names it.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(model_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            raise CatalogError(
                f"{model_dir} is being written by {holder}: let it end, or stop it, then try again"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}, at work since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(), 0)
        yield
    finally:
        os.close(handle)

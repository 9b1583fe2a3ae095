"""Atomic replacement of files and links, hashes and checksums, and the lock that allows one writer per model directory.

Replacement survives a power cut: write to a temporary file, fsync it, rename it over the target, fsync the folder. The
kernel holds the lock (flock), so it ends with its process, and a kill leaves nothing to clean up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash
from filelock import FileLock, Timeout

from boiler.errors import CatalogError

LOCK_FILE = ".lock"
_TEMPORARY = "~boiler"
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
    aside = _aside(path)
    try:
        yield aside
        fsync(aside)
        aside.replace(path)
        fsync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def relink(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, atomically. A relative target stays relative, so the folder can be
    moved.

    Raises: OSError: the file system has no links, or cannot be written; `link` is unchanged.
    """
    aside = _aside(link)
    try:
        aside.symlink_to(target)
        aside.replace(link)
        fsync(link.parent)
    finally:
        aside.unlink(missing_ok=True)


def link_or_copy(link: Path, target: str, source: Path) -> None:
    """Make `link` a symbolic link to `target`. On a file system without links, copy the files of `source`, which is the
    folder or file that `target` points to."""
    if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115
        return
    aside = _aside(link)
    try:
        try:
            aside.symlink_to(target)
        except OSError:
            if source.is_dir():
                if link.is_symlink():
                    link.unlink()
                link.mkdir(exist_ok=True)
                for below in source.iterdir():
                    link_or_copy(link / below.name, "", below)
                return
            hard_link_or_copy(source, aside)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        aside.replace(link)
    finally:
        aside.unlink(missing_ok=True)


def hard_link_or_copy(source: Path, target: Path) -> None:
    """Make `target`, which does not exist, a hard link to a file, or a copy where there are no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
        fsync(target)


def _aside(path: Path) -> Path:
    """A temporary path beside `path`, with the same suffix."""
    return path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{_TEMPORARY}{path.suffix}")


def delete_temporary(folder: Path) -> None:
    """Delete what a killed `replacing`, `relink` or `link_or_copy` left in a folder. The caller holds the lock."""
    for path in folder.glob(f".*{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def xxh3_of(path: Path) -> str:
    """The XXH3 checksum (64 bits) of a file in hex. It detects damage as reliably as SHA-256 and is many times faster,
    but does not protect against deliberate changes."""
    checksum = xxhash.xxh3_64()
    block = memoryview(bytearray(_HASH_BLOCK_BYTES))
    with path.open("rb", buffering=0) as stream:
        while length := stream.readinto(block):
            checksum.update(block[:length])
    return checksum.hexdigest()


@contextmanager
def lock_for_writing(model_dir: Path) -> Iterator[None]:
    """Lock the model directory for writing; it is created if missing.

    Raises: CatalogError: another process, or another part of this one, is writing there (the message names it); or the
    folder cannot be written.
    """
    path = model_dir / LOCK_FILE
    # No fallback to a lock file without a lock of the kernel: it would remain after the process is killed.
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        path.write_text(f"process {os.getpid()}, running since {time.strftime('%Y-%m-%d %H:%M:%S')}\n", "utf-8")
    except Timeout as error:
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise CatalogError(f"{model_dir} is being written by {holder}: wait until it ends, or stop it") from error
    except OSError as error:
        lock.release()
        raise CatalogError(
            f"{model_dir} cannot be written ({error}): check its permissions, or give another --model_dir"
        ) from error
    try:
        yield
    finally:
        lock.release()

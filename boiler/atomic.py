"""A file or link is replaced whole or not at all, and stays replaced after a power cut.

The order is what counts: write aside, fsync the file, rename over the target, fsync the folder.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

"""The undamaged blocks of a WavPack file. FFmpeg gives up at the first place where no block begins."""

from __future__ import annotations

import struct
from typing import BinaryIO

_HEAD_BYTES = 32
_VERSIONS = range(0x402, 0x411)
_MAX_BLOCK_BYTES = 2**20


def block_runs(file: BinaryIO) -> list[tuple[int, int]]:
    """(offset, bytes) of each stretch of blocks that follow each other; what is between them are holes. Each block says
    where in the sound it is. The file's position is kept.

    Source: the WavPack 4 & 5 binary file format.
    """
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    found: list[tuple[int, int]] = []
    at = data.find(b"wvpk")
    start = at
    while 0 <= at < len(data):
        n_bytes = _block_bytes(data, at)
        if n_bytes and at + n_bytes <= len(data):
            at += n_bytes
            continue
        if at > start:
            found.append((start, at - start))
        at = start = data.find(b"wvpk", at + 1)
    return [*found, (start, len(data) - start)] if 0 <= start < len(data) else found


def _block_bytes(data: bytes, at: int) -> int:
    """The size of the block that begins at `at`; 0 if none does."""
    if data[at : at + 4] != b"wvpk" or at + _HEAD_BYTES > len(data):
        return 0
    n_bytes, version = struct.unpack_from("<IH", data, at + 4)
    is_block = version in _VERSIONS and _HEAD_BYTES - 8 <= n_bytes <= _MAX_BLOCK_BYTES
    return n_bytes + 8 if is_block else 0

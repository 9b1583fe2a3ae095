"""A file that is made of stretches of another one and of bytes of our own, without a copy."""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, TypeAlias

Piece: TypeAlias = bytes | tuple[int, int]
"""Bytes, or the offset and length of a stretch of the file."""


class Spliced(io.RawIOBase):
    """The pieces one after another, for reading. It moves the position of `file`, which is left open.

    >>> Spliced(io.BytesIO(b"0123456789"), [b"ab", (7, 3), (0, 2)]).read()
    b'ab78901'
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = list(pieces)
        lengths = [len(piece) if isinstance(piece, bytes) else piece[1] for piece in self._pieces]
        self._ends = list(itertools.accumulate(lengths))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        number = bisect.bisect_right(self._ends, self._at)
        if number == len(self._pieces):
            return 0
        piece, end = self._pieces[number], self._ends[number]
        n_bytes = min(len(buffer), end - self._at)
        if isinstance(piece, bytes):
            begin = len(piece) - (end - self._at)
            found = piece[begin : begin + n_bytes]
        else:
            self._file.seek(piece[0] + piece[1] - (end - self._at))
            found = self._file.read(n_bytes)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

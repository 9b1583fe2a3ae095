"""Where each recording of a chained Ogg file begins. FFmpeg loses what follows a change of rate, channels or codec."""

from __future__ import annotations

from typing import BinaryIO

_HEAD_BYTES = 27  # of a page, before the table of its segments
_FIRST_PAGE = b"OggS\0\x02"  # capture pattern, version 0, and the flag "first page of a logical stream"
_BLOCK_BYTES = 2**22


def chain_links(file: BinaryIO) -> list[tuple[int, int]]:
    """(offset, bytes) of each recording in an Ogg file; none if it is not Ogg. Reads the whole file.

    Streams that play together (sound and picture) start with adjacent first pages, and are one recording.
    """
    file.seek(0)
    if file.read(4) != b"OggS":
        return []
    size = file.seek(0, 2)
    starts: list[int] = []
    expected = -1  # where a further first page would belong to the same recording
    for at in _first_pages(file):
        file.seek(at)
        head = file.read(_HEAD_BYTES + 255)
        if len(head) < _HEAD_BYTES:
            break
        n_segments = head[_HEAD_BYTES - 1]
        if at != expected:
            starts.append(at)
        expected = at + _HEAD_BYTES + n_segments + sum(head[_HEAD_BYTES : _HEAD_BYTES + n_segments])
    ends = [*starts[1:], size] if starts else []
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _first_pages(file: BinaryIO) -> list[int]:
    """Offsets of all pages that are the first of a logical stream."""
    file.seek(0)
    found, base, kept = [], 0, b""
    while block := file.read(_BLOCK_BYTES):
        block = kept + block
        at = block.find(_FIRST_PAGE)
        while at >= 0:
            found.append(base + at)
            at = block.find(_FIRST_PAGE, at + 1)
        kept = block[-(len(_FIRST_PAGE) - 1) :]
        base += len(block) - len(kept)
    return found

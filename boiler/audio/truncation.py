"""Where a file ends before the end that its container states, which FFmpeg does not report.

FFmpeg computes the duration of some files from their size: that of a truncated file is then too short to show that
anything is missing. `stated_s` reads it from the header instead. Ogg and bare frames (MP3 without a count of its
frames, AAC in ADTS, AC-3, E-AC-3) state no duration at all; of these it is only known that the end is missing
(`is_cut`).

What cannot be known from the file: how much is missing from an Ogg file or from bare frames; whether anything is, if
bare frames end between two of them; and any loss of raw AMR.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_HEAD_BYTES = 2**16
_LAST_PAGE_BYTES = 27 + 255 + 255 * 255  # the largest page of an Ogg file
_LAST_PAGE = 4  # the flag
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1


def is_cut(file: BinaryIO, container: str) -> bool:
    """Whether an Ogg file ends within a page, or without one that is marked as the last. The position is kept."""
    if container != "ogg":
        return False
    position = file.tell()
    size = file.seek(0, 2)
    file.seek(max(0, size - 2 * _LAST_PAGE_BYTES))
    data = file.read()
    file.seek(position)
    at = data.rfind(b"OggS\0")
    if at < 0 or at + 27 > len(data):
        return True
    n_segments = data[at + 26]
    end = at + 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
    return not data[at + 5] & _LAST_PAGE or end > len(data)


def stated_s(file: BinaryIO, container: str) -> float | None:
    """The duration in the header of an ASF, AVI or CAF file, in seconds; None if it has none. The position is kept."""
    read = {"asf": _asf_s, "avi": _avi_s, "caf": _caf_s}.get(container)
    if read is None:
        return None
    position = file.tell()
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(position)
    try:
        found = read(head)
    except struct.error:  # the head itself is cut
        return None
    return found if found is not None and 0 < found < 1e7 else None


def _asf_s(head: bytes) -> float | None:
    """Advanced Systems Format specification, 3.2 File Properties Object."""
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0:
        return None
    play, _, preroll_ms, flags = struct.unpack_from("<QQQI", head, at + 64)
    return None if flags & _ASF_BROADCAST else float(play * 1e-7 - preroll_ms * 1e-3)


def _avi_s(head: bytes) -> float | None:
    """Microsoft's AVIFILEHEADER: the stream header of the first audio stream."""
    at = head.find(b"auds")
    if at < 4 or head[at - 8 : at - 4] != b"strh":
        return None
    scale, rate, _, length = struct.unpack_from("<IIII", head, at + 20)
    return length * scale / rate if rate else None


def _caf_s(head: bytes) -> float | None:
    """Apple Core Audio Format specification: packets of constant size, and the size of the data chunk."""
    if head[8:12] != b"desc":
        return None
    (rate_hz,) = struct.unpack_from(">d", head, 20)
    packet_bytes, packet_frames = struct.unpack_from(">II", head, 36)
    at = 8
    while at + 12 <= len(head):
        kind = head[at : at + 4]
        (n_bytes,) = struct.unpack_from(">q", head, at + 4)
        if kind == b"data":
            if n_bytes < 4 or not packet_bytes or not rate_hz > 0:
                return None  # -1: to the end of the file
            return float((n_bytes - 4) / packet_bytes * packet_frames / rate_hz)
        if n_bytes < 0:
            return None
        at += 12 + n_bytes
    return None

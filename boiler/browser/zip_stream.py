"""Files of a collection as one ZIP, sent while it is made: nothing of it is kept in memory or on disk, the visitor's
browser shows how far it is, and when that stops, the reading stops.

``GET .../parcel.zip?n=1.2.3``: the files of these items, below the folders they lie in; ``MISSING.txt`` in it names
those that are not there.
"""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boiler.errors import BoilerError, QueryError
from boiler.search.nearest import Nearest
from boiler.service import media

MOST_BYTES = 2_000_000_000  # the plain format's limit is not far above
MOST_ITEMS = 5_000  # their numbers stand in the address
BLOCK_BYTES = 2**20
# What the format adds to a name and its bytes (APPNOTE.TXT 4.3, 6.3.10): local header, the sizes told after the bytes,
# and the entry in the list at the end, which ends itself with 22 bytes more.
_AROUND_BYTES = 30 + 16 + 46
_END_BYTES = 22


@dataclass(frozen=True)
class Entry:
    """What goes into it under one name: the bytes, or so many of a file."""

    name: str
    content: bytes | Path
    size_bytes: int


@dataclass(frozen=True)
class Parcel:
    """Entries of different names."""

    entries: list[Entry]

    @property
    def size_bytes(self) -> int:
        """Of the whole archive."""
        around = sum(2 * len(entry.name.encode()) + _AROUND_BYTES for entry in self.entries)
        return around + sum(entry.size_bytes for entry in self.entries) + _END_BYTES

    def blocks(self) -> Iterator[bytes]:
        """The archive, piece by piece."""
        sent = _Sent()
        with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as archive:  # sounds do not get smaller
            for entry in self.entries:
                source: BinaryIO
                if isinstance(entry.content, bytes):
                    source, about = io.BytesIO(entry.content), zipfile.ZipInfo(entry.name)
                else:
                    source = entry.content.open("rb")
                    about = zipfile.ZipInfo.from_file(entry.content, entry.name, strict_timestamps=False)
                left = entry.size_bytes  # a file that grows meanwhile is sent as far as it was announced
                with source, archive.open(about, "w") as within:
                    while block := source.read(min(left, BLOCK_BYTES)):
                        left -= len(block)
                        within.write(block)
                        yield sent.taken()
        yield sent.taken()


class _Sent(io.RawIOBase):
    """What was written and not taken yet; no way back, as on a connection."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]  # bytes are all that comes
        self._blocks.append(bytes(block))
        return len(block)

    def taken(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


def of(nearest: Nearest, numbers: Iterable[int]) -> Parcel:
    """The files of these items.

    Raises: UnknownItemError; QueryError: they are too many, or too large together.
    """
    entries: dict[str, Entry] = {}
    missing: list[str] = []

    def add(name: str, content: bytes | Path, size_bytes: int) -> None:
        # A name that is no text is written as far as it is; the second of a name gets a number.
        name = name.encode("utf-8", "replace").decode()
        way = PurePosixPath(name)
        for again in itertools.count(2):
            if name not in entries:
                break
            name = str(way.with_name(f"{way.stem} ({again}){way.suffix}"))
        entries[name] = Entry(name, content, size_bytes)

    for number in numbers:
        item = nearest.item(number)
        try:
            path = nearest.path(number)
            with path.open("rb") as file:
                add(item.id, path, os.fstat(file.fileno()).st_size)
        except (BoilerError, OSError):
            missing.append(item.id)
    if missing:
        report = ("\n".join(missing) + "\n").encode("utf-8", "replace")
        add("MISSING.txt", report, len(report))
    parcel = Parcel(list(entries.values()))
    if len(entries) > MOST_ITEMS or parcel.size_bytes > MOST_BYTES:
        raise QueryError(
            f"at most {MOST_ITEMS:,} files of {MOST_BYTES / 1e9:g} GB together go into a ZIP: take the playlist"
        )
    return parcel


def address(sounds_at: str, numbers: Iterable[int]) -> str:
    """Where the files of these items are fetched; `sounds_at` is where the sounds of the index are heard."""
    return f"{sounds_at}/parcel.zip?n=" + ".".join(map(str, numbers))


def routes(nearest: Callable[[], Nearest]) -> list[BaseRoute]:
    """To be mounted beside the sounds."""

    async def parcel(request: Request) -> Response:
        numbers = [media.number(word) for word in request.query_params.get("n", "").split(".")[: MOST_ITEMS + 1]]
        made = await anyio.to_thread.run_sync(of, nearest(), dict.fromkeys(numbers))
        headers = {
            "Content-Disposition": 'attachment; filename="boiler-tray.zip"',
            "Content-Length": str(made.size_bytes),
            "Cache-Control": "no-store",
        }
        if request.method == "HEAD":  # for which Starlette would read all of it
            return Response(None, 200, headers, "application/zip")
        return StreamingResponse(made.blocks(), 200, headers, "application/zip")

    return [Route("/parcel.zip", media.guarded(parcel), methods=["GET"], name="parcel")]

"""Files of a collection as one ZIP archive, generated while it is sent: it is never held in memory or on disk, its size
is known in advance, so that the visitor's browser shows progress, and reading stops when the download is cancelled.

``GET .../files.zip?n=1.2.3``: the files of these items, in their folders; ``MISSING.txt`` lists those that could not be
read.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from zipstream import ZipStream

from boiler.errors import BoilerError, QueryError
from boiler.search.nearest import Nearest
from boiler.service import media

MAX_BYTES = 2_000_000_000  # all unpackers can read archives of this size
MAX_FILES = 5_000  # their numbers are part of the URL
BLOCK_BYTES = 2**20


def archive_files(nearest: Nearest, numbers: Iterable[int]) -> ZipStream:
    """The archive of the files of these items; iterating over it gives the bytes, `len` their number.

    Raises: UnknownItemError; QueryError: too many files, or too large together.
    """
    archive = ZipStream(sized=True)  # stored, not compressed: sounds hardly get smaller
    used: set[str] = set()
    missing: list[str] = []
    n_bytes = 0
    for number in numbers:
        item = nearest.item(number)
        try:
            path = nearest.path(number)
            with path.open("rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
        except (BoilerError, OSError):
            missing.append(item.id)
        else:
            n_bytes += size_bytes
            archive.add(_read_blocks(path, size_bytes), _unused(safe_name(item.id), used), size=size_bytes)
    if missing:
        report = "".join(f"{id}\n" for id in missing).encode("utf-8", "replace")
        archive.add(report, _unused("MISSING.txt", used))
    if len(used) > MAX_FILES or n_bytes > MAX_BYTES:
        raise QueryError(
            f"a ZIP file takes at most {MAX_FILES:,} files of {MAX_BYTES / 1e9:g} GB together: export a playlist"
        )
    return archive


def safe_name(id: str) -> str:
    """A file name without `..`, drives, leading slashes and control characters, so that it unpacks inside the target
    folder on every system.

    >>> safe_name("drums/kick.wav"), safe_name("../C:\\\\a\\x07.wav"), safe_name("/..")
    ('drums/kick.wav', 'C_/a_.wav', 'unnamed')
    """
    text = id.encode("utf-8", "replace").decode()
    parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".", "..")]
    name = "/".join("".join("_" if char == ":" or not char.isprintable() else char for char in part) for part in parts)
    return name or "unnamed"


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number if it is used already."""
    path = PurePosixPath(name)
    for number in itertools.count(2):
        if name not in used:
            break
        name = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
    used.add(name)
    return name


def _read_blocks(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The first `size_bytes` of a file, as announced in the header, even if the file has grown since."""
    left = size_bytes
    with path.open("rb") as file:
        while block := file.read(min(left, BLOCK_BYTES)):
            left -= len(block)
            yield block


def archive_url(sounds_url: str, numbers: Iterable[int]) -> str:
    """The URL of the archive; `sounds_url` as in `indexes.OpenIndex`."""
    return f"{sounds_url}/files.zip?n=" + ".".join(map(str, numbers))


def archive_routes(nearest: Callable[[], Nearest]) -> list[BaseRoute]:
    """The route ``/files.zip``, mounted below `indexes.OpenIndex.sounds_url`."""

    async def files(request: Request) -> Response:
        numbers = [media.item_number(word) for word in request.query_params.get("n", "").split(".")[: MAX_FILES + 1]]
        archive = await anyio.to_thread.run_sync(archive_files, nearest(), dict.fromkeys(numbers))
        headers = {
            "Content-Disposition": 'attachment; filename="boiler-tray.zip"',
            "Content-Length": str(len(archive)),
            "Cache-Control": "no-store",
        }
        if request.method == "HEAD":  # Starlette would iterate over the whole archive
            return Response(None, 200, headers, "application/zip")
        return StreamingResponse(archive, 200, headers, "application/zip")

    return [Route("/files.zip", media.with_problems(files), methods=["GET"], name="files_zip")]

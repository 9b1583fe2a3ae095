"""Fetches the sound or video that a link leads to, in a process of its own (`boiler.links.fetch_worker`).

    >>> fetch("https://example.org/dog.ogg").name  # doctest: +SKIP
    'dog.ogg'

The file is on disk only until it is complete, in a temporary folder that disappears with the process.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from boiler.audio.worker_process import environment
from boiler.errors import LinkError
from boiler.interrupts import interrupt_blocked
from boiler.links.address import checked_url
from boiler.links.fetch_worker import too_large

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from boiler.links import fetch_worker;"
    " fetch_worker.main()"
)
POLL_S = 0.1
_MAX_MESSAGES = 2**20  # bytes of messages, of a process that parses what strangers sent
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

BytesCallback = Callable[[int, int | None], None]
"""Progress callback: (bytes done, bytes in all, None if that is not known). An exception from it ends the work."""


@dataclass(frozen=True)
class FetchLimits:
    """What one link may cost. `allow_private`: it may lead to this machine and to private networks, too."""

    max_bytes: int = 50 * 2**20
    timeout_s: float = 60.0
    allow_private: bool = False


class FetchedFile(NamedTuple):
    """A file from a link. `name`: for display only."""

    name: str
    content: bytes


def fetch(
    url: str, limits: FetchLimits = FetchLimits(), on_progress: BytesCallback = lambda done, total: None
) -> FetchedFile:
    """Fetch a file: the one that the link leads to or, if that is a page and yt-dlp is installed, the sound or video of
    the page.

    Arguments:
        on_progress: called at least every `POLL_S` seconds, and when the file is complete

    Raises: LinkError: it is no link, leads to an address that is not public or to no sound, is too large or too slow;
    whatever `on_progress` raises.
    """
    url = checked_url(url)
    deadline = time.monotonic() + limits.timeout_s
    with (
        tempfile.TemporaryDirectory(prefix="boiler-link-", ignore_cleanup_errors=True) as folder,
        _worker({"url": url, "folder": folder, **asdict(limits)}) as process,
    ):
        done: tuple[int, int | None] = 0, None
        for message in _messages(process):
            if message is not None and "file" in message:
                content = _read(folder, str(message["file"]), limits.max_bytes)
                on_progress(len(content), len(content))
                return FetchedFile(str(message["name"])[:200], content)
            if message is not None and "error" in message:
                raise LinkError(str(message["error"])[:500])
            if message is not None and "done" in message:
                done = message["done"], message["total"]
            if time.monotonic() > deadline:
                raise LinkError(f"the link takes more than {limits.timeout_s:g} s to fetch")
            on_progress(*done)
        raise LinkError("the link cannot be fetched: its process ended, most likely because of a limit")


@contextmanager
def _worker(request: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which is killed at the end of the block. It ends by itself when its standard input is closed."""
    inherited = {name: os.environ[name] for name in _CERTIFICATES if name in os.environ}
    with interrupt_blocked():  # this process handles Ctrl-C
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM, json.dumps(list(map(str, sys.path)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=request["folder"],
            env=environment() | inherited | {"YTDLP_NO_PLUGINS": "1", "HOME": request["folder"]},
        )
    with process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _messages(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """The messages until the process ends, and None whenever there was none for `POLL_S`."""
    assert process.stdout is not None
    pending, received = b"", 0
    while True:
        if not select.select([process.stdout], [], [], POLL_S)[0]:
            yield None
            continue
        block = os.read(process.stdout.fileno(), 65_536)
        received += len(block)
        if not block or received > _MAX_MESSAGES:
            return
        *lines, pending = (pending + block).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _read(folder: str, name: str, max_bytes: int) -> bytes:
    path = Path(folder) / Path(name).name
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise LinkError(too_large(max_bytes))
    if not content:
        raise LinkError("the link leads to an empty file")
    return content

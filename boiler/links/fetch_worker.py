"""The process of `boiler.links.fetch`: fetches one link into a folder, and ends.

It reads one line of JSON, the request, from standard input and ends when that is closed: then nobody waits for it any
more. It writes lines of JSON: ``{"done": bytes, "total": bytes or null}``, then ``{"file": name in the folder, "name":
title}`` or ``{"error": sentence}``.

A link to a file is fetched by the standard library: http and https, at most five redirects, no proxy, so that the
address that is checked (`boiler.links.address`) is the one of the file. A link to a page is passed to yt-dlp, if it is
installed, in this process and under the same checks.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from boiler import __version__
from boiler.errors import LinkError
from boiler.links.address import FORBIDDEN, ForbiddenAddressError, checked_url, guard_connections

MAX_REDIRECTS = 5
SOCKET_TIMEOUT_S = 20.0
MEMORY_BYTES = 2 * 2**30
REPORT_S = 0.1
FILE = "medium"
_BLOCK_BYTES = 65_536
# Pages, and lists of the parts of a film, which yt-dlp reads.
_PAGES = ("text/html", "application/xhtml+xml", "mpegurl", "dash+xml")
NEEDS_EXTRACTOR = (
    "the link leads to a page, not to a sound or video. Give the link of the file itself, or install what finds it in"
    " the page: pip install 'boiler[links]'"
)


def too_large(max_bytes: int) -> str:
    """The reason for refusing a file of more bytes."""
    return f"the file has more than {max_bytes / 2**20:g} MB"


def main() -> None:
    """Fetch the link of the request."""
    request = json.loads(sys.stdin.buffer.readline())
    folder, max_bytes = Path(request["folder"]), int(request["max_bytes"])
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    cpu_s = int(request["timeout_s"]) + 1
    for limit, value in (
        (resource.RLIMIT_FSIZE, max_bytes + _BLOCK_BYTES),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # yt-dlp would connect by it, unseen by the hook
    guard_connections(bool(request["allow_private"]))
    report = _Reporter()
    try:
        name = fetch_file(request["url"], folder / FILE, max_bytes, report)
        if name is None:
            name = extract(request["url"], folder, max_bytes, report)
        found = next(path.name for path in sorted(folder.iterdir()) if path.is_file() and path.name.startswith(FILE))
        report.send({"file": found, "name": name})
    except LinkError as error:
        report.send({"error": str(error)})
    except StopIteration:
        report.send({"error": "there is no sound or video in the page that the link leads to, or it is too large"})
    except (OSError, HTTPException, ValueError, MemoryError) as error:
        report.send({"error": describe(error)})


def _end_with_parent(folder: Path) -> None:
    while os.read(0, 1):  # not by `sys.stdin`, whose lock would be held when this process ends
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


class _Reporter:
    """Writes messages; of progress, at most one each `REPORT_S`."""

    def __init__(self) -> None:
        self._last_s = float("-inf")

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last_s >= REPORT_S:
            self._last_s = time.monotonic()
            self.send({"done": done, "total": total})

    def send(self, message: dict[str, Any]) -> None:
        sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
        sys.stdout.buffer.flush()


def describe(error: BaseException) -> str:
    """Why a link could not be fetched, in a sentence."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, BaseException) else error
    if isinstance(cause, ForbiddenAddressError):
        return str(cause)
    if isinstance(error, urllib.error.HTTPError) and 300 <= error.code < 400:
        return f"the link redirects more than {MAX_REDIRECTS} times, or to something else than http"
    if isinstance(error, urllib.error.HTTPError):
        return f"the server of the link answers with status {error.code}"
    if isinstance(cause, ssl.SSLError):
        return f"the link has no valid certificate ({cause.reason or 'TLS'})"
    if isinstance(cause, TimeoutError):
        return "the server of the link does not answer"
    return f"the link cannot be fetched: {getattr(cause, 'strerror', None) or cause or type(cause).__name__}"


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        return super().redirect_request(req, fp, code, msg, headers, checked_url(newurl))  # type: ignore[arg-type]


def _opener() -> urllib.request.OpenerDirector:
    """http and https alone: no proxies of the environment, no files, no FTP, no passwords, no cookies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _CheckedRedirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"boiler/{__version__}"), ("Accept-Encoding", "identity")]
    return opener


def fetch_file(url: str, target: Path, max_bytes: int, report: Callable[[int, int | None], None]) -> str | None:
    """Write the file that the link leads to. Returns its name; None if it is a page.

    Raises: LinkError: too large. OSError, HTTPException: the server cannot be reached, or says no.
    """
    with _opener().open(url, timeout=SOCKET_TIMEOUT_S) as response:
        kind = response.headers.get_content_type()
        if any(kind.endswith(page) for page in _PAGES):
            return None
        stated = response.headers.get("Content-Length", "")
        total = int(stated) if stated.isascii() and stated.isdigit() else None
        done = 0
        if total is not None and total > max_bytes:
            raise LinkError(too_large(max_bytes))
        with target.open("wb") as file:
            while block := response.read1(_BLOCK_BYTES):  # what is there, so that progress is seen
                done += len(block)
                if done > max_bytes:
                    raise LinkError(too_large(max_bytes))
                file.write(block)
                report(done, total)
        if total is not None and done < total:
            raise LinkError("the server of the link broke off before the end of the file")
        parts = urlsplit(response.url)
        return PurePosixPath(unquote(parts.path)).name or parts.hostname or "link"


def extract(url: str, folder: Path, max_bytes: int, report: Callable[[int, int | None], None]) -> str:
    """Write the sound or video of a page, by yt-dlp. Returns its title.

    Raises: LinkError: yt-dlp is not installed, or finds nothing.
    """
    try:
        import yt_dlp
    except ImportError:
        raise LinkError(NEEDS_EXTRACTOR) from None

    def on_progress(progress: dict[str, Any]) -> None:
        done = int(progress.get("downloaded_bytes") or 0)
        if done > max_bytes:
            raise LinkError(too_large(max_bytes))
        total = progress.get("total_bytes") or progress.get("total_bytes_estimate")
        report(done, int(total) if total else None)

    options = {
        "format": "b[height<=480]/b/ba",  # one file: joining two needs a program
        "outtmpl": {"default": f"{FILE}.%(ext)s"},
        "paths": {"home": str(folder)},
        "max_filesize": max_bytes,
        "noplaylist": True,
        "playlist_items": "1",
        "nopart": True,
        "cachedir": False,
        "proxy": "",
        "fixup": "never",
        "retries": 0,
        "fragment_retries": 1,
        "extractor_retries": 0,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "quiet": True,
        "noprogress": True,
        "logger": _Silent(),
        "progress_hooks": [on_progress],
        "hls_prefer_native": True,
        "js_runtimes": {},
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(url, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        raise LinkError(_of_extractor(error)) from None
    return str((info or {}).get("title") or "link")


def _of_extractor(error: Exception) -> str:
    """The reason in an error of yt-dlp, which passes the errors of connections on as text."""
    if refused := re.search(FORBIDDEN.format(r"\S+"), str(error)):
        return refused[0]
    lines = [line for line in str(error).removeprefix("ERROR: ").split("; please report")[0].splitlines() if line]
    return f"there is no sound or video in the page that the link leads to ({lines[0][:200] if lines else 'yt-dlp'})"


class _Silent:
    """A logger that says nothing: standard output is for messages."""

    def debug(self, message: str) -> None:
        pass

    warning = error = info = debug

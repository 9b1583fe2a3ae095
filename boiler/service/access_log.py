"""The access log: one line per request on stderr, with id, route, status and times, but without the content of the
request.

Lines are buffered for `FLUSH_INTERVAL_S` and written together, so that under load many requests cost one system call;
what is buffered when the process is killed is lost. `logging` with a `QueueHandler` costs 28 microseconds per request
where this costs 6 (of about 200 for a whole request), so it is not used here.
"""

from __future__ import annotations

import asyncio
import sys
from time import time
from typing import Literal, NamedTuple

FLUSH_INTERVAL_S = 0.2

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})


class _Entry(NamedTuple):
    """A finished request. `at_s` is a Unix time; `stages` are the seconds spent in each stage."""

    at_s: float
    method: str
    route: str
    status: int
    seconds: float
    request_id: str
    stages: dict[str, float]


class AccessLog:
    """The access log of one worker. `style` is the format of its lines: JSON, or plain text."""

    def __init__(self, style: Literal["json", "plain"]) -> None:
        self._format = _json_line if style == "json" else _plain_line
        self._entries: list[_Entry] = []

    def add(
        self, method: str, route: str, status: int, seconds: float, request_id: str, stages: dict[str, float]
    ) -> None:
        """Add a finished request. `route` is the pattern of the path, not the path itself."""
        if not self._entries:
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)
        self._entries.append(_Entry(time(), method, route, status, seconds, request_id, stages))

    def flush(self) -> None:
        """Write the buffered lines."""
        entries, self._entries = self._entries, []
        if entries:
            sys.stderr.write("".join(map(self._format, entries)))
            sys.stderr.flush()


def _json_line(entry: _Entry) -> str:
    line = (
        f'{{"time":{entry.at_s:.3f},"request_id":"{entry.request_id}","method":"{_known_method(entry.method)}",'
        f'"route":"{entry.route}","status":{entry.status},"ms":{entry.seconds * 1e3:.3f}'
    )
    for stage, seconds in entry.stages.items():
        line += f',"{stage}_ms":{seconds * 1e3:.3f}'
    return line + "}\n"


def _plain_line(entry: _Entry) -> str:
    milliseconds = f"{entry.seconds * 1e3:.1f} ms"
    return f"{_known_method(entry.method)} {entry.route} {entry.status} {milliseconds} [{entry.request_id}]\n"


def _known_method(method: str) -> str:
    """The method, or "other": clients may send any word."""
    return method if method in _METHODS else "other"

"""One line for each request on stderr: its id, route, status and times; nothing of what was asked.

Not by `logging`, whose way to a line costs a tenth of a request. What there is to say is held for a fifth of a second,
so that under load many lines are rendered in one go, and are one write; what is held when a process is killed is lost.
"""

from __future__ import annotations

import asyncio
import sys
from time import time
from typing import Literal, NamedTuple

HELD_S = 0.2

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})


class _Request(NamedTuple):
    """One that is done."""

    at_s: float  # since 1970
    method: str
    route: str
    status: int
    seconds: float
    request_id: str
    stages: dict[str, float]


class LogLines:
    """The lines of one worker. `kind`: json or plain."""

    def __init__(self, kind: Literal["json", "plain"]) -> None:
        self._render = _json if kind == "json" else _plain
        self._held: list[_Request] = []

    def add(
        self, method: str, route: str, status: int, seconds: float, request_id: str, stages: dict[str, float]
    ) -> None:
        """A request is done. `route` is the path's pattern, and like the stages a word of ours."""
        if not self._held:
            asyncio.get_running_loop().call_later(HELD_S, self.write)
        self._held.append(_Request(time(), method, route, status, seconds, request_id, stages))

    def write(self) -> None:
        """Write what is held."""
        held, self._held = self._held, []
        if held:
            sys.stderr.write("".join(map(self._render, held)))
            sys.stderr.flush()


def _json(one: _Request) -> str:
    line = (
        f'{{"time":{one.at_s:.3f},"request_id":"{one.request_id}","method":"{_word(one.method)}",'
        f'"route":"{one.route}","status":{one.status},"ms":{one.seconds * 1e3:.3f}'
    )
    for stage, spent in one.stages.items():
        line += f',"{stage}_ms":{spent * 1e3:.3f}'
    return line + "}\n"


def _plain(one: _Request) -> str:
    return f"{_word(one.method)} {one.route} {one.status} {one.seconds * 1e3:.1f} ms [{one.request_id}]\n"


def _word(method: str) -> str:
    """It is the client's, and could be any word."""
    return method if method in _METHODS else "other"

"""One line for each request on stderr: its id, route, status and times; nothing of what was asked.

Not by `logging`, whose way to a line costs a tenth of a request. Lines are held for a fifth of a second, so that under
load many are one write; what is held when a process is killed is lost.
"""

from __future__ import annotations

import asyncio
import sys
from time import time
from typing import Literal

HELD_S = 0.2

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})


class LogLines:
    """The lines of one worker. `kind`: json or plain."""

    def __init__(self, kind: Literal["json", "plain"]) -> None:
        self._as_json = kind == "json"
        self._held: list[str] = []

    def add(
        self, method: str, route: str, status: int, seconds: float, request_id: str, stages: dict[str, float]
    ) -> None:
        """A request is done. `route` is the path's pattern, and like the stages a word of ours."""
        if method not in _METHODS:
            method = "other"
        if self._as_json:
            line = (
                f'{{"time":{time():.3f},"request_id":"{request_id}","method":"{method}","route":"{route}",'
                f'"status":{status},"ms":{seconds * 1e3:.3f}'
            )
            for stage, spent in stages.items():
                line += f',"{stage}_ms":{spent * 1e3:.3f}'
            line += "}\n"
        else:
            line = f"{method} {route} {status} {seconds * 1e3:.1f} ms [{request_id}]\n"
        if not self._held:
            asyncio.get_running_loop().call_later(HELD_S, self.write)
        self._held.append(line)

    def write(self) -> None:
        """Write what is held."""
        lines, self._held = self._held, []
        if lines:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()

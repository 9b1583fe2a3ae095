"""A connection of `boiler serve`: uvicorn's own, whose head may not grow, or take its time, without end.

uvicorn with httptools keeps as many bytes of headers as are sent, and waits for them for ever.
"""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
HEAD_S = 10.0


class Wire(HttpToolsProtocol):
    """Answers 431 to a head over `MOST_HEAD_BYTES`, and 408 to one that is not there after `HEAD_S`."""

    _in_head = True  # a request's head is waited for or on its way
    _only_head = True  # of what is being taken in: nothing in it belongs to the request before
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._refuse, 408, "Request Timeout", "slow-head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._only_head = self._in_head
        super().data_received(data)
        # Where in it a head begins after the end of a body is not told: what is read in that once is not counted.
        if self._in_head and self._only_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(431, "Request Header Fields Too Large", "large-head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._refuse, 408, "Request Timeout", "slow-head")

    def on_headers_complete(self) -> None:
        self._only_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _stop_waiting(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, title: str, slug: str) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else an answer is on its way to the request before
            problem = {"type": f"urn:boiler:problem:{slug}", "title": title, "status": status, "detail": title}
            body = orjson.dumps(problem)
            head = (
                f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

"""A connection of `boiler serve`: uvicorn's own, whose head may not grow, or take its time, without end.

uvicorn with httptools keeps as many bytes of headers as are sent, and waits for them for ever, as it does for a client
that does not read what it asked for, also where the connection is to be closed. It also writes head and body of an
answer one by one.
"""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
HEAD_S = 10.0
UNDER_WAY = "boiler.under_way"
"""Of the extensions in a request's scope: how many requests there are at work, itself among them."""
UNREAD_S = 30.0  # a paused player reads nothing for a while; then it asks again, by range


class Wire(HttpToolsProtocol):
    """Answers 431 to a head over `MOST_HEAD_BYTES`, and 408 to one that is not there after `HEAD_S`; ends a connection
    on which nothing that waits was read for `UNREAD_S`."""

    _in_head = True  # a request's head is waited for or on its way
    _only_head = True  # of what is being taken in: nothing in it belongs to the request before
    _in_body = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._only_head = self._in_head
        super().data_received(data)
        if self._in_head or self._idle:
            self._wait()
        # Where in it a head begins after the end of a body is not told: what is read in that once is not counted.
        if self._in_head and self._only_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(431, "Request Header Fields Too Large", "large-head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._only_head = False
        self._in_body = True
        self._stop_waiting()
        super().on_headers_complete()
        if self.cycle is not None:  # else it is for another protocol
            self.cycle.scope.setdefault("extensions", {})[UNDER_WAY] = len(self.tasks)  # type: ignore[assignment]  # ours
            self.cycle.transport = _Joining(self)  # type: ignore[assignment]  # all it uses

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._must_be_read()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():  # else what is left has to be read, too
            self._is_read()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._must_be_read()

    def leave(self) -> None:
        """Close when what was written is read, or not to be waited for any longer."""
        self.transport.close()
        self._must_be_read()

    def _must_be_read(self) -> None:
        if self._unread is None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._unread = self.loop.call_later(UNREAD_S, self._look)

    def _look(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() < self._unread_bytes:  # it is slow, but it reads
            self._must_be_read()
        else:
            self.transport.abort()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def _idle(self) -> bool:
        """Nothing is under way, though something came: the rest of a body that was answered before its end, or empty
        lines. uvicorn has stopped waiting for the next request, then."""
        return not self._in_body and self.cycle is not None and bool(self.cycle.response_complete)

    def _wait(self) -> None:
        """For the rest of a head, or for one to begin. Most come whole, and take no timer."""
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()  # the answer to the request before comes first
        else:
            self._refuse(408, "Request Timeout", "slow-head")

    def _stop_waiting(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, title: str, slug: str) -> None:
        begun = self._in_head  # else nobody asked for anything, and an answer could be taken for that to what comes
        self._stop_waiting()
        if self.transport.is_closing():
            return
        # Where an answer is on its way to the request before, there is no place for another.
        if begun and (self.cycle is None or self.cycle.response_complete):
            problem = {"type": f"urn:boiler:problem:{slug}", "title": title, "status": status, "detail": title}
            body = orjson.dumps(problem)
            head = (
                f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.leave()


class _Joining:
    """What an answer is written to: its head is held until the body begins, or for a turn of the loop. Where the
    connection is gone, nobody reads it; of requests that came ahead of their turn uvicorn tells that to the last alone.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._transport = wire.transport
        self._head: bytes | None = None  # b"" when it is written

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._head is None:
            self._head = data
            self._wire.loop.call_soon(self._flush)
        elif self._head:
            self._head, data = b"", self._head + data
            self._transport.write(data)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self._flush()
        self._wire.leave()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

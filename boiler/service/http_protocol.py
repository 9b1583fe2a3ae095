"""The HTTP protocol of `boiler serve`: that of uvicorn, with limits on what clients may send and how slowly.

uvicorn's httptools protocol buffers any number of header bytes, takes trailers for headers, waits without limit for the
rest of a head, for the rest of a body that was answered before its end, and for a client that does not read its
response. It also writes an error ahead of pending responses on a pipelined connection, and writes the head and the body
of a response separately.

This class overrides methods that uvicorn does not document, so uvicorn is pinned to the version it was tested with
(`UVICORN_VERSION`); a test fails on any other.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UVICORN_VERSION = "0.54.0"
MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 10.0
UNREAD_TIMEOUT_S = 30.0
"""A paused media player reads nothing for a while; afterwards it requests the rest as a range."""
ACTIVE_REQUESTS = "boiler.active_requests"
"""Key in a scope's `extensions`: the number of requests in progress, including this one."""
CONNECTION = "boiler.connection"
"""Key in a scope's `extensions`: the transport, `is_closing` once the client has left."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses requests that are not HTTP/1.x, are too large or too slow.

    431: a head, or the trailers of a body, over `MAX_HEAD_BYTES`. 408: a head that is not complete after
    `HEAD_TIMEOUT_S`. 400: not HTTP, or not exactly one Host header. Trailers are dropped, and Upgrade headers ignored.
    A connection is closed when the client does not read a pending response for `UNREAD_TIMEOUT_S`, or sends a body for
    longer than `HEAD_TIMEOUT_S` after its response.
    """

    _in_head = True  # waiting for, or receiving, the head of a request
    _only_head = True  # no byte of the data being fed belongs to the previous request
    _in_body = False
    _head_bytes = 0
    _bytes_since_body = 0  # received in a chunked body since the last byte of content: trailers, chunk extensions
    _refused = False
    _upgrade_head = b""  # of the request being parsed, if it has an Upgrade header
    _queued_refusal: bytes | None = None  # to be written after the responses that are pending
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._only_head = self._in_head
        self._bytes_since_body += len(data)
        self._feed(data)
        if self._refused:
            return
        if self._in_head or self._is_idle:
            self._start_timer()
        # The parser does not report where in the data a head begins after a body, so that data is not counted.
        if self._in_head and self._only_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "large-head", f"the head of a request has at most {MAX_HEAD_BYTES} bytes")
        elif self._in_body and self._bytes_since_body > MAX_HEAD_BYTES:
            self._refuse(431, "large-head", f"trailers have at most {MAX_HEAD_BYTES} bytes")

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser treats the end of the head as the end of the request, and cannot continue.
            head, self._upgrade_head = self._upgrade_head, b""
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
            if not self._refused:
                self._feed(head + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "bad-request", "this is not a valid HTTP/1.1 request")

    def _should_upgrade(self) -> bool:
        return False

    def _head_without_upgrade(self) -> bytes:
        """The head of the request without the headers that ask for another protocol."""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name not in (b"upgrade", b"connection")]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._only_head = False
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and not (hosts == 0 and self.parser.get_http_version() == "1.0"):
            self._refuse(400, "bad-request", "a request has exactly one Host header")
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "bad-request", "this is not a proxy")
        if self._refused:
            return
        if self.parser.should_upgrade():
            self._upgrade_head = self._head_without_upgrade()
            return
        self._in_body, self._bytes_since_body = True, 0
        self._stop_timer()
        super().on_headers_complete()
        extensions: dict[str, Any] = self.cycle.scope.setdefault("extensions", {})
        extensions[ACTIVE_REQUESTS], extensions[CONNECTION] = len(self.tasks), self.transport
        self.cycle.transport = _HeadJoiningTransport(self)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._bytes_since_body = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused or self._upgrade_head:
            return
        self._in_body = False
        self._stop_drain_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._queued_refusal is not None and not self.pipeline:
            self._write_refusal(self._queued_refusal)
            return
        super().on_response_complete()
        if self._in_body and not self.pipeline:  # the rest of the body is read for a while, or the client sees a reset
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_unread_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():  # otherwise the rest of the buffer has to be read, too
            self._stop_unread_timer()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._start_unread_timer()

    def close_when_read(self) -> None:
        """Close the connection when the client has read the buffered bytes, or stops reading them."""
        self.transport.close()
        self._start_unread_timer()

    def _start_unread_timer(self) -> None:
        if self._unread_timer is None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._unread_timer = self.loop.call_later(UNREAD_TIMEOUT_S, self._abort_if_unread)

    def _abort_if_unread(self) -> None:
        self._unread_timer = None
        if self.transport.get_write_buffer_size() < self._unread_bytes:  # slow, but reading
            self._start_unread_timer()
        else:
            self.transport.abort()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is in progress although data arrived: the end of a body that was answered before, or empty
        lines. uvicorn has cancelled its keep-alive timer then."""
        return not self._in_body and self.cycle is not None and bool(self.cycle.response_complete)

    def _start_timer(self) -> None:
        """Start to wait for the rest of a head, or for the next. Most heads arrive whole and need no timer."""
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_timer()  # the pending response comes first
        elif self._in_head:
            self._refuse(408, "slow-head", f"the head of a request did not come within {HEAD_TIMEOUT_S:g} s")
        else:
            # Nothing was requested: the client could mistake a response for that to its next request.
            self._refused = True
            self.close_when_read()

    def _stop_timer(self) -> None:
        self._in_head = False
        self._stop_drain_timer()

    def _stop_drain_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, slug: str, detail: str) -> None:
        """Respond with a problem after all pending responses, then close. Ignores what else the client sends."""
        if self._refused:
            return
        self._refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        title = HTTPStatus(status).phrase
        problem = {"type": f"urn:boiler:problem:{slug}", "title": title, "status": status, "detail": detail}
        body = orjson.dumps(problem)
        refusal = (
            f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode() + body
        if self._in_body:  # the fault is in the body of the last request
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.close_when_read()
                return
            else:
                self._write_refusal(refusal)
                return
            pending = True
        else:
            pending = self.cycle is not None and not self.cycle.response_complete
        if pending:
            self._queued_refusal = refusal
        else:
            self._write_refusal(refusal)

    def _write_refusal(self, refusal: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal)
        self.close_when_read()


class _HeadJoiningTransport:
    """The transport as a response sees it: holds the head back until the body begins, or for one iteration of the event
    loop. Does not write to a closed connection: uvicorn reports a disconnect only to the last of several pipelined
    requests.
    """

    def __init__(self, protocol: BoundedHttpProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._head: bytes | None = None  # b"" once it is written

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._head is None:
            self._head = data
            self._protocol.loop.call_soon(self._flush)
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
        self._protocol.close_when_read()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

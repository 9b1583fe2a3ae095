"""Responses to requests that take long: with ``Accept: text/event-stream`` as server-sent events that report progress.
The work is cancelled when the client disconnects.

Events: ``progress`` with ``{"stage": "embedding", "done": 3, "total": 70}`` (stages: fetching, waiting, decoding,
embedding, tagging, searching; total is 0 where it is not known), then one ``result`` with what the route returns
otherwise, or one ``error`` with a problem document.

sse-starlette is not used: it replaces uvicorn's signal handler and cuts streams off at a shutdown, where running
requests are to be finished, and would save only the keep-alive comments; FastAPI formats the events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from boiler.errors import BoilerError
from boiler.service import problems, requests
from boiler.service.uploads import StageCallback

EVENT_STREAM = "text/event-stream"
KEEPALIVE_S = 15.0
"""After this time without an event a comment is sent, because proxies close idle connections."""

log = logging.getLogger("boiler.service")

Work = Callable[[StageCallback], Awaitable[Response]]
TaskResult = TypeVar("TaskResult")

EVENT_STREAM_CONTENT: dict[str, Any] = {
    EVENT_STREAM: {
        "schema": {"type": "string", "description": "events progress, then result or error"},
        "example": 'event: progress\ndata: {"stage":"embedding","done":3,"total":70}\n\nevent: result\ndata: [...]\n\n',
    }
}
"""OpenAPI content of the 200 of such a route."""


async def respond(request: Request, work: Work) -> Response:
    """Run the work, and respond with its result or, if the client accepts them, with events.

    Raises:
        ClientDisconnect: the client has left; and what the work raises
    """
    if not accepts_events(request):
        async with _cancelled_on_exit(work(lambda stage, done, total: None)) as task:
            await _wait_or_disconnect(request, task)
            return task.result()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request, work), 200, headers, EVENT_STREAM)


def accepts_events(request: Request) -> bool:
    """Whether `Accept` lists event streams explicitly."""
    return requests.accepts(request.headers.get("accept", ""), EVENT_STREAM)


async def _events(request: Request, work: Work) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def on_progress(stage: str, done: int, total: int) -> None:
        # "of" is the old name of "total", kept for one version.
        progress = orjson.dumps({"stage": stage, "done": done, "total": total, "of": total})
        queue.put_nowait(format_sse_event(event="progress", data_str=progress.decode()))

    async with _cancelled_on_exit(work(on_progress)) as task:
        task.add_done_callback(lambda _: queue.put_nowait(None))
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    event = await queue.get()
            except TimeoutError:
                event = KEEPALIVE_COMMENT
            if event is None:
                break
            yield event
        yield _last_event(request, task)


def _last_event(request: Request, task: asyncio.Task[Response]) -> bytes:
    """The event with the result or the error."""
    request_id = request.scope["state"]["request_id"]
    try:
        return format_sse_event(event="result", data_str=bytes(task.result().body).decode())
    except BoilerError as error:
        problem = problems.from_boiler_error(error)
        if problem.status_code >= 500:
            log.error("%s: %s", request_id, error)
    except HTTPException as error:
        problem = problems.from_http_exception(error)
    except Exception:
        log.exception("%s", request_id)
        problem = problems.internal_error()
    return format_sse_event(event="error", data_str=bytes(problems.response(problem, request_id).body).decode())


@asynccontextmanager
async def _cancelled_on_exit(work: Awaitable[TaskResult]) -> AsyncIterator[asyncio.Task[TaskResult]]:
    """Context manager: the work as a task, which is cancelled and has ended on exit."""
    task = asyncio.ensure_future(work)
    assert isinstance(task, asyncio.Task)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # retrieved, or asyncio logs that it was not


async def _wait_or_disconnect(request: Request, task: asyncio.Task[Any]) -> None:
    """Wait for the task. Raises: ClientDisconnect: the client has left before"""

    async def disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    disconnecting = asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait({task, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        disconnecting.cancel()
        await asyncio.wait({disconnecting})

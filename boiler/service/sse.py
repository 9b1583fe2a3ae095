"""Long work: its result, or with ``Accept: text/event-stream`` where it is, as server-sent events; none when the client
has left.

Events: ``progress`` with ``{"stage": "embedding", "done": 3, "of": 70}`` (stages waiting, decoding, embedding,
searching), then one ``result`` with what the path answers otherwise, or one ``error`` with a problem.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from boiler.errors import BoilerError
from boiler.service import problems, requests
from boiler.service.uploads import StageCallback

MEDIA_TYPE = "text/event-stream"
COMFORT_S = 15.0  # without news, a comment is sent, so that nobody between takes the silence for the end

log = logging.getLogger("boiler.service")

Work = Callable[[StageCallback], Awaitable[Response]]
Result = TypeVar("Result")

EVENTS: dict[str, Any] = {
    MEDIA_TYPE: {
        "schema": {"type": "string", "description": "events progress, and result or error, when asked for by Accept"},
        "example": 'event: progress\ndata: {"stage":"embedding","done":3,"of":70}\n\nevent: result\ndata: [...]\n\n',
    }
}


async def answer(request: Request, work: Work) -> Response:
    """The answer of the work, or the events of it, as the request wants it.

    Raises: ClientDisconnect: nobody waits for it any more; and what the work raises.
    """
    if not wants_events(request):
        async with _running(work(lambda stage, done, of: None)) as task:
            await _until_gone(request, task)
            return task.result()
    head = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request, work), 200, head, MEDIA_TYPE)


def wants_events(request: Request) -> bool:
    """Whether the client takes events, and says so by name."""
    return requests.takes(request.headers.get("accept", ""), MEDIA_TYPE)


async def _events(request: Request, work: Work) -> AsyncIterator[bytes]:
    news: asyncio.Queue[bytes | None] = asyncio.Queue()

    def on_progress(stage: str, done: int, of: int) -> None:
        news.put_nowait(_event("progress", orjson.dumps({"stage": stage, "done": done, "of": of})))

    async with _running(work(on_progress)) as task:
        task.add_done_callback(lambda _: news.put_nowait(None))
        while True:
            try:
                async with asyncio.timeout(COMFORT_S):
                    one = await news.get()
            except TimeoutError:
                one = b": still at work\n\n"
            if one is None:
                break
            yield one
        yield _last(request, task)


def _last(request: Request, task: asyncio.Task[Response]) -> bytes:
    """The event that the work ends with."""
    request_id = request.scope["state"]["request_id"]
    try:
        return _event("result", bytes(task.result().body))
    except BoilerError as error:
        problem = problems.of_boiler(error)
    except HTTPException as error:
        problem = problems.of_http(error)
    except Exception:
        log.exception("%s", request_id)
        problem = problems.Problem(500, "internal-error", "The service could not answer; its log says why.")
    return _event("error", bytes(problems.response(problem, request_id).body))


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@asynccontextmanager
async def _running(work: Awaitable[Result]) -> AsyncIterator[asyncio.Task[Result]]:
    """The work as a task, which does not outlive this."""
    task = asyncio.ensure_future(work)
    assert isinstance(task, asyncio.Task)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _until_gone(request: Request, task: asyncio.Task[Any]) -> None:
    """Until the task is done.

    Raises: ClientDisconnect: the client left before.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        leaving.cancel()
        await asyncio.wait({leaving})

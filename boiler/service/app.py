"""The service: a model directory, answered over HTTP. ::

    BOILER_MODEL_DIR=exp/mine/vqvae_012/BagTopVQVAE uvicorn boiler.api.web:app --workers 6
    curl 'localhost:8000/nearest?k=3' -H 'Content-Type: application/json' -d '{"embedding": [0.1, ...]}'

``app`` is what uvicorn is given; it reads its settings (`boiler.service.settings`) when it is started, not when it is imported.
``/docs`` describes every path with examples that work. Every error is a problem (`boiler.service.problems`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from boiler import __version__
from boiler.errors import BoilerError
from boiler.service import openapi, problems, requests, schemas, state
from boiler.service import settings as settings_module
from boiler.service.access_log import LogLines
from boiler.service.middleware import Edge
from boiler.service.routes import docs, feedback, health, items, relating, search
from boiler.service.settings import Settings

log = logging.getLogger("boiler")

DESCRIPTION = """\
Finds sounds that sound alike.

1. `GET /model` says how long a vector is and what one request may ask for.
2. `POST /nearest` takes a vector and answers the nearest items, nearest first; `POST /nearest/audio` takes a sound;
   `GET /items/{n}/nearest` takes an item of the collection.
3. `GET /items/{n}/audio` plays one.

A *distance* is `sqrt(2 (1 - cosine))`: 0 is the same, smaller is nearer. Every error is a problem (RFC 9457) whose
`type` is stable. Where keys are asked, send yours as `X-API-Key: KEY` or as `Authorization: Bearer KEY`.
"""

_TAGS = [
    {"name": "search", "description": "What sounds like this?"},
    {"name": "items", "description": "The sounds of the collection: to list, to play, to draw"},
    {"name": "relations", "description": "How they relate: why two are alike, ways, near-duplicates, places, the map"},
    {"name": "feedback", "description": "What was, and was not, a good answer"},
    {"name": "service", "description": "What answers, and whether it does"},
]

_PROBLEM: dict[str, Any] = {"model": schemas.ProblemDetails}
_TOLD = {
    404: "there is nothing at this address; /docs describes every path",
    405: "this path does not take this method; the header Allow says which it takes",
}
"""What the routing refuses, for which its own words are two."""
_BUSY = {
    "type": "urn:boiler:problem:busy",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "too many requests are being worked on; try again",
    "request_id": "2f1c9a40d3b86e57",
}


class Web(FastAPI):
    """A FastAPI application that opens its index at start-up, and says in a sentence why it cannot."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(
            title="boiler",
            version=__version__,
            description=DESCRIPTION,
            openapi_tags=_TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            lifespan=_held_open,
            redirect_slashes=False,
            docs_url=None,  # its page loads from other hosts; ours stands in `manual`
            redoc_url=None,
            responses={
                "4XX": {"description": "Refused, and why."} | _PROBLEM,
                503: {"description": "Not now.", "content": {"application/json": {"example": _BUSY}}} | _PROBLEM,
            },
        )
        self.settings = settings
        self.state.service = None
        self._entry: ASGIApp = super().__call__
        self._open = contextlib.AsyncExitStack()
        for router in (
            search.router,
            items.router,
            relating.router,
            feedback.router,
            health.router,
            docs.router,
        ):
            self.include_router(router)
        self._nearest_route = Route("/nearest", search.nearest, methods=["POST"])
        self.add_exception_handler(BoilerError, _on_boiler)
        self.add_exception_handler(RequestValidationError, _on_validation)
        self.add_exception_handler(HTTPException, _on_http)
        self.add_exception_handler(ClientDisconnect, _on_gone)
        self.add_exception_handler(Exception, _on_anything)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._start()
            except BoilerError as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": f"boiler cannot serve: {error}"})
                return
        await self._entry(scope, receive, send)

    async def _start(self) -> None:
        """Reads the settings where none were given, opens the index, and puts the edge before the routes."""
        settings = self.settings or settings_module.load()
        self.state.service = opened = await self._open.enter_async_context(state.opened(settings))
        lines = None if settings.log == "none" else LogLines(settings.log)
        if lines is not None:
            self._open.callback(lines.write)
        entry: ASGIApp = self._short_way
        if settings.cors_origins:
            entry = CORSMiddleware(
                entry,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "Range"],
                expose_headers=["X-Request-ID", "X-Boiler-Engine", "X-Boiler-Generation", "Content-Range"],
            )
        self._entry = Edge(entry, settings, opened.meters, lines)
        self.openapi_schema = None
        _write_logs()

    async def _short_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /nearest` without the framework's layers, which cost about as much as its search; all else through
        them. Both ways give the same answers, errors included."""
        if scope["type"] != "http" or scope["path"] != "/nearest" or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        scope["app"], scope["route"] = self, self._nearest_route
        request = Request(scope, receive, send)
        try:
            response = await search.nearest(request)
        except HTTPException as error:
            response = await _on_http(request, error)
        except BoilerError as error:
            response = await _on_boiler(request, error)
        except ClientDisconnect as error:
            response = await _on_gone(request, error)
        except Exception as error:
            await (await _on_anything(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)

    def allowed(self, path: str) -> list[str]:
        """The methods of a path; Starlette tells those of the first route alone that has it."""
        described = self.openapi()["paths"].items()
        return sorted({name.upper() for one, names in described if compile_path(one)[0].match(path) for name in names})

    def openapi(self) -> dict[str, Any]:
        """The description of the API; of a started service with its own lengths and limits in it."""
        if self.openapi_schema is None:
            schema = super().openapi()
            openapi.describe(schema, self.state.service)
            self.openapi_schema = schema
        return self.openapi_schema


@contextlib.asynccontextmanager
async def _held_open(app: FastAPI) -> AsyncIterator[None]:
    assert isinstance(app, Web)
    async with app._open:
        yield
    app.state.service = None


def _request_id(request: Request) -> str | None:
    found: str | None = request.scope.get("state", {}).get("request_id")
    return found


async def _on_boiler(request: Request, error: Exception) -> Response:
    assert isinstance(error, BoilerError)
    problem = problems.of_boiler(error)
    if problem.status_code >= 500:  # the answer keeps the reason to itself, and says that it stands here
        log.error("%s: %s", _request_id(request), error)
    return problems.response(problem, _request_id(request))


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problems.response(requests.of_validation(error.errors(), base="parameters"), _request_id(request))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and isinstance(request.app, Web):
        error = HTTPException(405, headers={"Allow": ", ".join(request.app.allowed(request.scope["path"]))})
    if not isinstance(error, problems.Problem) and error.status_code in _TOLD:
        error = HTTPException(error.status_code, _TOLD[error.status_code], error.headers)
    return problems.response(problems.of_http(error), _request_id(request))


async def _on_gone(request: Request, error: Exception) -> Response:
    """Nobody reads it; it is what the log line and the count say."""
    return Response(None, 499)


async def _on_anything(request: Request, error: Exception) -> Response:
    """Starlette raises the error again after this, so that the server's log has its trace."""
    problem = problems.Problem(500, "internal-error", "The service could not answer; its log says why.")
    return problems.response(problem, _request_id(request))


def _write_logs() -> None:
    """Lines of the service and its requests to stderr, unless whoever runs it has set logging up already."""
    root = logging.getLogger("boiler")
    if not root.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)

"""The ASGI application: an index of sounds, served over HTTP. ::

    BOILER_MODEL_DIR=exp/mine/vqvae_012/BagTopVQVAE uvicorn boiler.api.web:app --workers 6
    curl 'localhost:8000/nearest?k=3' -H 'Content-Type: application/json' -d '{"embedding": [0.1, ...]}'

`BoilerApp` reads its settings (`boiler.service.settings`) when the server starts it, not when it is imported. ``/docs``
describes every route with examples that work. Every error is a problem document (`boiler.service.problems`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boiler import __version__
from boiler.errors import BoilerError
from boiler.service import openapi, playlist, policy, problems, schemas, state
from boiler.service import settings as settings_module
from boiler.service.access_log import AccessLog
from boiler.service.middleware import AdmissionMiddleware, RequestMiddleware
from boiler.service.routes import (
    docs,
    duplicates,
    explain,
    failures,
    feedback,
    health,
    identify,
    items,
    locate,
    map,
    paths,
    search,
    tags,
)
from boiler.service.settings import Settings

log = logging.getLogger("boiler")

DESCRIPTION = """\
Finds sounds that sound alike.

1. `GET /model` returns the length of a vector and the limits of one request.
2. `POST /nearest` searches by a vector, `POST /nearest/audio` by an uploaded sound, and `GET /items/{n}/nearest` by an
   item of the index. Results are ordered by distance, nearest first.
3. `GET /items/{n}/audio` plays an item.

The *distance* is `sqrt(2 (1 - cosine similarity))`, 0 to 2; smaller is nearer. Errors are problem documents (RFC 9457)
with a stable `type`. Where API keys are required, send `X-API-Key: KEY` or `Authorization: Bearer KEY`. Deprecated
fields are old names, which will be removed in the next version.
"""

_TAGS = [
    {"name": "search", "description": "Find similar sounds"},
    {"name": "items", "description": "The sounds of the index: list, play, draw"},
    {"name": "relations", "description": "Explanations, paths, near-duplicates, occurrences, the map"},
    {"name": "feedback", "description": "Good and bad results"},
    {"name": "tags", "description": "What a sound is, by a model and by people"},
    {"name": "service", "description": "Index, probes, metrics"},
]

_PROBLEM: dict[str, Any] = {"model": schemas.ProblemDetails}
_BUSY_EXAMPLE = {
    "type": "urn:boiler:problem:busy",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "too many requests are in progress; try again",
    "request_id": "2f1c9a40d3b86e57",
}
_ROUTING_DETAILS = {
    404: "there is no such path; /docs describes all paths",
    405: "this path does not support this method; the header Allow lists the methods",
}


class BoilerApp(FastAPI):
    """The FastAPI application. It opens its index at start-up; if it cannot, the server logs one sentence and exits.

    Arguments:
        settings: default: from the environment, at start-up
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(
            title="boiler",
            version=__version__,
            description=DESCRIPTION,
            openapi_tags=_TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            lifespan=_lifespan,
            redirect_slashes=False,
            docs_url=None,  # FastAPI's page loads scripts from other hosts; see routes/docs
            redoc_url=None,
            responses={
                "4XX": {"description": "The request was refused."} | _PROBLEM,
                503: {
                    "description": "The service is busy or not ready.",
                    "content": {"application/json": {"example": _BUSY_EXAMPLE}},
                }
                | _PROBLEM,
            },
        )
        self.settings = settings
        self.state.service = None
        self._asgi: ASGIApp = super().__call__
        self._exit_stack = contextlib.AsyncExitStack()
        # FastAPI's `routes` contains included routers, not their routes.
        self.api_routes = [route for route in self.routes if isinstance(route, Route)]
        for route in self.api_routes:  # /openapi.json
            policy.requires(scope=None)(route.endpoint)
        for module in (
            search,
            items,
            failures,
            explain,
            paths,
            duplicates,
            map,
            locate,
            feedback,
            tags,
            identify,
            health,
            docs,
        ):
            self.include_router(module.router)
            self.api_routes += [route for route in module.router.routes if isinstance(route, Route)]
        self._route_table = policy.RouteTable(self.api_routes)
        self.add_exception_handler(BoilerError, _on_boiler_error)
        self.add_exception_handler(RequestValidationError, _on_validation_error)
        self.add_exception_handler(HTTPException, _on_http_exception)
        self.add_exception_handler(ClientDisconnect, _on_disconnect)
        self.add_exception_handler(Exception, _on_unhandled_exception)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._start()
            except BoilerError as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": f"boiler cannot serve: {error}"})
                return
        if self.root_path:
            scope["root_path"] = self.root_path
        await self._asgi(scope, receive, send)

    async def _start(self) -> None:
        """Read the settings, open the index, and build the middleware."""
        settings = self.settings or settings_module.load()
        service = await self._exit_stack.enter_async_context(state.open_service(settings))
        self.state.service = service
        self.root_path = settings.root_path
        access_log = None if settings.log == "none" else AccessLog(settings.log)
        if access_log is not None:
            self._exit_stack.callback(access_log.flush)
        app: ASGIApp = AdmissionMiddleware(self._dispatch, settings, self._route_table)
        if settings.cors_origins:
            # Around the admission, so that pages can read its errors, too.
            app = CORSMiddleware(
                app,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "Range"],
                expose_headers=["X-Request-ID", "X-Boiler-Engine", "X-Boiler-Generation", "Content-Range"],
            )
        self._asgi = RequestMiddleware(app, service.metrics, access_log)
        self.openapi_schema = None
        _configure_logging()

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `POST /nearest` directly, everything else through FastAPI, whose layers cost about as much as a search.
        Both ways give the same responses, errors included. HEAD is answered by the GET route where there is no
        other."""
        if scope["type"] == "http" and playlist.is_wanted(scope):
            await playlist.respond(self._answer, scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route_table.find(scope) if scope["type"] == "http" else None
        if route is None or not isinstance(route, Route):
            if scope["type"] == "http" and (location := self._without_slash(scope)) is not None:
                await RedirectResponse(location, 308)(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
            return
        methods = route.methods or set()
        if scope["method"] == "HEAD" and "HEAD" not in methods and "GET" in methods:
            as_get = {**scope, "method": "GET"}
            await super().__call__(as_get, receive, _without_body(send))
            scope["route"] = as_get.get("route")
            return
        if scope["method"] != "POST" or route.endpoint is not search.nearest_to_vector:
            await super().__call__(scope, receive, send)
            return
        scope["app"], scope["route"] = self, route
        request = Request(scope, receive, send)
        try:
            response = await search.nearest_to_vector(request)
        except HTTPException as error:
            response = await _on_http_exception(request, error)
        except BoilerError as error:
            response = await _on_boiler_error(request, error)
        except ClientDisconnect as error:
            response = await _on_disconnect(request, error)
        except Exception as error:
            await (await _on_unhandled_exception(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)

    def _without_slash(self, scope: Scope) -> str | None:
        """Where a request with trailing slashes is redirected to, if there is a route without them."""
        path = scope["path"].rstrip("/")
        if path == scope["path"] or self._route_table.find({**scope, "path": path}) is None:
            return None
        root = scope.get("root_path", "")
        location = quote(path if root and path.startswith(f"{root}/") else root + path)
        # One leading slash: two would name another host.
        location = f"/{location.lstrip('/')}"
        query = scope.get("query_string", b"").decode("latin-1")
        return f"{location}?{query}" if query else location

    def allowed_methods(self, scope: Scope) -> list[str]:
        """The methods of all routes with the request's path; Starlette reports those of the first route only."""
        methods: set[str] = set()
        for route in self.api_routes:
            if route.matches(scope)[0] is not Match.NONE:
                methods |= route.methods or set()
        return sorted(methods | ({"HEAD"} if "GET" in methods else set()))

    def openapi(self) -> dict[str, Any]:
        """The API description; once the service has started, with its vector length and limits."""
        if self.openapi_schema is None:
            schema = super().openapi()
            open_paths = {route.path for route in self.api_routes if policy.policy_of(route).scope is None}
            openapi.complete(schema, self.state.service, open_paths)
            self.openapi_schema = schema
        return self.openapi_schema


def _without_body(send: Send) -> Send:
    """A `send` for the response to a HEAD request."""

    async def send_head(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
        elif not message.get("more_body"):
            await send({"type": "http.response.body", "body": b""})

    return send_head


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    assert isinstance(app, BoilerApp)
    async with app._exit_stack:
        yield
    app.state.service = None


def _request_id(request: Request) -> str | None:
    request_id: str | None = request.scope.get("state", {}).get("request_id")
    return request_id


async def _on_boiler_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BoilerError)
    problem = problems.from_boiler_error(error)
    if problem.status_code >= 500:  # the response does not contain the reason
        log.error("%s: %s", _request_id(request), error)
    return problems.response(problem, _request_id(request))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problems.response(problems.from_validation_errors(error.errors()), _request_id(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and isinstance(request.app, BoilerApp):
        error = HTTPException(405, headers={"Allow": ", ".join(request.app.allowed_methods(request.scope))})
    if not isinstance(error, problems.Problem) and error.status_code in _ROUTING_DETAILS:
        error = HTTPException(error.status_code, _ROUTING_DETAILS[error.status_code], error.headers)
    return problems.response(problems.from_http_exception(error), _request_id(request))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """The client has disconnected, so nobody receives this response; its status is for the log and the metrics."""
    return Response(None, 499)


async def _on_unhandled_exception(request: Request, error: Exception) -> Response:
    """Starlette raises the exception again afterwards, so that the server logs its traceback."""
    return problems.response(problems.internal_error(), _request_id(request))


def _configure_logging() -> None:
    """Log to stderr, unless logging is configured already."""
    root = logging.getLogger("boiler")
    if not root.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)

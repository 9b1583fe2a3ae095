"""Problem details (RFC 9457): the form of every error that the service returns.

``type`` is stable: ``urn:boiler:problem:`` and the error's slug (`boiler.errors`) or the name of the HTTP status.
``detail`` is a sentence for users. No problem contains a path of this machine, a stack trace, or the request body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from boiler.errors import (
    BoilerError,
    FeedbackError,
    LinkError,
    ModelDirError,
    QueryError,
    SoundError,
    SoundLimitError,
    SoundNotHereError,
    UnknownItemError,
    UnknownNameError,
    WrongEncoderError,
)

PROBLEM_MEDIA_TYPE = "application/problem+json"

_MAX_FAULTS = 10  # a vector of 512 strings is one mistake, not 512

# Subclasses come before their base classes: the first match counts.
_STATUS: tuple[tuple[type[BoilerError], int], ...] = (
    (UnknownItemError, 404),
    (SoundNotHereError, 404),
    (WrongEncoderError, 409),
    (FeedbackError, 503),
    (LinkError, 422),
    (QueryError, 422),
    (SoundLimitError, 413),
    (SoundError, 422),
    (UnknownNameError, 422),
    (ModelDirError, 503),
)


class Problem(HTTPException):
    """An error that is returned as a problem document.

    Arguments:
        status: HTTP status
        slug: the last part of ``type``
        detail: a sentence for users
        errors: the faulty parts of the request; each has a ``detail``, and a JSON ``pointer`` into the body or the
            name of a query ``parameter``
        headers: extra response headers
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.slug = slug
        self.errors = list(errors)


def internal_error() -> Problem:
    """The problem for an unhandled exception."""
    return Problem(500, "internal-error", "The service could not answer; its log says why.")


def from_boiler_error(error: BoilerError) -> Problem:
    """Map a `BoilerError` to a problem. Messages that contain paths of this machine are replaced."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        return internal_error()
    if isinstance(error, ModelDirError):  # contains a path
        return Problem(
            503, error.slug, "The index cannot be read; the service's log says why.", headers={"Retry-After": "2"}
        )
    if isinstance(error, SoundNotHereError):  # contains a path
        why = "the audio file is not available: this service has no folder of sounds, or the file was deleted"
        return Problem(404, error.slug, why)
    if isinstance(error, FeedbackError):  # contains a path
        return Problem(503, error.slug, "Feedback cannot be read or stored here; the service's log says why.")
    # The message of a SoundError begins with the file's path; `reason` does not contain it.
    detail = f"the sound cannot be used: {error.reason}" if isinstance(error, SoundError) else str(error)
    return Problem(status, error.slug, detail)


def from_http_exception(error: HTTPException) -> Problem:
    """Map an error of Starlette or FastAPI (404, 405, 413 ...) to a problem."""
    if isinstance(error, Problem):
        return error
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(error.status_code, phrase.lower().replace(" ", "-"), error.detail or phrase, headers=error.headers)


def from_validation_errors(errors: Iterable[Any]) -> Problem:
    """Map the errors of a pydantic validation to a problem that does not repeat the input.

    Arguments:
        errors: as FastAPI's `RequestValidationError.errors` returns them: locations begin with query, path, header or
            body
    """
    faults = []
    for error in errors:
        where, *steps = error["loc"]
        if error["type"] == "json_invalid":
            return Problem(422, "invalid-json", f"the body is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}")
        if where == "body":
            pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1")[:100] for step in steps)
            faults.append({"pointer": pointer, "detail": error["msg"]})
        else:
            faults.append({"parameter": str(steps[0])[:100] if steps else "", "detail": error["msg"]})
    first = faults[0]
    name = first.get("parameter") or first.get("pointer") or "the body"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(422, "invalid-request", f"{name}: {first['detail']}{more}", errors=faults[:_MAX_FAULTS])


def located_errors(error: ValidationError, where: Literal["query", "body"]) -> list[dict[str, Any]]:
    """The errors of a model that was validated without FastAPI, with locations as FastAPI gives them."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**one, "loc": (where, *one["loc"])} for one in errors]


def invalid_parameter(name: str, why: str) -> Problem:
    """The 422 for a query parameter that has a wrong value, or does not exist.

    >>> invalid_parameter("k", "must be a whole number from 1 to 100").detail
    'k must be a whole number from 1 to 100'
    """
    return Problem(422, "invalid-request", f"{name} {why}", errors=[{"parameter": name, "detail": why}])


def invalid_body(pointer: str, why: str, *, slug: str = "invalid-request", detail: str | None = None) -> Problem:
    """The 422 for a wrong value in the body. `pointer` is a JSON pointer; `detail` is by default `why`."""
    return Problem(422, slug, why if detail is None else detail, errors=[{"pointer": pointer, "detail": why}])


def response(problem: Problem, request_id: str | None = None) -> Response:
    """The problem as an HTTP response."""
    body: dict[str, object] = {
        "type": f"urn:boiler:problem:{problem.slug}",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = problem.errors
    if request_id is not None:
        body["request_id"] = request_id
    return Response(orjson.dumps(body), problem.status_code, problem.headers, PROBLEM_MEDIA_TYPE)

"""Problem details (RFC 9457): how every error of the service looks.

``type`` is stable and made of the error's ``slug`` (`boiler.errors`) or of the status; ``detail`` is a sentence for a
person. Nothing of the service's inside ever stands in one: no path of the machine, no trace, no echo of the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from boiler.errors import (
    BoilerError,
    FeedbackError,
    ModelDirError,
    QueryError,
    SoundError,
    SoundLimitError,
    SoundNotHereError,
    UnknownItemError,
    UnknownNameError,
)

MEDIA_TYPE = "application/problem+json"

# The most particular kind stands first.
_STATUS: tuple[tuple[type[BoilerError], int], ...] = (
    (UnknownItemError, 404),
    (SoundNotHereError, 404),
    (FeedbackError, 503),
    (QueryError, 422),
    (SoundLimitError, 413),
    (SoundError, 422),
    (UnknownNameError, 422),
    (ModelDirError, 503),
)


class Problem(HTTPException):
    """An error to be answered as a problem. ``errors``: which parts of the request are meant, each with a JSON
    pointer or the name of a parameter, and what is wrong with it."""

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


def of_boiler(error: BoilerError) -> Problem:
    """The problem that one of boiler's own errors is told as."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        return Problem(500, "internal-error", "The service could not answer; its log says why.")
    if isinstance(error, ModelDirError):  # it names folders of this machine
        return Problem(
            503, error.slug, "The index cannot be read; the service's log says why.", headers={"Retry-After": "2"}
        )
    if isinstance(error, SoundNotHereError):  # so does this
        why = "the sounds are not at hand: this service has no folder of sounds, or the files are gone"
        return Problem(404, error.slug, why)
    if isinstance(error, FeedbackError):  # and this
        return Problem(503, error.slug, "Judgements cannot be read or kept here; the service's log says why.")
    # A sound's error names the sound by the path on this machine: only the reason goes out.
    detail = f"the sound cannot be used: {error.reason}" if isinstance(error, SoundError) else str(error)
    return Problem(status, error.slug, detail)


def of_http(error: HTTPException) -> Problem:
    """The problem for an error that a framework raised (404, 405, 413 ...)."""
    if isinstance(error, Problem):
        return error
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(error.status_code, phrase.lower().replace(" ", "-"), error.detail or phrase, headers=error.headers)


def response(problem: Problem, request_id: str | None = None) -> Response:
    """The answer on the wire."""
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
    return Response(orjson.dumps(body), problem.status_code, problem.headers, MEDIA_TYPE)

"""From a request to what it asks: bodies read strictly, and what is wrong with them said to a person.

Bodies are read here and not by FastAPI, whose own answer to a wrong one repeats the input (all of a long vector) and
fails on a NaN in it; and because one pass of pydantic over the bytes is quicker than a parse and a validation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from boiler.arrays import Float64Array
from boiler.search import filters
from boiler.service.http_protocol import UNDER_WAY
from boiler.service.problems import Problem

Body = TypeVar("Body", bound=BaseModel)

MOST_CONDITIONS = 500
_PLAIN_K = re.compile(rb"k=([0-9]{1,9})")
_MOST_FAULTS = 10  # a vector of 512 strings is one mistake, not 512


async def body_of(request: Request, model: type[Body]) -> Body:
    """The request's JSON as a model.

    Raises:
        Problem: 415 not declared as JSON; 422 not JSON, or not of the model's form; 413, 408
    """
    kind = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")
    if kind != b"application/json" and kind.split(b";")[0].strip().lower() != b"application/json":
        raise Problem(415, "unsupported-media-type", "send JSON, with the header Content-Type: application/json")
    try:
        return model.model_validate_json(await _read(request))
    except ValidationError as error:
        raise of_validation(error.errors(include_url=False, include_context=False, include_input=False)) from None


async def _read(request: Request) -> bytes:
    """The whole body; Starlette's own way to it takes longer than reading the JSON in it."""
    parts = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def of_validation(errors: Iterable[Any], base: str | None = None) -> Problem:
    """The problem for what pydantic found wrong; never with the input itself."""
    faults = []
    for one in errors:
        where, *rest = one["loc"] or ("",)
        why = one["msg"]
        if base is None and one["type"] == "json_invalid":
            return Problem(422, "invalid-json", f"the body is not JSON: {why.removeprefix('Invalid JSON: ')}")
        if where in ("query", "path", "header"):
            faults.append({"parameter": str(rest[0]) if rest else "", "detail": why})
        else:
            steps = one["loc"] if where != "body" else rest
            pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1")[:100] for step in steps)
            faults.append({"pointer": pointer, "detail": why})
    first = faults[0]
    name = first.get("parameter") or first.get("pointer") or "the body"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(422, "invalid-request", f"{name}: {first['detail']}{more}", errors=faults[:_MOST_FAULTS])


def filter_of(document: dict[str, Any] | None) -> filters.Filter | None:
    """The filter in a body. SQLite takes conditions a thousand deep, so their number is bounded.

    Raises:
        Problem: 422 more conditions than `MOST_CONDITIONS`
        QueryError: not a filter
    """
    if document is None:
        return None
    waiting: list[Any] = [document]
    conditions = 0
    while waiting:
        one = waiting.pop()
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        conditions += len(one) if isinstance(one, dict) else 0
        waiting += [part for part in inner if isinstance(part, dict | list)]
    if conditions > MOST_CONDITIONS:
        why = f"a filter has at most {MOST_CONDITIONS} conditions"
        raise Problem(422, "invalid-request", why, errors=[{"pointer": "/where", "detail": why}])
    return filters.from_json(document)


def vector_of(numbers: list[float], dim: int, pointer: str = "/embedding") -> Float64Array:
    """The vector as an array.

    Raises:
        Problem: 422 another length than the index's, or no direction (all zeros)
    """
    if len(numbers) != dim:
        why = f"the vector has {len(numbers)} numbers, this index has {dim}"
        raise Problem(422, "wrong-length", why, errors=[{"pointer": pointer, "detail": why}])
    vector = np.array(numbers, np.float64)
    if not 1e-200 < np.vdot(vector, vector) < 1e200:  # its squares leave what numbers can be; length counts for nothing
        size = np.abs(vector).max()
        if size < 1e-300:
            why = "the vector is all zeros: it has no direction to compare"
            raise Problem(422, "zero-vector", why, errors=[{"pointer": pointer, "detail": why}])
        vector /= size
    return vector


def k_of(request: Request, most: int, default: int = 10, known: Collection[str] = ("k",)) -> int:
    """The `k` of the address.

    Raises:
        Problem: 422 not a whole number from 1 to `most`, or a parameter that there is not
    """
    if plain := _PLAIN_K.fullmatch(request.scope["query_string"]):  # what nearly all ask, without a parser
        k = int(plain[1])
        if 1 <= k <= most:
            return k
    k = default
    for name, value in request.query_params.items():
        if name not in known:
            why = f"is not a parameter of this; known: {', '.join(known)}"
            raise Problem(
                422, "invalid-request", f"{name[:100]!a} {why}", errors=[{"parameter": name[:100], "detail": why}]
            )
        if name == "k":
            if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
                why = f"must be a whole number from 1 to {most}"
                raise Problem(422, "invalid-request", f"k {why}", errors=[{"parameter": "k", "detail": why}])
            k = int(value)
    return k


def is_alone(request: Request) -> bool:
    """Whether the server says that no other request is at work. Only `boiler serve` says so."""
    return bool(request.scope.get("extensions", {}).get(UNDER_WAY) == 1)


def takes(header: str, name: str) -> bool:
    """Whether an `Accept` or `Accept-Encoding` lists this by its name, and does not refuse it (q=0).

    >>> takes("br, gzip;q=0.5", "gzip"), takes("gzip; q=0.0", "gzip"), takes("*", "gzip")
    (True, False, False)
    """
    for one in header.lower().split(","):
        kind, *more = (part.strip() for part in one.split(";"))
        if kind == name:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", part) for part in more)
    return False


async def upload_of(request: Request) -> bytes:
    """The sound in the part `file` of a form.

    Raises:
        Problem: 415 not a form; 422 no such part; 413, 408
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(
            415, "unsupported-media-type", "send the sound as the part `file` of a form: curl -F file=@sound.wav …"
        )
    # The name that the client gives is not looked at: it could be any path.
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            why = "the form has no part `file` with a sound in it"
            raise Problem(422, "invalid-request", why, errors=[{"pointer": "/file", "detail": why}])
        return await file.read()

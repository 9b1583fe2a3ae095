"""Reading requests: bodies, query parameters and uploads, validated strictly.

JSON bodies are validated here and not by FastAPI: FastAPI's error response repeats the input (all of a long vector) and
fails on a NaN in it, and one pass of pydantic over the bytes is faster than parsing and then validating.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import re
from collections.abc import AsyncIterator, Collection
from typing import Any, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request

from boiler.arrays import Float64Array
from boiler.search import filters
from boiler.service import problems
from boiler.service.http_protocol import ACTIVE_REQUESTS
from boiler.service.problems import Problem
from boiler.service.state import service_of_request

log = logging.getLogger("boiler.service")

Body = TypeVar("Body", bound=BaseModel)

MAX_FILTER_CONDITIONS = 500
MAX_SOUNDS = 8
"""Sounds and pictures in one query."""
MAX_BODY_ON_LOOP = 65_536
"""A larger body takes milliseconds to validate."""
_K_ALONE = re.compile(rb"k=([0-9]{1,9})")


async def read_json(request: Request, model: type[Body]) -> Body:
    """Validate the JSON body of a request.

    Raises:
        Problem: 415 without ``Content-Type: application/json``; 422 not JSON, or not valid; 413, 408
    """
    content_type = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")
    if content_type != b"application/json" and content_type.split(b";")[0].strip().lower() != b"application/json":
        raise Problem(415, "unsupported-media-type", "send JSON, with the header Content-Type: application/json")
    _refuse_encoded(request)
    body = await _read_body(request)
    if len(body) <= MAX_BODY_ON_LOOP:
        return _validated(body, model)
    return await service_of_request(request).run_heavy(functools.partial(_validated, body, model))


def _validated(body: bytes, model: type[Body]) -> Body:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise problems.from_validation_errors(problems.located_errors(error, "body")) from None


async def read_query(request: Request, model: type[Body]) -> tuple[Body, dict[str, bytes]]:
    """The JSON body of a query, and the files that come with it, sounds and pictures: a form has the JSON in the part
    `query`, and up to `MAX_SOUNDS` files.

    Returns: the body, and the content of each file by the name of its part

    Raises: Problem: as `read_json`; 422 no such part, or too many
    """
    if not _is_form(request):
        return await read_json(request, model), {}
    _refuse_encoded(request)
    settings = service_of_request(request).settings
    async with _form(request, max_files=MAX_SOUNDS, max_part_size=settings.max_body_bytes) as form:
        text = form.get("query")
        if not isinstance(text, str):
            raise problems.invalid_body("/query", "the form has no part `query` with the JSON of the query")
        sounds = {name: await part.read() for name, part in form.items() if isinstance(part, UploadFile)}
    body = await service_of_request(request).run_heavy(functools.partial(_validated, text.encode(), model))
    return body, sounds


def _refuse_encoded(request: Request) -> None:
    """Raises: Problem: 415 the body is compressed: its limit is one of the bytes that are sent"""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        why = f"the body is encoded as {encoding[:50]!a}; send it without Content-Encoding"
        raise Problem(415, "unsupported-encoding", why, headers={"Accept-Encoding": "identity"})


@contextlib.asynccontextmanager
async def _form(request: Request, max_files: int, max_part_size: int) -> AsyncIterator[FormData]:
    """The form of a request; its files are written to the temporary folder where they are large.

    Raises: Problem: 503 there is no room; 400, 413, 408
    """
    try:
        async with request.form(max_files=max_files, max_fields=1, max_part_size=max_part_size) as form:
            yield form
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        log.error("an upload could not be stored: %s", error)
        why = "there is no disk space for the upload; the service's log says where"
        raise Problem(503, "no-room", why, headers={"Retry-After": "60", "Connection": "close"}) from None


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read_body(request: Request) -> bytes:
    """As `Request.body`, which takes longer than parsing the JSON in it."""
    chunks = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_query(request: Request, model: type[Body]) -> Body:
    """Validate the query string of a request that is not routed by FastAPI.

    Raises: Problem: 422
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise problems.from_validation_errors(problems.located_errors(error, "query")) from None


def parse_filter(document: dict[str, Any] | None) -> filters.Filter | None:
    """The filter in a body. SQLite accepts expressions up to 1,000 deep, so the number of conditions is bounded.

    Raises:
        Problem: 422 more conditions than `MAX_FILTER_CONDITIONS`
        QueryError: not a valid filter
    """
    if document is None:
        return None
    pending: list[Any] = [document]
    n_conditions = 0
    while pending:
        one = pending.pop()
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        n_conditions += len(one) if isinstance(one, dict) else 0
        pending += [part for part in inner if isinstance(part, dict | list)]
    if n_conditions > MAX_FILTER_CONDITIONS:
        raise problems.invalid_body("/where", f"a filter has at most {MAX_FILTER_CONDITIONS} conditions")
    return filters.from_json(document)


def parse_filter_text(text: str | None) -> filters.Filter | None:
    """The filter in a query parameter, which is JSON. Raises: as `parse_filter`; Problem: 422 not a JSON object"""
    if text is None:
        return None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise problems.invalid_parameter("where", f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise problems.invalid_parameter("where", 'must be a JSON object, like {"label": "dog"}')
    return parse_filter(document)


def parse_vector(numbers: list[float], dim: int, pointer: str = "/embedding") -> Float64Array:
    """The vector as an array. Its length is arbitrary, so vectors whose squares overflow or underflow are rescaled.

    Arguments:
        pointer: where in the body the vector is

    Raises:
        Problem: 422 another number of dimensions than the index's, or all zeros
    """
    if len(numbers) != dim:
        why = f"the vector has {len(numbers)} numbers, this index has {dim}"
        raise problems.invalid_body(pointer, why, slug="wrong-length")
    vector = np.array(numbers, np.float64)
    if not 1e-200 < np.vdot(vector, vector) < 1e200:
        largest = np.abs(vector).max()
        if largest < 1e-300:
            why = "the vector is all zeros: it has no direction to compare"
            raise problems.invalid_body(pointer, why, slug="zero-vector")
        vector /= largest
    return vector


def parse_k(request: Request, max_k: int, default: int = 10, known: Collection[str] = ("k",)) -> int:
    """The query parameter `k`.

    Arguments:
        known: the parameters that the route accepts

    Raises:
        Problem: 422 not a whole number from 1 to `max_k`, or an unknown parameter
    """
    if match := _K_ALONE.fullmatch(request.scope["query_string"]):  # nearly all requests; no need to parse
        k = int(match[1])
        if 1 <= k <= max_k:
            return k
    k = default
    for name, value in request.query_params.items():
        if name not in known:
            why = f"unknown parameter; known: {', '.join(known)}"
            fault = {"parameter": name[:100], "detail": why}
            raise Problem(422, "invalid-request", f"{name[:100]!a}: {why}", errors=[fault])
        if name == "k":
            if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= max_k):
                raise problems.invalid_parameter("k", f"must be a whole number from 1 to {max_k}")
            k = int(value)
    return k


def is_only_request(request: Request) -> bool:
    """Whether the server reports that this is its only request in progress. Only `boiler serve` does."""
    return bool(request.scope.get("extensions", {}).get(ACTIVE_REQUESTS) == 1)


def accepts(header: str, name: str) -> bool:
    """Whether an `Accept` or `Accept-Encoding` header lists `name` explicitly, and not with q=0.

    >>> accepts("br, gzip;q=0.5", "gzip"), accepts("gzip; q=0.0", "gzip"), accepts("*", "gzip")
    (True, False, False)
    """
    for entry in header.lower().split(","):
        listed, *parameters = (part.strip() for part in entry.split(";"))
        if listed == name:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False


async def read_upload(request: Request) -> bytes:
    """The content of the form part `file`. Its file name is ignored.

    Raises:
        Problem: 415 not a form; 422 no such part; 413, 408
    """
    if not _is_form(request):
        why = "send the file as the part `file` of a form: curl -F file=@sound.wav …"
        raise Problem(415, "unsupported-media-type", why)
    _refuse_encoded(request)
    async with _form(request, max_files=1, max_part_size=2**20) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise problems.invalid_body("/file", "the form has no part `file` with a file in it")
        return await file.read()

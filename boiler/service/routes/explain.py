"""The route that explains why two items are similar. Its response models are derived from `boiler.search.explain`."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, create_model
from starlette.responses import Response

from boiler.search import explain
from boiler.search.seeds import ByItem
from boiler.service import media, problems, responses, schemas
from boiler.service.state import service_of_request

router = APIRouter(tags=["relations"])

_FIELDS: dict[str, dict[str, Any]] = {
    "kind": {"description": "codes: the encoder counts codes of a codebook; windows: it does not"},
    "similarity": {"description": "cosine similarity", "examples": [0.93]},
    "codes": {"description": "contribution of each code of the codebook, largest first"},
    "code": {"description": "index in the codebook", "examples": [17]},
    "share": {"description": "contribution to the similarity; all contributions sum to it", "examples": [0.31]},
    "query_spans": {"description": "where the code occurs in the first sound"},
    "answer_spans": {"description": "where the code occurs in the second sound"},
    "windows": {"description": "pairs of windows that match, best first"},
    "query": {"description": "part of the first sound"},
    "answer": {"description": "part of the second sound"},
    "query_curve": {"description": "similarity of each short part of the first sound to the second sound"},
    "answer_curve": {"description": "similarity of each short part of the second sound to the first sound"},
    "start_s": {"examples": [0.0]},
    "end_s": {"examples": [2.5]},
}
"""OpenAPI descriptions by field name. Each field of the dataclasses has one."""

_OLD_NAMES = {
    "codes": "words",
    "code": "word",
    "query_spans": "query_parts",
    "answer_spans": "answer_parts",
    "query_curve": "query_course",
    "answer_curve": "answer_course",
}
"""Deprecated fields, which responses contain as well for one version."""


@functools.cache
def _model(kind: type) -> type[BaseModel]:
    """The response model of a dataclass or named tuple: tuples are lists, and named tuples objects."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields  # type: ignore[attr-defined]
    fields: dict[str, Any] = {name: (_json_type(hints[name]), Field(**_FIELDS[name])) for name in names}
    for new, old in _OLD_NAMES.items():
        if new in fields:
            fields[old] = (_json_type(hints[new]), Field(description=f"old name of {new}", deprecated=True))
    summary = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return create_model(kind.__name__, __base__=schemas.ResponseModel, __doc__=summary, **fields)


def _json_type(hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        element, _ = typing.get_args(hint)
        return list[_json_type(element)]  # type: ignore[misc]
    if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return _model(hint)
    return hint


def _with_old_names(content: Any) -> Any:
    if isinstance(content, list):
        return [_with_old_names(one) for one in content]
    if not isinstance(content, dict):
        return content
    fields = {name: _with_old_names(value) for name, value in content.items()}
    return fields | {old: fields[new] for new, old in _OLD_NAMES.items() if new in fields}


ExplanationResponse = _model(explain.Explanation)


class ExplainQuery(schemas.PartQuery):
    """The two items to compare, and a part of the first."""

    n: int = Field(ge=0, lt=2**63, description="number of the first item, the query", examples=[0])
    answer: int = Field(ge=0, lt=2**63, description="number of the second item, the result", examples=[1])


@router.get("/explain", operation_id="explain", response_model=ExplanationResponse)
async def explain_items(request: Request, query: Annotated[ExplainQuery, Query()]) -> Response:
    """Why two items are similar: which windows match, which codes contribute, and when. Reads the audio files."""
    service = service_of_request(request)
    for n in (query.n, query.answer):
        await service.in_thread(functools.partial(media.find_file, service.nearest, n))
    seed = ByItem(query.n, query.start_s, query.end_s)
    if not query.is_whole:  # the part has to be embedded
        item = await service.in_thread(functools.partial(service.nearest.item, query.n))
        end_s = item.duration_s if query.end_s is None else min(query.end_s, item.duration_s)
        if end_s - query.start_s > service.settings.max_upload_s:
            why = f"a part has at most {service.settings.max_upload_s:g} s; give a shorter part, or the whole item"
            raise problems.invalid_parameter("end_s", why)
    explanation = await service.run_long(functools.partial(service.nearest.explain, seed, query.answer))
    return responses.json_response(_with_old_names(responses.to_json(explanation)))

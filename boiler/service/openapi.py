"""The OpenAPI description of the service: what FastAPI cannot know of it, and examples that work on this index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from boiler.service import problems, schemas
from boiler.service.auth import OPEN_PATHS
from boiler.service.routes import feedback
from boiler.service.settings import Settings
from boiler.service.state import Service


def describe(schema: dict[str, Any], service: Service | None) -> None:
    """Complete the description in place; of a started service with its own lengths, limits and items in it."""
    _describe(schema, service.nearest.dim if service else 64)
    if service is not None:
        _describe_bounds(schema, service.nearest.dim, service.settings)
        _describe_items(schema, [item.n for item in service.nearest.items(limit=2)])
    if service is None or service.settings.api_keys:
        _describe_keys(schema)


def _describe(schema: dict[str, Any], dim: int) -> None:
    """Writes into the description what FastAPI does not know: the bodies that are read by `asking`, and examples that
    work with vectors of this length."""
    known = schema["components"]["schemas"]
    for model in (schemas.NearestRequest, schemas.BatchRequest, schemas.QueryRequest, feedback.JudgementRequest):
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        known.update(own.pop("$defs", {}))
        known[model.__name__] = own
    example = [round(1.0 / dim**0.5, 4)] * dim
    known["NearestRequest"]["example"] = {"embedding": example}
    known["BatchRequest"]["example"] = {"queries": [{"embedding": example}], "k": 3}
    known["JudgementRequest"]["example"] = {"question": {"embedding": example}, "answer": 0, "like": True}
    known["QueryRequest"]["example"] = {"seeds": [{"embedding": example}], "k": 3, "diversity": 0.3}
    for path in schema["paths"].values():
        for operation in path.values():
            operation["summary"] = re.split("[.;:]", " ".join(operation["description"].split()))[0]
            for response in operation["responses"].values():
                described = response.get("content", {}).get("application/json")
                if described and described["schema"].get("$ref", "").endswith("/ProblemDetails"):
                    response["content"] = {problems.MEDIA_TYPE: described}
    for parameter in _parameters(schema):
        if examples := parameter["schema"].get("examples"):
            parameter.setdefault("example", examples[0])  # which is what the page fills in


def _describe_bounds(schema: dict[str, Any], dim: int, settings: Settings) -> None:
    """How long this index's vectors are, and how much this service takes and gives."""
    known = schema["components"]["schemas"]
    known["NearestRequest"]["properties"]["embedding"] |= {"minItems": dim, "maxItems": dim}
    for vector in known["SeedRequest"]["properties"]["embedding"]["anyOf"]:
        if vector.get("type") == "array":
            vector |= {"minItems": dim, "maxItems": dim}
    for asked in ("BatchRequest", "QueryRequest"):
        known[asked]["properties"]["k"]["maximum"] = settings.max_k
    known["BatchRequest"]["properties"]["queries"]["maxItems"] = settings.max_batch
    for parameter in _parameters(schema):
        if parameter["name"] == "k":
            parameter["schema"]["maximum"] = settings.max_k


def _describe_items(schema: dict[str, Any], numbers: list[int]) -> None:
    """Examples with items that there are. `numbers`: of two of them, or fewer."""
    if not numbers:
        return
    first, last = numbers[0], numbers[-1]
    here = {"n": first, "answer": last, "from_n": first, "to_n": last}
    for parameter in _parameters(schema):
        if parameter["name"] in here:
            parameter["example"] = here[parameter["name"]]
    schema["components"]["schemas"]["JudgementRequest"]["example"]["answer"] = last


def _parameters(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        for operation in path.values():
            yield from operation.get("parameters", ())


def _describe_keys(schema: dict[str, Any]) -> None:
    """That keys are asked, by two ways, and where they are not."""
    schema["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    schema["security"] = [{"key": []}, {"bearer": []}]
    for path in OPEN_PATHS & schema["paths"].keys():
        for operation in schema["paths"][path].values():
            operation["security"] = []

"""The OpenAPI description: what FastAPI cannot derive from the routes, and examples that work on the served index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from boiler.catalog.items import Item
from boiler.service import problems
from boiler.service.settings import Settings
from boiler.service.state import Service

_BODY_MODELS: list[type[BaseModel]] = []


def _file_form(description: str) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "required": ["file"], "properties": {"file": file}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


SOUND_FORM = _file_form("a sound file: WAV, FLAC, OGG, Opus, MP3, AIFF, M4A, MP4, WebM ...")
"""`openapi_extra` of a route that takes an upload."""

PICTURE_FORM = _file_form("a picture: JPEG, PNG, WebP, GIF, TIFF or BMP")
"""`openapi_extra` of a route that takes a picture."""


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is read by `requests.read_json`."""
    _BODY_MODELS.append(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def query_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is read by `requests.read_query`: JSON, or a form with files."""
    extra = json_body(model)
    form = {
        "type": "object",
        "required": ["query"],
        "properties": {"query": {"type": "string", "description": f"the JSON of a {model.__name__}"}},
        "additionalProperties": {
            "type": "string",
            "format": "binary",
            "description": "a sound or picture file, which a seed names by `upload`",
        },
    }
    extra["requestBody"]["content"]["multipart/form-data"] = {"schema": form}
    return extra


def complete(schema: dict[str, Any], service: Service | None, open_paths: set[str]) -> None:
    """Complete the description in place.

    Arguments:
        service: the started service, whose vector length, limits and items are filled in; None before it is started
        open_paths: the paths that need no API key
    """
    _add_bodies(schema, service.nearest.dim if service else 64)
    if service is not None:
        _add_limits(schema, service.nearest.dim, service.settings)
        _add_item_examples(schema, service.nearest.items(limit=2))
    if service is None or service.settings.api_keys:
        _add_security(schema, open_paths)


def _add_bodies(schema: dict[str, Any], dim: int) -> None:
    """Add the models of bodies that FastAPI does not read, examples with vectors of this length, and summaries."""
    components = schema["components"]["schemas"]
    for model in _BODY_MODELS:
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(own.pop("$defs", {}))
        components[model.__name__] = own
    vector = [round(1.0 / dim**0.5, 4)] * dim
    components["NearestRequest"]["example"] = {"embedding": vector}
    components["BatchRequest"]["example"] = {"queries": [{"embedding": vector}], "k": 3}
    components["QueryRequest"]["example"] = {"seeds": [{"embedding": vector}], "k": 3, "diversity": 0.3}
    components["TextRequest"]["example"] = {"text": "dog barking -indoor", "k": 3}
    components["FeedbackRequest"]["example"] = {"query": {"embedding": vector}, "answer": 0, "like": True}
    components["LinkRequest"]["example"] = {"url": "https://example.org/dog.ogg"}
    components["TagByHand"]["example"] = {"tag": "dog", "has": True}
    for path in schema["paths"].values():
        for operation in path.values():
            operation["summary"] = re.split("[.;:]", " ".join(operation["description"].split()))[0]
            for response in operation["responses"].values():
                content = response.get("content", {}).get("application/json")
                if content and content["schema"].get("$ref", "").endswith("/ProblemDetails"):
                    response["content"] = {problems.PROBLEM_MEDIA_TYPE: content}
    for parameter in _parameters(schema):
        if examples := parameter["schema"].get("examples"):
            parameter.setdefault("example", examples[0])  # Swagger UI fills in only `example`


def _add_limits(schema: dict[str, Any], dim: int, settings: Settings) -> None:
    """Add the length of the index's vectors and the limits of this service."""
    components = schema["components"]["schemas"]
    components["NearestRequest"]["properties"]["embedding"] |= {"minItems": dim, "maxItems": dim}
    for vector in components["SeedRequest"]["properties"]["embedding"]["anyOf"]:
        if vector.get("type") == "array":
            vector |= {"minItems": dim, "maxItems": dim}
    for name in ("BatchRequest", "QueryRequest"):
        components[name]["properties"]["k"]["maximum"] = settings.max_k
    components["BatchRequest"]["properties"]["queries"]["maxItems"] = settings.max_batch
    for parameter in _parameters(schema):
        if parameter["name"] == "k":
            parameter["schema"]["maximum"] = settings.max_k


def _add_item_examples(schema: dict[str, Any], items: Sequence[Item]) -> None:
    """Use the numbers and the id of existing items in examples. `items`: at most two."""
    if not items:
        return
    first, last = items[0].n, items[-1].n
    examples = {"n": first, "answer": last, "from_n": first, "to_n": last}
    for parameter in _parameters(schema):
        if parameter["name"] in examples:
            parameter["example"] = examples[parameter["name"]]
        elif (parameter["name"], parameter["in"]) == ("id", "query"):
            parameter["example"] = items[0].id
    schema["components"]["schemas"]["FeedbackRequest"]["example"]["answer"] = last


def _parameters(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        for operation in path.values():
            yield from operation.get("parameters", ())


def _add_security(schema: dict[str, Any], open_paths: set[str]) -> None:
    """Describe the two ways to send an API key, and the paths that need none."""
    schema["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    schema["security"] = [{"key": []}, {"bearer": []}]
    for path in open_paths & schema["paths"].keys():
        for operation in schema["paths"][path].values():
            operation["security"] = []

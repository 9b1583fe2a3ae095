"""The route for the map of the collection."""

from __future__ import annotations

import functools
import gzip

import numpy as np
import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from boiler.search.nearest import Nearest
from boiler.service import media, requests, responses, schemas
from boiler.service.problems import Problem
from boiler.service.state import Service, service_of_request

router = APIRouter(tags=["relations"])


class LandmarkRow(schemas.ResponseModel):
    """A class of sounds, placed where the sounds are that match it best."""

    name: str = Field(examples=["bark"])
    x: float = Field(description="0 to 1", examples=[0.18])
    y: float = Field(description="0 to 1", examples=[0.46])
    n_items: int = Field(description="how many items match it better than any other class", examples=[22])


class MapResponse(schemas.ResponseModel):
    """The items in two dimensions. The lists but `landmarks` have the same length: item `n[i]` is at `x[i]`, `y[i]`."""

    n: list[int] = Field(examples=[[0, 1]])
    x: list[float] = Field(description="0 to 1", examples=[[0.12, 0.8]])
    y: list[float] = Field(description="0 to 1", examples=[[0.5, 0.31]])
    cluster: list[int] = Field(description="number of the cluster, 0 is the largest", examples=[[0, 1]])
    label: list[str | None] = Field(examples=[["dog", "rain"]])
    landmarks: list[LandmarkRow] = Field(
        description="words on the map, the largest first; none unless the index can be searched in words"
    )
    generation: schemas.GenerationName


@router.get("/map", operation_id="get_map", response_model=MapResponse, responses={304: {"description": "Unchanged."}})
async def get_map(request: Request) -> Response:
    """The items in two dimensions, most of them near to similar ones, with words as landmarks. Compressed for clients
    that accept gzip; the ETag changes only with the index."""
    service = service_of_request(request)
    accepts_gzip = requests.accepts(request.headers.get("accept-encoding", ""), "gzip")

    def headers_for(generation: str) -> dict[str, str]:
        etag = f'"{generation}-{"gzip" if accepts_gzip else "plain"}"'
        return {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}

    headers = headers_for(service.nearest.generation)
    if media.not_modified(request, headers["ETag"]):
        return Response(None, 304, headers)
    generation, body = await service.run_long(functools.partial(_cached_map, service))
    headers = headers_for(generation)  # a newer index may have been opened meanwhile
    if accepts_gzip:
        headers["Content-Encoding"] = "gzip"
    else:
        body = await service.run_heavy(functools.partial(gzip.decompress, body))
    return Response(body, 200, headers, "application/json")


def _cached_map(service: Service) -> tuple[str, bytes]:
    """The generation and its map. Raises: Problem: 404 the index has no map"""
    return service.map_cache.get(service.nearest.generation, functools.partial(_render_map, service.nearest))


def _render_map(nearest: Nearest) -> tuple[str, bytes]:
    """The generation, and its map as gzipped JSON."""
    while True:
        generation, drawn, landmarks = nearest.generation, nearest.map(), nearest.landmarks()
        if nearest.generation == generation:
            break
    if drawn is None:
        raise Problem(404, "no-map", "this index has no map: run boiler index again")
    document = {
        "n": drawn.n.tolist(),
        "x": drawn.xy[:, 0].astype(np.float64).round(5).tolist(),
        "y": drawn.xy[:, 1].astype(np.float64).round(5).tolist(),
        "cluster": drawn.cluster.tolist(),
        "label": drawn.labels,
        "landmarks": responses.to_json(landmarks),
        "generation": generation,
    }
    return generation, gzip.compress(orjson.dumps(document), 6, mtime=0)

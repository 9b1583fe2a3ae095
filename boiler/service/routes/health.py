"""Whether the service lives, is ready, and what it serves: for probes, dashboards and clients that begin."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from boiler import __version__
from boiler.service import metrics as metrics_module
from boiler.service import responses, schemas
from boiler.service.problems import Problem
from boiler.service.state import of_request

router = APIRouter(tags=["service"])


@router.get("/livez", operation_id="livez", response_model=schemas.Alive)
async def livez() -> Response:
    """The process answers. Restart it when this does not."""
    return responses.json({"status": "ok"})


@router.get("/readyz", operation_id="readyz", response_model=schemas.Health)
@router.get("/health", operation_id="health", response_model=schemas.Health)
async def health(request: Request) -> Response:
    """The index is open and has answered a search of its own; else 503, and why. `refused` says when a newer index
    cannot be taken up and the one before serves on."""
    service = of_request(request)
    return responses.json(
        {
            "status": "ok",
            "generation": service.nearest.generation,
            "engine": service.nearest.engine_name,
            "n_items": len(service.nearest),
            "dim": service.nearest.dim,
            "boiler_version": __version__,
            "refused": service.refused,
        }
    )


@router.get("/model", operation_id="get_model", response_model=schemas.Model)
async def model(request: Request) -> Response:
    """What answers: the encoder, the index, and what one request may ask for."""
    service = of_request(request)
    header, settings = service.nearest.header, service.settings
    return responses.json(
        {
            "encoder": header.encoder,
            "encoder_sha256": header.encoder_sha256,
            "dim": header.dim,
            "sample_rate_hz": header.sample_rate_hz,
            "window_samples": header.window_samples,
            "windows": header.windows,
            "hop_s": header.hop_s,
            "distance": header.distance,
            "engine": service.nearest.engine_name,
            "generation": header.generation,
            "created": header.created,
            "n_items": header.n_items,
            "n_rows": header.n_rows,
            "boiler_version": header.boiler_version,
            "limits": {
                "max_k": settings.max_k,
                "max_batch": settings.max_batch,
                "max_body_bytes": settings.max_body_bytes,
                "max_upload_bytes": settings.max_upload_bytes,
                "max_upload_s": settings.max_upload_s,
            },
        }
    )


@router.get(
    "/metrics", operation_id="metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
async def metrics(request: Request) -> Response:
    """Counts and times for Prometheus."""
    kept = of_request(request).meters
    if kept is None:
        raise Problem(404, "not-found", "metrics are switched off (BOILER_METRICS=0)")
    return Response(kept.page(), 200, media_type=metrics_module.CONTENT_TYPE)

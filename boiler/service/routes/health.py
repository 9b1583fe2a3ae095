"""Routes for probes, monitoring, and clients that need the index's properties."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from boiler import __version__
from boiler.service import metrics, responses, schemas
from boiler.service.policy import requires
from boiler.service.problems import Problem
from boiler.service.state import service_of_request

router = APIRouter(tags=["service"])


@router.get("/livez", operation_id="livez", response_model=schemas.Alive)
@requires(scope=None, is_probe=True)
async def livez() -> Response:
    """Liveness: the process responds. Restart it when it does not."""
    return responses.json_response({"status": "ok"})


@router.get("/readyz", operation_id="readyz", response_model=schemas.Health)
@router.get("/health", operation_id="health", response_model=schemas.Health)
@requires(scope=None, is_probe=True)
async def health(request: Request) -> Response:
    """Readiness: the index is open and has answered a test query; otherwise 503. `refused` says that the latest index
    is damaged, while an older one is still served; `sounds` whether there is sound to play."""
    service = service_of_request(request)
    return responses.json_response(
        {
            "status": "ok",
            "generation": service.nearest.generation,
            "engine": service.nearest.engine_name,
            "n_items": len(service.nearest),
            "dim": service.nearest.dim,
            "boiler_version": __version__,
            "refused": service.refused,
            "sounds": "available" if service.has_sounds else "missing",
        }
    )


@router.get("/model", operation_id="get_model", response_model=schemas.ModelResponse)
async def get_model(request: Request) -> Response:
    """The encoder, the index, and the limits of one request."""
    service = service_of_request(request)
    header, settings = service.nearest.header, service.settings
    return responses.json_response(
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
@requires(is_probe=True)
async def get_metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    own = service_of_request(request).metrics
    if own is None:
        raise Problem(404, "not-found", "metrics are switched off (BOILER_METRICS=0)")
    return Response(own.render(), 200, media_type=metrics.CONTENT_TYPE)

"""`/docs`: the description of the API to read and to try, with nothing loaded from other hosts.

The page is drawn by Swagger UI (Apache-2.0; `docs/` holds its script and style, whole, with the licence).
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, RedirectResponse, Response

from boiler.service.problems import Problem

FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
PATHS = frozenset({"/", "/docs", "/openapi.json", *(f"/docs/{name}" for name in FILES)})
"""They need no key: they tell nothing of the collection's sounds."""

_FOLDER = Path(__file__).parents[1] / "static"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def first_page() -> Response:
    """Leads to the description. Addresses are relative, so that a proxy may put the service below a path."""
    return RedirectResponse("docs")


@router.get("/docs")
async def description() -> Response:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="boiler",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={
            "persistAuthorization": True,
            "tryItOutEnabled": True,
            "defaultModelsExpandDepth": 0,
            "displayRequestDuration": True,
        },
    )


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """What the page is drawn with; `name` is one of a table and never a path."""
    if name not in FILES:
        raise Problem(404, "not-found", "there is no such page")
    return FileResponse(_FOLDER / name, media_type=FILES[name], headers={"Cache-Control": "public, max-age=86400"})

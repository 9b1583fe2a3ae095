"""`/docs`: the API description as a page (Swagger UI), with all of its files served from here.

`boiler/service/static/` has Swagger UI's script and style sheet (Apache-2.0), unchanged, with its licence.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, RedirectResponse, Response

from boiler.service.policy import requires
from boiler.service.problems import Problem

STATIC_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

_FOLDER = Path(__file__).parents[1] / "static"

router = APIRouter(include_in_schema=False)


@router.get("/")
@requires(scope=None)
async def root() -> Response:
    """Redirects to /docs. Links are relative, so that the service works below a prefix of a proxy."""
    return RedirectResponse("docs")


@router.get("/docs")
@requires(scope=None)
async def swagger_ui() -> Response:
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
@requires(scope=None)
async def static_file(name: str) -> Response:
    """A script or style sheet of the page. `name` is looked up in a table; it is never used as a path."""
    if name not in STATIC_FILES:
        raise Problem(404, "not-found", "there is no such page")
    return FileResponse(
        _FOLDER / name, media_type=STATIC_FILES[name], headers={"Cache-Control": "public, max-age=86400"}
    )

"""What the files under deploy/ say of the service is so: meters, keys, paths, ports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from boiler.service import metrics, middleware
from boiler.service.app import Web
from boiler.service.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


@pytest.mark.parametrize("file", ["alerts.yaml", "grafana/boiler.json"])
def test_every_meter_that_is_watched_is_one_of_ours(file: str) -> None:
    watched = set(re.findall(r"\bboiler_[a-z_]+", (DEPLOY / file).read_text()))
    page = metrics.Meters().page().decode()
    ours = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    ours |= {f"{name}_bucket" for name in ours}
    assert watched
    assert watched - ours == set()


def test_the_board_asks_for_routes_that_there_are() -> None:
    board = json.loads((DEPLOY / "grafana" / "boiler.json").read_text())
    routes = set(Web().openapi()["paths"])
    asked = re.findall(r'route=~?"([^"]+)"', json.dumps(board).replace('\\"', '"'))
    assert asked
    assert {one for some in asked for one in some.split("|")} <= routes


def test_prometheus_has_the_key_that_the_service_is_given_and_none_is_published() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    assert re.search(r"read:\$\{METRICS_KEY:\?[^}]+\}", compose)
    assert re.search(r"secrets:\n  metrics_key:\n    environment: METRICS_KEY\n", compose)
    assert "secrets: [metrics_key]" in compose
    assert "credentials_file: /run/secrets/metrics_key" in (DEPLOY / "prometheus.yaml").read_text()


def test_the_proxy_lets_uploads_through_that_the_service_takes() -> None:
    proxy = (DEPLOY / "nginx.conf").read_text()
    allowed = re.search(r"client_max_body_size (\d+)m;", proxy)
    assert allowed is not None
    assert int(allowed[1]) * 2**20 >= Settings(model_dir=Path("x")).max_upload_bytes + 8_192
    paths = re.search(r"location ~ \^/\(([^)]+)\)\$", proxy)
    assert paths is not None
    assert {f"/{path}" for path in paths[1].split("|")} == middleware.UPLOADS


def test_the_image_serves_on_port_8000_as_nobody_and_is_built_for_other_processors() -> None:
    image = (ROOT / "Dockerfile").read_text()
    for line in ("EXPOSE 8000", "BOILER_MODEL_DIR=/model", "USER 10001", "HEALTHCHECK", "-march=x86-64-v3"):
        assert line in image
    assert "-march=native" not in image
    assert not re.search(r"https?://(?!127\.0\.0\.1)", image)

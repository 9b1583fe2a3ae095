"""The page /docs loads all of its files from the service and needs no key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from serving import publish
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.routes import docs
from boiler.service.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("docs")
    publish(folder, 5, 8)
    settings = Settings(model_dir=folder, log="none", api_keys=(SecretStr("read:" + "k" * 16),))
    with TestClient(BoilerApp(settings)) as client:
        yield client


def test_page_loads_nothing_from_other_hosts(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert len(loaded) >= 4
    for address in loaded:
        if address != "data:,":
            assert "//" not in address
            assert client.get("/" + address.lstrip("/")).status_code == 200, address
    assert "http" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_only_the_listed_files_are_served(client: TestClient) -> None:
    for name, media_type in docs.STATIC_FILES.items():
        response = client.get(f"/docs/{name}")
        assert response.headers["content-type"].startswith(media_type)
        assert len(response.content) > 100_000
    for name in ("LICENSE", "..%2fdocs.py", "x"):
        assert client.get(f"/docs/{name}", headers={"X-API-Key": "k" * 16}).status_code == 404


def test_root_redirects_to_the_page(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "docs"


def test_licence_is_included() -> None:
    assert "Apache License" in (Path(docs.__file__).parents[1] / "static" / "LICENSE").read_text()

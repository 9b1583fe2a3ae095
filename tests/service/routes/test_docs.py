"""The page of the description: it loads nothing from other hosts, needs no key, and its files are those of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from serving import publish
from starlette.testclient import TestClient

from boiler.service.app import Web
from boiler.service.routes import docs
from boiler.service.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("manual")
    publish(folder, 5, 8)
    settings = Settings(model_dir=folder, log="none", api_keys=(SecretStr("read:" + "k" * 16),))
    with TestClient(Web(settings)) as client:
        yield client


def test_all_that_the_page_loads_comes_from_here(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert len(loaded) >= 4
    for address in loaded:
        if address != "data:,":
            assert "//" not in address
            assert client.get("/" + address.lstrip("/")).status_code == 200, address
    assert "http" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_its_files_are_those_of_a_table(client: TestClient) -> None:
    for name, kind in docs.FILES.items():
        response = client.get(f"/docs/{name}")
        assert response.headers["content-type"].startswith(kind)
        assert len(response.content) > 100_000
    for name in ("LICENSE", "..%2fmanual.py", "x"):
        assert client.get(f"/docs/{name}", headers={"X-API-Key": "k" * 16}).status_code == 404


def test_the_licence_stands_beside_them() -> None:
    assert "Apache License" in (Path(docs.__file__).parents[1] / "static" / "LICENSE").read_text()

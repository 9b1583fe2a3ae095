"""GET /explain: the response, its limits, and its response models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import assert_matches, assert_problem
from starlette.testclient import TestClient

from boiler.search import explain as explain_module
from boiler.search.nearest import ByItem, Nearest
from boiler.service.app import BoilerApp
from boiler.service.routes import explain
from boiler.service.settings import Settings


def test_explanation_equals_that_of_nearest(client: TestClient, model_dir: Path) -> None:
    answer = assert_matches(client.get("/explain?n=1&answer=2"), explain.ExplanationResponse)
    expected = Nearest(model_dir).explain(ByItem(1), 2)
    assert answer["similarity"] == pytest.approx(expected.similarity, abs=1e-5)
    for name in ("query_curve", "answer_curve"):
        curve = getattr(expected, name)
        assert len(answer[name]) == len(curve)
        assert answer[name][0]["start_s"] == 0.0
        for row, moment in zip(answer[name], curve, strict=True):
            assert row == pytest.approx(dataclasses.asdict(moment), abs=1e-5)
    assert (answer["words"], answer["query_course"]) == (answer["codes"], answer["query_curve"])


def test_errors(client: TestClient) -> None:
    assert assert_problem(client.get("/explain?n=1&answer=9999"), 404) == "unknown-item"
    assert assert_problem(client.get("/explain?n=1"), 422) == "invalid-request"
    assert assert_problem(client.get("/explain?n=1&answer=2&start_s=3&end_s=2"), 422) == "invalid-request"


def test_duration_of_a_part_is_limited(model_dir: Path, number: Callable[[str], int]) -> None:
    settings = Settings(model_dir=model_dir, log="none", max_upload_s=5)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        n = number("long.wav")  # 20 s
        for part in ("start_s=0.01", "start_s=1&end_s=6.1", "start_s=1&end_s=1e8"):
            refused = client.get(f"/explain?n={n}&answer=1&{part}")
            assert assert_problem(refused, 422) == "invalid-request"
            assert "at most 5 s" in refused.json()["detail"]
        assert client.get(f"/explain?n={n}&answer=1&start_s=15.5").status_code == 200
        assert client.get(f"/explain?n={n}&answer=1").status_code == 200


def test_response_models_have_the_fields_of_the_dataclasses() -> None:
    def assert_same_fields(schema: dict[str, Any], kind: type) -> None:
        names = [name for name, field in schema["properties"].items() if not field.get("deprecated")]
        assert names == [field.name for field in dataclasses.fields(kind)]

    document = explain.ExplanationResponse.model_json_schema()
    assert_same_fields(document, explain_module.Explanation)
    for kind in (explain_module.CodeShare, explain_module.WindowMatch, explain_module.Moment):
        assert_same_fields(document["$defs"][kind.__name__], kind)

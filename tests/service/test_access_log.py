"""The access log: content of its lines, and buffering."""

from __future__ import annotations

import asyncio
import json

import pytest

from boiler.service.access_log import FLUSH_INTERVAL_S, AccessLog


def test_json_lines_are_buffered_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        log = AccessLog("json")
        for status in range(200, 210):
            log.add("GET", "/items/{n}", status, 0.0015, "abc", {"search": 0.00025})
        assert capsys.readouterr().err == ""
        await asyncio.sleep(2 * FLUSH_INTERVAL_S)
        log.add('"', "/x", 500, 1.0, "abc", {})
        log.flush()

    asyncio.run(main())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["status"] for line in lines] == [*range(200, 210), 500]
    assert lines[0].pop("time") > 1.7e9
    assert lines[0] == {
        "request_id": "abc",
        "method": "GET",
        "route": "/items/{n}",
        "status": 200,
        "ms": 1.5,
        "search_ms": 0.25,
    }
    assert lines[-1]["method"] == "other"


def test_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        log = AccessLog("plain")
        log.add("POST", "/nearest", 200, 0.0004, "abc", {"search": 0.0001})
        log.flush()

    asyncio.run(main())
    assert capsys.readouterr().err == "POST /nearest 200 0.4 ms [abc]\n"

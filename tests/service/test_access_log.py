"""Lines of the log: what stands in them, that none is lost, and that many are one write."""

from __future__ import annotations

import asyncio
import json

import pytest

from boiler.service.access_log import HELD_S, LogLines


def test_each_request_is_a_line_of_json_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        lines = LogLines("json")
        for status in range(200, 210):
            lines.add("GET", "/items/{n}", status, 0.0015, "abc", {"search": 0.00025})
        assert capsys.readouterr().err == ""
        await asyncio.sleep(2 * HELD_S)
        lines.add('"', "/x", 500, 1.0, "abc", {})
        lines.write()

    asyncio.run(main())
    read = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["status"] for line in read] == [*range(200, 210), 500]
    assert read[0].pop("time") > 1.7e9
    assert read[0] == {
        "request_id": "abc",
        "method": "GET",
        "route": "/items/{n}",
        "status": 200,
        "ms": 1.5,
        "search_ms": 0.25,
    }
    assert read[-1]["method"] == "other"


def test_plain_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        lines = LogLines("plain")
        lines.add("POST", "/nearest", 200, 0.0004, "abc", {"search": 0.0001})
        lines.write()

    asyncio.run(main())
    assert capsys.readouterr().err == "POST /nearest 200 0.4 ms [abc]\n"

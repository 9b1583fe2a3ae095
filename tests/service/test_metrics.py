"""Counting: the page that Prometheus reads, of one worker and of several, also after one of them ended."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from boiler.service.metrics import Meters


def page(meters: Meters) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the page, as Prometheus' own parser reads it."""
    families = text_string_to_metric_families(meters.page().decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def labelled(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_times_fall_into_the_bucket_that_holds_them() -> None:
    meters = Meters()
    for seconds in (0.0001, 0.00011, 0.3, 99.0):
        meters.answered("/x", 200, seconds, {"search": seconds / 2})
    read = page(meters)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 4
    counts = {
        bound: read[labelled("boiler_request_seconds_bucket", route="/x", le=bound)]
        for bound in ("0.0001", "0.00025", "0.5", "30.0", "+Inf")
    }
    assert list(counts.values()) == [1, 2, 3, 3, 4]
    assert read[labelled("boiler_request_seconds_count", route="/x")] == 4
    assert abs(read[labelled("boiler_request_seconds_sum", route="/x")] - 99.30021) < 1e-9
    assert read[labelled("boiler_stage_seconds_bucket", stage="search", le="0.0001")] == 2


def test_an_empty_page_is_one() -> None:
    assert page(Meters())[labelled("boiler_items")] == 0


def test_any_worker_tells_of_all(tmp_path: Path) -> None:
    one, other = Meters(tmp_path), Meters(tmp_path)
    one.answered("/x", 200, 0.01, {})
    other.answered("/x", 200, 0.01, {"embed": 1.0})
    other.answered("/y", 503, 0.01, {})
    other.searched("exact")
    one.items, other.items, one.created_s, other.created_s = 5, 7, 2e9, 1e9
    one.in_progress, other.in_progress = 1, 2
    one.share()
    other.share()
    assert page(one) == page(other)
    read = page(one)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 2
    assert read[labelled("boiler_request_seconds_bucket", route="/x", le="0.01")] == 2
    assert read[labelled("boiler_searches_total", engine="exact")] == 1
    assert read[labelled("boiler_requests_in_progress")] == 3
    assert read[labelled("boiler_items")] == 7
    assert read[labelled("boiler_generation_created_seconds")] == 1e9


def test_one_that_ended_keeps_its_counts_and_works_on_nothing(tmp_path: Path) -> None:
    one, gone = Meters(tmp_path), Meters(tmp_path)
    gone.answered("/x", 200, 0.01, {})
    gone.in_progress, gone.items, gone.created_s = 3, 9, 1e9
    gone.share()
    for file in tmp_path.iterdir():
        os.utime(file, (1, 1))
    read = page(one)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 1
    assert read[labelled("boiler_requests_in_progress")] == 0
    assert read[labelled("boiler_items")] == 0

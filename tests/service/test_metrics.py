"""The metrics page of one worker, of several, and after a worker has ended."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from boiler.service.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of the page, parsed by prometheus_client."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def labelled(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_histogram_buckets_are_cumulative_and_include_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.0001, 0.00011, 0.3, 99.0):
        metrics.observe_request("/x", 200, seconds, {"search": seconds / 2})
    read = samples(metrics)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 4
    counts = {
        bound: read[labelled("boiler_request_seconds_bucket", route="/x", le=bound)]
        for bound in ("0.0001", "0.00025", "0.5", "30.0", "+Inf")
    }
    assert list(counts.values()) == [1, 2, 3, 3, 4]
    assert read[labelled("boiler_request_seconds_count", route="/x")] == 4
    assert abs(read[labelled("boiler_request_seconds_sum", route="/x")] - 99.30021) < 1e-9
    assert read[labelled("boiler_stage_seconds_bucket", stage="search", le="0.0001")] == 2


def test_page_before_the_first_request() -> None:
    assert samples(Metrics())[labelled("boiler_items")] == 0


def test_every_worker_renders_the_sum(tmp_path: Path) -> None:
    one, other = Metrics(tmp_path), Metrics(tmp_path)
    one.observe_request("/x", 200, 0.01, {})
    other.observe_request("/x", 200, 0.01, {"embed": 1.0})
    other.observe_request("/y", 503, 0.01, {})
    other.count_searches("exact")
    one.items, other.items, one.created_s, other.created_s = 5, 7, 2e9, 1e9
    one.in_progress, other.in_progress = 1, 2
    one.write_shared()
    other.write_shared()
    assert samples(one) == samples(other)
    read = samples(one)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 2
    assert read[labelled("boiler_request_seconds_bucket", route="/x", le="0.01")] == 2
    assert read[labelled("boiler_searches_total", engine="exact")] == 1
    assert read[labelled("boiler_requests_in_progress")] == 3
    assert read[labelled("boiler_items")] == 7
    assert read[labelled("boiler_generation_created_seconds")] == 1e9


def test_worker_that_ended_keeps_its_counters_but_not_its_gauges(tmp_path: Path) -> None:
    one, ended = Metrics(tmp_path), Metrics(tmp_path)
    ended.observe_request("/x", 200, 0.01, {})
    ended.in_progress, ended.items, ended.created_s = 3, 9, 1e9
    ended.write_shared()
    for file in tmp_path.iterdir():
        os.utime(file, (1, 1))
    read = samples(one)
    assert read[labelled("boiler_requests_total", route="/x", status="200")] == 1
    assert read[labelled("boiler_requests_in_progress")] == 0
    assert read[labelled("boiler_items")] == 0

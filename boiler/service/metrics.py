"""Prometheus metrics of the service.

Recording a request adds to plain numbers of this process; the page is rendered when Prometheus asks for it. With
several workers each writes its numbers to a shared folder (`Settings.metrics_dir`; `boiler serve` creates one), and any
worker renders the sum over all; the numbers of the others are up to `Settings.refresh_s` old.

`prometheus_client` renders the page but does not record: its multiprocess mode costs 33 microseconds per request where
this costs 4 (of about 200 for a whole request).
"""

from __future__ import annotations

import os
import secrets
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = prometheus.CONTENT_TYPE_PLAIN_0_0_4

_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STALE_S = 10.0  # a worker whose file is older has ended

Histograms = dict[str, list[float]]
"""By label value: the count in each of `_BUCKETS_S`, the count above the last, and the sum in seconds."""


class Metrics:
    """The metrics of one worker. Label values are few and fixed: requests that match no route share one.

    Arguments:
        folder: shared with the other workers; None with one worker
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.requests: dict[str, dict[str, float]] = {}  # by route, by status
        self.request_s: Histograms = {}  # by route
        self.stage_s: Histograms = {}  # by stage
        self.searches: dict[str, float] = {}  # by engine
        self.in_progress = 0
        self.waiting = 0
        self.refused_indexes = 0
        self.items = 0
        self.created_s = 0.0  # Unix time at which the current generation was built
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}.json"

    def observe_request(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Record a finished request."""
        counts = self.requests.get(route)
        if counts is None:
            counts = self.requests[route] = {}
        name = str(status)
        counts[name] = counts.get(name, 0) + 1
        _observe(self.request_s, route, seconds)
        for stage, spent in stages.items():
            _observe(self.stage_s, stage, spent)

    def count_searches(self, engine: str, times: int = 1) -> None:
        """Record searches by an engine."""
        self.searches[engine] = self.searches.get(engine, 0) + times

    def write_shared(self) -> None:
        """Write this worker's numbers for the other workers. Raises: OSError"""
        if self._folder is not None:
            aside = self._folder / f"{self._name}.tmp"
            aside.write_bytes(orjson.dumps(self._numbers()))
            aside.replace(self._folder / self._name)

    def render(self) -> bytes:
        """The body of ``GET /metrics``: the sum over all workers that share the folder."""
        registry = prometheus.CollectorRegistry()
        if self._folder is None:
            prometheus.ProcessCollector(registry=registry)
        registry.register(_SumCollector([self._numbers(), *self._others()]))
        return prometheus.generate_latest(registry)

    def _numbers(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _others(self) -> Iterator[dict[str, Any]]:
        """The numbers of the other workers. The counters of a worker that has ended are kept, because sums must not
        decrease; its gauges are zero."""
        for file in self._folder.glob("*.json") if self._folder is not None else ():
            if file.name != self._name:
                numbers = orjson.loads(file.read_bytes())
                if time.time() - file.stat().st_mtime > _STALE_S:
                    numbers |= {"in_progress": 0, "waiting": 0, "items": 0, "created_s": 0.0}
                yield numbers


def _observe(histograms: Histograms, label: str, seconds: float) -> None:
    row = histograms.get(label)
    if row is None:
        row = histograms[label] = [0.0] * (len(_BUCKETS_S) + 2)
    row[bisect_left(_BUCKETS_S, seconds)] += 1
    row[-1] += seconds


class _SumCollector(Collector):
    """The sum of the numbers of all workers, as Prometheus metric families."""

    def __init__(self, workers: list[dict[str, Any]]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[prometheus.Metric]:
        requests = CounterMetricFamily("boiler_requests", "Requests answered.", labels=["route", "status"])
        counts: dict[tuple[str, str], float] = {}
        for worker in self._workers:
            for route, by_status in worker["requests"].items():
                for status, count in by_status.items():
                    counts[route, status] = counts.get((route, status), 0) + count
        for labels, count in sorted(counts.items()):
            requests.add_metric(labels, count)
        yield requests
        yield self._histogram("boiler_request_seconds", "From the request's head to the response's end.", "route")
        stages = "Time spent in a stage: validate, wait, decode, embed, search, render."
        yield self._histogram("boiler_stage_seconds", stages, "stage")
        searches = CounterMetricFamily("boiler_searches", "Searches answered.", labels=["engine"])
        for engine in sorted({engine for worker in self._workers for engine in worker["searches"]}):
            searches.add_metric([engine], sum(worker["searches"].get(engine, 0) for worker in self._workers))
        yield searches
        in_progress = sum(worker["in_progress"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_requests_in_progress", "Requests in progress.", in_progress)
        waiting = sum(worker["waiting"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_sounds_waiting", "Uploads that are embedded or wait for it.", waiting)
        refused = sum(worker.get("refused_indexes", 0) for worker in self._workers)
        yield CounterMetricFamily("boiler_indexes_refused", "Attempts to open a newer index that failed.", refused)
        items = max(worker["items"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_items", "Items in the index that is served.", items)
        yield GaugeMetricFamily(
            "boiler_generation_created_seconds",
            "When the index that is served was built, Unix time; workers differ for at most 2 s.",
            min((worker["created_s"] for worker in self._workers if worker["created_s"]), default=0.0),
        )

    def _histogram(self, name: str, documentation: str, label: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, documentation, labels=[label])
        attribute = name.removeprefix("boiler_").replace("_seconds", "_s")
        for value in sorted({value for worker in self._workers for value in worker[attribute]}):
            rows = [worker[attribute][value] for worker in self._workers if value in worker[attribute]]
            *counts, total_s = map(sum, zip(*rows, strict=True))
            buckets, cumulative = [], 0.0
            for bound, count in zip((*map(float, _BUCKETS_S), float("inf")), counts, strict=True):
                cumulative += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), cumulative))
            family.add_metric([value], buckets, total_s)
        return family

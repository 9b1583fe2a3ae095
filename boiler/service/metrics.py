"""What the service counts and times, for Prometheus.

Counting is adding to a number of this process; the page is made when Prometheus asks for it. (The client library's own
meters, each with a lock, and with several workers a file, cost a fifteenth of a request.) With several workers each
writes its numbers into a folder that they share (`Settings.metrics_dir`; `boiler serve` makes one), and any of them
answers for all; those of the others are as old as `Settings.refresh_s`.
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

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GONE_S = 10.0  # a worker that has not written for so long is not working on anything

Times = dict[str, list[float]]
"""For each label how many took up to each of `_SECONDS`, how many took longer, and all their seconds together."""


class Meters:
    """The meters of one worker. Labels are few and known beforehand: a path that no route has counts as one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.requests: dict[str, dict[str, float]] = {}  # by route, by status
        self.request_s: Times = {}  # by route
        self.stage_s: Times = {}  # by stage
        self.searches: dict[str, float] = {}  # by engine
        self.in_progress = 0
        self.waiting = 0
        self.items = 0
        self.created_s = 0.0  # when the index that answers was made
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}.json"

    def answered(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """One request is done."""
        counts = self.requests.get(route)
        if counts is None:
            counts = self.requests[route] = {}
        name = str(status)
        counts[name] = counts.get(name, 0) + 1
        _observe(self.request_s, route, seconds)
        for stage, spent in stages.items():
            _observe(self.stage_s, stage, spent)

    def searched(self, engine: str, times: int = 1) -> None:
        """An engine has answered."""
        self.searches[engine] = self.searches.get(engine, 0) + times

    def share(self) -> None:
        """Let the other workers see what this one has counted."""
        if self._folder is not None:
            aside = self._folder / f"{self._name}.tmp"
            aside.write_bytes(orjson.dumps(self._numbers()))
            aside.replace(self._folder / self._name)

    def page(self) -> bytes:
        """What ``GET /metrics`` answers: of all workers where they share a folder, else of this one."""
        registry = prometheus.CollectorRegistry()
        if self._folder is None:
            prometheus.ProcessCollector(registry=registry)
        registry.register(_Page([self._numbers(), *self._of_others()]))
        return prometheus.generate_latest(registry)

    def _numbers(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _of_others(self) -> Iterator[dict[str, Any]]:
        """A worker that is gone keeps its counts, or they would fall when it ends; it works on nothing."""
        for file in self._folder.glob("*.json") if self._folder is not None else ():
            if file.name != self._name:
                numbers = orjson.loads(file.read_bytes())
                if time.time() - file.stat().st_mtime > _GONE_S:
                    numbers |= {"in_progress": 0, "waiting": 0, "items": 0, "created_s": 0.0}
                yield numbers


def _observe(times: Times, label: str, seconds: float) -> None:
    row = times.get(label)
    if row is None:
        row = times[label] = [0.0] * (len(_SECONDS) + 2)
    row[bisect_left(_SECONDS, seconds)] += 1
    row[-1] += seconds


class _Page(Collector):
    """The numbers of all workers, added up, as Prometheus reads them."""

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
        yield self._times("boiler_request_seconds", "From the request's head to the answer's end.", "route")
        stages = "Time in one stage: validate, wait, decode, embed, search, render."
        yield self._times("boiler_stage_seconds", stages, "stage")
        searches = CounterMetricFamily("boiler_searches", "Searches answered.", labels=["engine"])
        for engine in sorted({engine for worker in self._workers for engine in worker["searches"]}):
            searches.add_metric([engine], sum(worker["searches"].get(engine, 0) for worker in self._workers))
        yield searches
        in_progress = sum(worker["in_progress"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_requests_in_progress", "Requests being worked on.", in_progress)
        waiting = sum(worker["waiting"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_sounds_waiting", "Uploaded sounds waiting for their turn.", waiting)
        items = max(worker["items"] for worker in self._workers)
        yield GaugeMetricFamily("boiler_items", "Items in the index that answers.", items)
        yield GaugeMetricFamily(
            "boiler_generation_created_seconds",
            "When the index that answers was made, seconds since 1970; differs between workers for at most 2 s.",
            min((worker["created_s"] for worker in self._workers if worker["created_s"]), default=0.0),
        )

    def _times(self, name: str, documentation: str, label: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, documentation, labels=[label])
        kept = name.removeprefix("boiler_").replace("_seconds", "_s")
        for value in sorted({value for worker in self._workers for value in worker[kept]}):
            rows = [worker[kept][value] for worker in self._workers if value in worker[kept]]
            *counts, total = map(sum, zip(*rows, strict=True))
            buckets, below = [], 0.0
            for bound, count in zip((*map(float, _SECONDS), float("inf")), counts, strict=True):
                below += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
            family.add_metric([value], buckets, total)
        return family

"""What the service counts and times, for Prometheus.

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` must name an empty folder before they start (`boiler serve` sees to
it), or each worker tells of itself alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import prometheus_client as prometheus
from prometheus_client import multiprocess

CONTENT_TYPE = prometheus.CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Meters:
    """The meters of this process. Labels are few and known beforehand: a path that no route has counts as one."""

    def __init__(self) -> None:
        self.requests = prometheus.Counter("boiler_requests", "Requests answered.", ["route", "status"])
        self.request_s = prometheus.Histogram(
            "boiler_request_seconds", "From the request's head to the answer's end.", ["route"], buckets=_SECONDS
        )
        self.stage_s = prometheus.Histogram(
            "boiler_stage_seconds",
            "Time in one stage: validate, wait, decode, embed, search, render.",
            ["stage"],
            buckets=_SECONDS,
        )
        self.searches = prometheus.Counter("boiler_searches", "Searches answered.", ["engine"])
        self.in_progress = prometheus.Gauge(
            "boiler_requests_in_progress", "Requests being worked on.", multiprocess_mode="livesum"
        )
        self.waiting = prometheus.Gauge(
            "boiler_sounds_waiting", "Uploaded sounds waiting for their turn.", multiprocess_mode="livesum"
        )
        self.items = prometheus.Gauge("boiler_items", "Items in the index that answers.", multiprocess_mode="livemax")
        self.generation = prometheus.Gauge(
            "boiler_generation_created_seconds",
            "When the index that answers was made, seconds since 1970; differs between workers for at most 2 s.",
            multiprocess_mode="livemin",
        )
        # Looking a labelled meter up costs more than adding to it: the pairs met are few, so they are kept.
        self._answered = functools.lru_cache(maxsize=4_096)(self._pair)
        self._stage = functools.cache(self.stage_s.labels)
        self._search = functools.cache(self.searches.labels)

    def _pair(self, route: str, status: int) -> tuple[prometheus.Counter, prometheus.Histogram]:
        return self.requests.labels(route, str(status)), self.request_s.labels(route)

    def answered(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """One request is done."""
        count, timing = self._answered(route, status)
        count.inc()
        timing.observe(seconds)
        for stage, spent in stages.items():
            self._stage(stage).observe(spent)

    def searched(self, engine: str) -> None:
        """An engine has answered."""
        self._search(engine).inc()


@functools.cache
def meters() -> Meters:
    """The process's meters, made when first asked for: Prometheus keeps them by process."""
    return Meters()


def page() -> bytes:
    """What ``GET /metrics`` answers: of all workers where they share a folder, else of this one."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return prometheus.generate_latest(registry)
    return prometheus.generate_latest(prometheus.REGISTRY)

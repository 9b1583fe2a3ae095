"""Blocks that take a second longer, for tests that kill something meanwhile; imported by workers of a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow

from boiler.indexing.ray import PlanEmbedder


class SlowPlanEmbedder(PlanEmbedder):
    """One second for each block."""

    def __call__(self, numbers: pyarrow.Table) -> Iterator[pyarrow.Table]:
        time.sleep(1.0)
        yield from super().__call__(numbers)

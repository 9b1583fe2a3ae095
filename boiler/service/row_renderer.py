"""The rows of `POST /nearest` as bytes. What does not change between answers is rendered once for each row of an index.

Building a dict for each row and encoding them costs as much as half a search; putting two numbers behind bytes that are
ready costs a fifth of that. A test holds these bytes to `answering.rows`.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import orjson
from starlette.responses import Response

from boiler.engine.distance import cosine_similarity
from boiler.search.snapshot import MAX_CACHED_NAMES, RankedItems, Snapshot

ENGINE = "X-Boiler-Engine"
GENERATION = "X-Boiler-Generation"


class Ready(Response):
    """JSON that is rendered, with its head: without Starlette's encoding of headers, which costs more than the rows."""

    def __init__(self, body: bytes, head: list[tuple[bytes, bytes]]) -> None:
        self.body = body
        self.status_code = 200
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *head]


class Renderer:
    """Renders the answers of the indexes that are open."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Snapshot, _Rows] = WeakKeyDictionary()

    def render(self, snapshot: Snapshot, ranked: RankedItems) -> Ready:
        """The answer with these items."""
        rows = self._of.get(snapshot)
        if rows is None:
            rows = self._of[snapshot] = _Rows(snapshot)
        return Ready(rows.render(snapshot, ranked), rows.head)


class _Rows:
    """For each row of an index that was answered already, what stands before its distance."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.head = [
            (b"content-type", b"application/json"),
            (ENGINE.lower().encode(), snapshot.engine.name.encode()),
            (GENERATION.lower().encode(), snapshot.name.encode()),
        ]
        self._begun: dict[int, bytes] = {}

    def render(self, snapshot: Snapshot, ranked: RankedItems) -> bytes:
        begun = self._begun
        rows: list[int] = ranked.rows.tolist()
        if missing := [at for at, row in enumerate(rows) if row not in begun]:
            if len(begun) > MAX_CACHED_NAMES:
                # Replaced, not emptied: another thread may be reading the old one.
                self._begun = begun = {}
                missing = list(range(len(rows)))
            begun.update(_begun(snapshot, ranked, missing))
        return b"[%b]" % b",".join(
            [
                b'%b%.6f,"similarity":%.6f}' % (begun[row], distance, cosine_similarity(distance))
                for row, distance in zip(rows, ranked.distances.tolist(), strict=True)
            ]
        )


def _begun(snapshot: Snapshot, ranked: RankedItems, positions: list[int]) -> dict[int, bytes]:
    begun = {}
    some = ranked.at(np.array(positions, np.int64))
    numbers: list[int] = some.numbers.tolist()
    spans = snapshot.rows[some.rows]
    for row, number, name, start_s, end_s in zip(
        some.rows.tolist(),
        numbers,
        snapshot.names(numbers),
        spans["start_s"].tolist(),
        spans["end_s"].tolist(),
        strict=True,
    ):
        known = {"id": name.id, "n": number, "url": name.url, "label": name.label}
        times = {"start_s": round(start_s, 4), "end_s": round(end_s, 4)}
        begun[row] = orjson.dumps(known | times)[:-1] + b',"distance":'
    return begun

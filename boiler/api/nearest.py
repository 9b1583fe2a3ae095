"""A model directory opened for search, from Python: the heart that the service, the browser and the commands share.

>>> from boiler.api.nearest import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> for match in nearest.by_sound("dog.wav", k=3):  # doctest: +SKIP
...     print(f"{match.distance:.3f}  {match.id}")
0.412  dog/1-100032-A-0.ogg
0.437  dog/5-213836-D-0.ogg
0.455  dog/3-157695-A-0.ogg

Answers are items, not windows: the window that matches best speaks for its item. There are always k of them while the
index has k items that sound; nearest first, equal ones by their number. A sound that is asked with has windows too:
what counts is the best match of any of them. Distance is angular, `sqrt(2 (1 - similarity))`, similarity the cosine.

All methods may be called from several threads. torch is imported when a sound has to be embedded, not before.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np

from boiler import audio, engine, generation, records
from boiler.ear import Ear, Embedded, Part
from boiler.engine import Vectors
from boiler.errors import QueryError
from boiler.header import Header
from boiler.records import Item
from boiler.snapshot import Ranked, Snapshot

__all__ = ["Embedded", "Item", "Match", "Nearest", "Part"]

MOST_WINDOWS = 256
"""A sound of more windows than this (some 17 minutes) asks with so many of them, evenly spread."""


@dataclass(frozen=True, slots=True)
class Match:
    """An item near to what was asked. Seconds are of the item's sound: the window that matched best. `closer_than` is
    the share of random pairs of this collection that are farther apart than this, 0 to 1. `asked_start_s` and
    `asked_end_s` are where in the sound asked with it matched; None when it was asked with a vector."""

    id: str
    n: int
    url: str
    label: str | None
    start_s: float
    end_s: float
    distance: float
    similarity: float
    closer_than: float
    asked_start_s: float | None = None
    asked_end_s: float | None = None


class Nearest:
    """A model directory, opened.

    `wav_dir`: the folder that was indexed, for `path`; by default where it was then. `device`: what embeds sounds
    (`cpu`, `cuda`, `auto` ...). `engine`: the engine that answers, by name; by default the one the index was
    published with.

    Raises: ModelDirError: not a model directory, damaged, or of another version. UnknownNameError: no such engine.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        wav_dir: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        engine: str | None = None,
    ) -> None:
        self.model_dir = Path(model_dir)
        self._wav_dir = None if wav_dir is None else Path(wav_dir)
        self._engine_name = engine
        self._ear = Ear(device)
        self._refreshing = threading.Lock()
        self._current: Snapshot | None = Snapshot.open(self.model_dir, engine)

    # --------------------------------------------------------------------------------------- what is open

    @property
    def _snapshot(self) -> Snapshot:
        snapshot = self._current
        if snapshot is None:
            raise QueryError(f"{self.model_dir} was closed: open it again with Nearest(...)")
        return snapshot

    @property
    def header(self) -> Header:
        """What made the index, and what it is bound to."""
        return self._snapshot.generation.header

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return self.header.dim

    @property
    def generation(self) -> str:
        """The name of the index that answers now."""
        return self._snapshot.name

    @property
    def engine_name(self) -> str:
        """The engine that answers."""
        return self._snapshot.engine.name

    def __len__(self) -> int:
        """Items, silent ones among them."""
        return self.header.n_items

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Queries under way finish; new ones are refused."""
        self._current = None

    def refresh(self) -> bool:
        """Take up a newer index, if there is one: True when it answers from now on. Queries under way finish on the
        index they began with. Cheap when there is none.

        Raises: ModelDirError: there is a newer one, and it cannot be used; the one before goes on answering.
        """
        with self._refreshing:
            if generation.current_name(self.model_dir) == self._snapshot.name:
                return False
            self._current = Snapshot.open(self.model_dir, self._engine_name)
            return True

    # ------------------------------------------------------------------------------------------- the items

    def item(self, id_or_n: str | int) -> Item:
        """What is known of an item, by its id or its number.

        Raises: UnknownItemError.
        """
        return self._snapshot.item(id_or_n)

    def items(
        self, *, offset: int = 0, limit: int = 50, text: str | None = None, label: str | None = None
    ) -> list[Item]:
        """A page of the items, in the order of their numbers: those whose id holds `text` (upper or lower case), and
        that have `label`.

        Raises: QueryError: offset or limit below 0.
        """
        if offset < 0 or limit < 0:
            raise QueryError(f"offset and limit are 0 or more, not {offset} and {limit}")
        where, values = ["1"], list[Any]()
        if text is not None:
            sought = text
            for sign in "\\%_":
                sought = sought.replace(sign, f"\\{sign}")
            where.append("id LIKE ? ESCAPE '\\'")
            values.append(f"%{sought}%")
        if label is not None:
            where.append("label = ?")
            values.append(label)
        sql = f"SELECT * FROM items WHERE {' AND '.join(where)} ORDER BY n LIMIT ? OFFSET ?"  # noqa: S608  # ours
        return [records.item_of(row) for row in self._snapshot.select(sql, [*values, limit, offset])]

    def path(self, id_or_n: str | int) -> Path:
        """Where the item's sound lies.

        Raises: UnknownItemError; QueryError: the folder of the sounds is not here, or this sound is not in it.
        """
        snapshot = self._snapshot
        item = snapshot.item(id_or_n)
        root = self._wav_dir or _wav_dir(snapshot)
        if root is None or not root.is_dir():
            raise QueryError(
                f"the folder of the sounds{'' if root is None else f', {root},'} is not here: name it (--wav_dir,"
                " BOILER_WAV_DIR or Nearest(..., wav_dir=...)) to hear sounds; searching does without"
            )
        path = item.path(root)
        # Links are followed, as they were when the folder was indexed; an id cannot lead out of it by itself.
        if PurePosixPath(item.id).is_absolute() or ".." in path.relative_to(root).parts:
            raise QueryError(f"{item.id} does not lie in the folder of the sounds")
        if not path.is_file():
            raise QueryError(f"{item.id} is not in {root} any more: run boiler index to take up what changed")
        return path

    # ------------------------------------------------------------------------------------------- searching

    def search(self, query: Any, k: int = 10) -> list[Match]:
        """The items nearest to a vector: an array, a tensor or a list of D numbers of any length but zero.

        Raises: QueryError: of another length, not finite, all zeros; k not a whole number from 1 on.
        """
        k = _checked_k(k)
        snapshot = self._snapshot
        vector = vector_of(query, snapshot.generation.header.dim)
        return _matches(snapshot, snapshot.nearest_items(vector[None], k))

    def search_windows(self, vectors: Any, k: int = 10) -> list[Match]:
        """The items nearest to any of several vectors, such as the windows of one sound.

        Raises: QueryError: as `search`; or none given.
        """
        k = _checked_k(k)
        snapshot = self._snapshot
        dim = snapshot.generation.header.dim
        queries = [vector_of(vector, dim) for vector in _spread(vectors)]
        if not queries:
            raise QueryError("no vector was given to search with: give one at least")
        return _matches(snapshot, snapshot.nearest_items(np.stack(queries), k))

    def by_item(self, id_or_n: str | int, k: int = 10) -> list[Match]:
        """The items nearest to one of the index, itself left out.

        Raises: QueryError, UnknownItemError; SilentSoundError: it is a silent one.
        """
        k = _checked_k(k)
        snapshot = self._snapshot
        number, rows = snapshot.rows_of(id_or_n)
        asking = _spread(rows)
        ranked = snapshot.nearest_items(snapshot.vectors[asking], k, without=[number])
        return _matches(snapshot, ranked, [_part(snapshot, row) for row in asking])

    def by_sound(
        self, source: audio.Source, k: int = 10, *, start_s: float = 0.0, end_s: float | None = None
    ) -> list[Match]:
        """The items nearest to a sound (a path, its bytes or a file object), or to the part of it from `start_s` to
        `end_s`. It need not be in the index; if it is, it finds itself.

        Raises: QueryError; NotASoundError, SoundLimitError, SilentSoundError; ModelDirError: the encoder is missing.
        """
        k = _checked_k(k)
        embedded = _spread(self.embed(source, start_s=start_s, end_s=end_s))
        snapshot = self._snapshot
        ranked = snapshot.nearest_items(np.stack([one.vector for one in embedded]), k)
        return _matches(snapshot, ranked, [one.window for one in embedded])

    # ------------------------------------------------------------------------------------------- embedding

    def embed(self, source: audio.Source, *, start_s: float = 0.0, end_s: float | None = None) -> list[Embedded]:
        """The vector of each window that is not silent, cut as the index was; times are those of the whole sound.

        Raises: as `by_sound`.
        """
        if start_s < 0 or (end_s is not None and end_s <= start_s):
            raise QueryError(
                f"a part of a sound ends after it begins, and begins at 0 or later: not {start_s} to {end_s} s"
            )
        blocks = audio.stream(source, start_s=start_s, end_s=end_s)
        return self._embed(blocks, audio.name_of(source), start_s)

    def embed_samples(self, samples: Any) -> list[Embedded]:
        """The same for samples that are decoded already: float [T], mono at 16 kHz, any level.

        Raises: QueryError: not that, or not finite; SilentSoundError; ModelDirError.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1 or not samples.size:
            raise QueryError(f"samples are one row of numbers, mono at 16 kHz, not of shape {list(samples.shape)}")
        if not np.isfinite(samples).all():
            raise QueryError("some samples are not numbers (NaN or infinite)")
        return self._embed([samples], "the samples given", 0.0)

    def _embed(self, blocks: Iterable[audio.Samples], name: str, from_s: float) -> list[Embedded]:
        return self._ear.embed(self._snapshot.generation, blocks, name, from_s)


def vector_of(query: Any, dim: int) -> Vectors:
    """The query as a unit vector [D].

    Raises: QueryError: not D numbers, not finite, or without a direction.
    """
    if hasattr(query, "detach"):  # a tensor, whatever its device and whether it is being differentiated
        query = query.detach().cpu().double().numpy()
    try:
        vector = np.asarray(query)
    except ValueError as error:
        raise QueryError(f"a vector is a row of {dim} numbers; this one is ragged") from error
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise QueryError(f"a vector is a row of {dim} numbers; this one has the shape {list(vector.shape)}")
    if len(vector) != dim:
        raise QueryError(
            f"the vector has {len(vector)} numbers, this index has {dim}: embed with the encoder of this index"
        )
    if vector.dtype.kind not in "fiu":
        raise QueryError(f"a vector is a row of {dim} numbers; this one is of {vector.dtype}")
    if not np.isfinite(vector).all():
        raise QueryError("the vector has numbers that are NaN or infinite")
    found = engine.unit(vector)
    if not found.any():
        raise QueryError("the vector is all zeros: it has no direction to compare")
    return found


def _checked_k(k: Any) -> int:
    try:
        if isinstance(k, bool | np.bool_):
            raise TypeError
        k = operator.index(k)
    except TypeError:
        raise QueryError(f"k is a whole number from 1 on, not {k!r}") from None
    if k < 1:
        raise QueryError(f"k is a whole number from 1 on, not {k}")
    return int(k)


def _matches(snapshot: Snapshot, ranked: Ranked, asked: Sequence[Part] | None = None) -> list[Match]:
    spans = snapshot.rows[ranked.rows]
    numbers: list[int] = ranked.numbers.tolist()
    return [
        Match(
            *(name.id, number, name.url, name.label),
            *(start_s, end_s, distance, 1 - distance * distance / 2, closer_than),
            *(asked[query] if asked is not None else ()),
        )
        for number, name, start_s, end_s, distance, closer_than, query in zip(
            numbers,
            snapshot.names(numbers),
            spans["start_s"].tolist(),
            spans["end_s"].tolist(),
            ranked.distances.tolist(),
            snapshot.closer_than(ranked.distances).tolist(),
            ranked.asked.tolist(),
            strict=True,
        )
    ]


def _spread(windows: Sequence[Any]) -> list[Any]:
    """All of them; of very many, some, evenly spread."""
    count = min(len(windows), MOST_WINDOWS)
    return [windows[at * len(windows) // count] for at in range(count)]


def _part(snapshot: Snapshot, row: int) -> Part:
    _, start_s, end_s = snapshot.rows[row].item()
    return Part(start_s, end_s)


def _wav_dir(snapshot: Snapshot) -> Path | None:
    found = snapshot.select("SELECT value FROM meta WHERE key = 'wav_dir'")
    return Path(found[0]["value"]) if found and found[0]["value"] else None

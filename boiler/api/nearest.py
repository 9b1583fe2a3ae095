"""A model directory opened for search: what else sounds like this?

>>> nearest = Nearest("exp/mine/vqvae_012/BagTopVQVAE")  # doctest: +SKIP
>>> for match in nearest.by_sound("dog.wav", k=3):  # doctest: +SKIP
...     print(match.id, match.start_s, match.distance)

Everything is mapped or read from disk when it is needed, so opening is instant and workers share their memory. torch is
imported when the first sound has to be embedded, not before: a service that is asked with vectors never loads it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from boiler import audio, engine, generation, records
from boiler.errors import ModelDirError, QueryError, SilentSoundError, UnknownItemError
from boiler.header import Header
from boiler.records import Item

BATCH_WINDOWS = 16
MOST_QUERY_WINDOWS = 256
"""An item of more windows than this (some 17 minutes) asks with so many of them, evenly spread."""
_REMEMBERED_NAMES = 100_000
_SQL_VARIABLES = 500
_QUERIES_AT_ONCE = 64

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """An answer: an item, and the part of it that matched."""

    id: str
    n: int
    url: str
    label: str | None
    start_s: float
    end_s: float
    distance: float
    """Angular, `sqrt(2 (1 - cos))`: 0 the same, smaller is nearer."""
    similarity: float
    """The cosine, 1 the same."""
    closer_than: float
    """The share, 0 to 1, of random pairs of this collection that are farther apart."""


class Part(NamedTuple):
    """A window of a sound, in seconds."""

    start_s: float
    end_s: float


class Embedded(NamedTuple):
    """A window and its vector, float32 `[D]` of unit length."""

    window: Part
    vector: Vectors


class _Name(NamedTuple):
    id: str
    url: str
    label: str | None


class _Opened:
    """One generation and all that answers from it; replaced as a whole when a newer one is taken up."""

    def __init__(self, model_dir: Path, engine_name: str | None, device: str) -> None:
        self.generation = generation.open(model_dir)
        header = self.generation.header
        chosen = engine_name or header.engine.get("name", "exact")
        self.engine = engine.find(chosen).load(self.generation.path / chosen, self.generation.vectors)
        self.pairs = np.asarray(self.generation.pairs)
        self.device = device
        self._connection = self.generation.connect()
        weakref.finalize(self, self._connection.close)
        self._lock = threading.Lock()
        self._names: dict[int, _Name] = {}
        self._encoder: Any = None
        self._encoder_lock = threading.Lock()

    def select(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def names(self, numbers: Sequence[int]) -> dict[int, _Name]:
        """Id, address and label of each item."""
        missing = [n for n in numbers if n not in self._names]
        for begin in range(0, len(missing), _SQL_VARIABLES):
            some = missing[begin : begin + _SQL_VARIABLES]
            marks = ", ".join("?" * len(some))
            found = self.select(f"SELECT n, id, url, label FROM items WHERE n IN ({marks})", some)  # noqa: S608  # question marks only
            if len(self._names) > _REMEMBERED_NAMES:
                self._names = {n: self._names[n] for n in numbers if n in self._names}
            self._names.update({row["n"]: _Name(row["id"], row["url"], row["label"]) for row in found})
        return {n: self._names[n] for n in numbers}

    def embed(self, waveforms: Vectors) -> Vectors:
        """Float32 `[W, 2**17]` to unit vectors `[W, D]`."""
        import torch

        from boiler import checkpoint

        with self._encoder_lock:
            if self._encoder is None:
                if not self.generation.header.encoder_sha256:
                    raise ModelDirError(
                        f"{self.generation.name} holds vectors without their encoder: ask with a vector or an item"
                    )
                self._encoder, _ = checkpoint.load_script(self.generation.path / "encoder.pt", self.device)
            with torch.inference_mode():
                parts = [
                    self._encoder(torch.from_numpy(waveforms[at : at + BATCH_WINDOWS, None, :]).to(self.device))
                    .cpu()
                    .numpy()
                    for at in range(0, len(waveforms), BATCH_WINDOWS)
                ]
        return engine.unit(np.concatenate(parts))

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class Nearest:
    """The current index of a model directory. Any number of threads may ask at once.

    Arguments:
        model_dir: what `boiler index` wrote
        wav_dir: where the sounds lie, for `path`; None: where they lay when they were indexed
        device: where sounds are embedded: cpu, cuda, mps
        engine: exact or annoy; None: what the index was found to answer best with
    Raises:
        ModelDirError: not a model directory, damaged, or of another version; the message says what to do
        UnknownNameError: no such engine
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
        self._device = device
        self._engine_name = engine
        self._refreshing = threading.Lock()
        self._opened = _Opened(self.model_dir, engine, device)

    @property
    def header(self) -> Header:
        """What the index is, and what made it."""
        return self._opened.generation.header

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self.header.dim

    @property
    def generation(self) -> str:
        """The name of the generation that answers now."""
        return self._opened.generation.name

    @property
    def engine_name(self) -> str:
        """The engine that answers now."""
        return self._opened.engine.name

    def __len__(self) -> int:
        """How many sounds there are, silent ones too (which are never an answer)."""
        return self.header.n_items

    def search(self, query: Any, k: int = 10) -> list[Match]:
        """The `k` items nearest to a vector: list, array or tensor, of any length but zero.

        Shape: `[D]`. Raises: QueryError.
        """
        opened = self._opened
        return _answers(opened, _checked(query, opened.generation.header.dim)[None], k, ())

    def search_windows(self, vectors: Any, k: int = 10) -> list[Match]:
        """The `k` items nearest to any of several vectors, as the windows of one sound are: the best pair counts.

        Shape: `[W, D]`. Raises: QueryError.
        """
        opened = self._opened
        dim = opened.generation.header.dim
        if not len(vectors):
            raise QueryError("no vector was given: ask with at least one")
        return _answers(opened, np.stack([_checked(vector, dim) for vector in vectors]), k, ())

    def by_item(self, id_or_n: str | int, k: int = 10) -> list[Match]:
        """The `k` items nearest to one of the collection, itself left out.

        Raises: UnknownItemError; SilentSoundError; QueryError.
        """
        opened = self._opened
        row = _row_of(opened, id_or_n)
        if not row["n_rows"]:
            raise SilentSoundError(row["id"], "is silent: there is nothing to compare")
        count = min(row["n_rows"], MOST_QUERY_WINDOWS)
        own = row["first_row"] + np.arange(count) * row["n_rows"] // count
        return _answers(opened, np.asarray(opened.generation.vectors[own]), k, (row["n"],))

    def by_sound(
        self, source: audio.Source, k: int = 10, *, start_s: float = 0.0, end_s: float | None = None
    ) -> list[Match]:
        """The `k` items nearest to a sound (a path, bytes or an open file), or to a part of it.

        Raises: SoundError: not a sound, or a silent one; QueryError; ModelDirError: the index has no encoder.
        """
        opened = self._opened
        embedded = _embedded(opened, audio.stream(source, start_s=start_s, end_s=end_s), _named(source))
        return _answers(opened, np.stack([one.vector for one in embedded]), k, ())

    def embed(self, source: audio.Source, *, start_s: float = 0.0, end_s: float | None = None) -> list[Embedded]:
        """The windows of a sound that are not silent, with their vectors.

        Raises: SoundError: not a sound, or all silence; ModelDirError: the index has no encoder.
        """
        return _embedded(self._opened, audio.stream(source, start_s=start_s, end_s=end_s), _named(source))

    def embed_samples(self, samples: Vectors) -> list[Embedded]:
        """As `embed`, from samples at 16 kHz. Shape: float32 `[T]`."""
        return _embedded(self._opened, [samples], "the sound")

    def item(self, id_or_n: str | int) -> Item:
        """One sound of the collection, by its id or its number. Raises: UnknownItemError."""
        return records.item_of(_row_of(self._opened, id_or_n))

    def items(
        self, *, offset: int = 0, limit: int = 100, text: str | None = None, label: str | None = None
    ) -> list[Item]:
        """Sounds in the order of their number; those whose id contains `text` (in any case), or that have `label`."""
        where, values = ["1"], list[object]()
        if text:
            where.append("id LIKE ? ESCAPE '\\'")
            escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            values.append(f"%{escaped}%")
        if label is not None:
            where.append("label = ?")
            values.append(label)
        sql = f"SELECT * FROM items WHERE {' AND '.join(where)} ORDER BY n LIMIT ? OFFSET ?"  # noqa: S608  # our own words
        return [records.item_of(row) for row in self._opened.select(sql, [*values, limit, offset])]

    def path(self, id_or_n: str | int) -> Path:
        """Where the sound of an item lies.

        Raises: UnknownItemError; QueryError: the folder of sounds is not there, or the file is not inside it.
        """
        opened = self._opened
        item = records.item_of(_row_of(opened, id_or_n))
        root = self._wav_dir
        if root is None:
            stored = opened.select("SELECT value FROM meta WHERE key = 'wav_dir'")
            root = Path(stored[0]["value"]) if stored else None
        if root is None:
            raise QueryError("this index does not say where its sounds lie: give the folder (wav_dir, BOILER_WAV_DIR)")
        path = item.path(root)
        # A link inside the folder may lead out of it on purpose; a name that climbs out may not.
        if ".." in path.relative_to(root).parts or not path.is_file():
            raise QueryError(
                f"the sound of {item.id} is not in the folder of sounds: give the folder (wav_dir, BOILER_WAV_DIR)"
            )
        return path

    def refresh(self) -> bool:
        """Takes up a newer generation, if there is one. Questions under way end on the one they began with.

        Raises: ModelDirError: there is one that cannot be opened; the old one answers on.
        """
        with self._refreshing:
            if generation.current_name(self.model_dir) == self.generation:
                return False
            # The old one is not closed: a question may still be using it. It goes when the last one ends.
            self._opened = _Opened(self.model_dir, self._engine_name, self._device)
            return True

    def close(self) -> None:
        """Gives back what is open. Nothing may be asked afterwards."""
        self._opened.close()


def _answers(opened: _Opened, queries: Vectors, k: int, without: Sequence[int]) -> list[Match]:
    """The best row of each item, over all the queries (windows of one sound); `k` items, or all there are."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise QueryError(f"k must be a whole number of at least 1, not {k!r}")
    held = opened.generation
    k = min(int(k), len(held.item_vectors) - len(without))
    if k < 1:
        return []
    rows, distances = _best_rows(opened, queries, k, without)
    numbers = held.rows["n"][rows].tolist()
    names = opened.names(numbers)
    farther = 1 - np.searchsorted(held.pairs, distances, side="right") / max(len(held.pairs), 1)
    return [
        Match(
            *(names[n].id, n, names[n].url, names[n].label),
            start_s=start_s,
            end_s=end_s,
            distance=distance,
            similarity=1 - distance * distance / 2,
            closer_than=closer,
        )
        for n, start_s, end_s, distance, closer in zip(
            numbers,
            held.rows["start_s"][rows].tolist(),
            held.rows["end_s"][rows].tolist(),
            distances.tolist(),
            farther.tolist(),
            strict=True,
        )
    ]


def _best_rows(opened: _Opened, queries: Vectors, k: int, without: Sequence[int]) -> tuple[Any, Any]:
    """Rows of `k` different items, nearest first, and their distances; ties by row."""
    numbers = opened.generation.rows["n"]
    n_rows = len(numbers)
    wanted = min(n_rows, k + len(without) + 4)
    while True:
        blocks = [
            opened.engine.query(queries[at : at + _QUERIES_AT_ONCE], wanted)
            for at in range(0, len(queries), _QUERIES_AT_ONCE)
        ]
        rows = np.concatenate([block.rows.ravel() for block in blocks])
        distances = np.concatenate([block.distances.ravel() for block in blocks]).astype(np.float64)
        # What a query did not fetch is no nearer than its last: beyond the nearest of these ends nothing is sure.
        sure = np.inf if wanted == n_rows else min(float(block.distances[:, -1].min()) for block in blocks)
        order = np.lexsort((rows, distances))
        _, first = np.unique(numbers[rows[order]], return_index=True)
        best = order[np.sort(first)]
        if without:
            best = best[~np.isin(numbers[rows[best]], without)]
        if wanted == n_rows or (len(best) >= k and distances[best[k - 1]] <= sure):
            return rows[best[:k]], distances[best[:k]]
        wanted = min(n_rows, 4 * wanted)


def _checked(query: Any, dim: int) -> Vectors:
    """The vector at unit length."""
    try:
        vector = np.asarray(query.detach().cpu() if hasattr(query, "detach") else query, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise QueryError("a vector is a list of numbers") from error
    if vector.shape != (dim,):
        shape = "x".join(map(str, vector.shape)) or "one"
        raise QueryError(f"the vector has {shape} numbers; this index takes vectors of {dim}, made by its own encoder")
    if not np.isfinite(vector).all():
        raise QueryError("the vector has NaN or infinite numbers in it")
    if not vector.any():
        raise QueryError("the vector is all zeros: it has no direction, so nothing is near to it")
    return engine.unit(vector)


def _embedded(opened: _Opened, blocks: Any, name: str) -> list[Embedded]:
    header = opened.generation.header
    windows = audio.windows(blocks, which="first" if header.windows == "first" else "all", hop_s=header.hop_s)
    parts, batch, vectors = list[Part](), list[Vectors](), list[Vectors]()
    for window in windows:
        if window.silent:
            continue
        parts.append(Part(window.start_s, window.end_s))
        batch.append(window.samples)
        if len(batch) == BATCH_WINDOWS:  # a long sound is embedded as it comes
            vectors.append(opened.embed(np.stack(batch)))
            batch = []
    if batch:
        vectors.append(opened.embed(np.stack(batch)))
    if not parts:
        raise SilentSoundError(name, "is silent: there is nothing to compare")
    return [Embedded(*pair) for pair in zip(parts, np.concatenate(vectors), strict=True)]


def _named(source: audio.Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the sound"


def _row_of(opened: _Opened, id_or_n: str | int) -> sqlite3.Row:
    column = "id" if isinstance(id_or_n, str) else "n"
    found = opened.select(f"SELECT * FROM items WHERE {column} = ?", [id_or_n])  # noqa: S608  # one of two names
    if not found:
        raise UnknownItemError(
            f"no sound with {column} {id_or_n!r} is in this index: /items or boiler status lists them"
        )
    return found[0]

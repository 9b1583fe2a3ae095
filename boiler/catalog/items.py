"""The fields of an item, in one table, and `meta.sqlite`, the file of a published index with its items.

`Item` is the table: each of its fields has its SQL type, a description, an example, and flags for who uses it. `FIELDS`
is derived from it, and from that the columns of `meta.sqlite`, the fields of filters (`boiler.search.filters`), the
HTTP model (`boiler.service.schemas`) and the columns of exported tables.

To add a field, add it here, with a default, and give it a value: in the catalog (a migration in
`boiler.catalog.schema`, whose view `heard` then has a column of that name) or in `Catalog.items`. Files published
before lack its column and give the default.

`meta.sqlite` is written once, inside a generation, and never changed. ::

    items     one row per item in the order of n: the fields of `Item`, and
              first_row, n_rows: its rows in vectors.npy; vec_row: its row in item_vectors.npy (NULL without rows)
    failures  id, reason, sha256: the files that could not be read
    meta      key, value: what else was recorded at publication
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, get_origin, get_type_hints

import numpy as np

from boiler.arrays import Int64Array

_MAX_PARAMETERS = 500  # per statement; SQLite allows more than this everywhere


def _column(
    sql: str,
    description: str,
    example: object,
    *,
    filterable: bool = True,
    served: bool = True,
    exported: bool = False,
    indexed: bool = False,
) -> dict[str, Any]:
    """The metadata of a field of `Item`; see `ItemField`."""
    return {
        "sql": sql,
        "description": description,
        "example": example,
        "filterable": filterable,
        "served": served,
        "exported": exported,
        "indexed": indexed,
    }


@dataclass(frozen=True)
class Item:
    """One sound of the collection. Only `n` and `id` are required; unknown values keep their defaults."""

    n: int = field(
        metadata=_column("INTEGER PRIMARY KEY", "the item's stable number, for addresses", 17, exported=True)
    )
    id: str = field(
        metadata=_column(
            "TEXT NOT NULL UNIQUE",
            "path below the folder that was indexed: POSIX, Unicode NFC",
            "dog/1-100032-A.ogg",
            exported=True,
        )
    )
    url: str = field(
        default="",
        metadata=_column(
            "TEXT NOT NULL", "what the index's URL template made of the id", "dog/1-100032-A.ogg", exported=True
        ),
    )
    label: str | None = field(
        default=None,
        metadata=_column("TEXT", "its label, where the collection has labels", "dog", exported=True, indexed=True),
    )
    folder: str = field(
        init=False,
        default="",
        metadata=_column(
            "TEXT NOT NULL", "the folder part of the id; empty at the top", "dog", exported=True, indexed=True
        ),
    )
    duration_s: float = field(default=0.0, metadata=_column("REAL NOT NULL", "duration in seconds", 5.0, exported=True))
    sample_rate_hz: int = field(
        default=0, metadata=_column("INTEGER NOT NULL", "sample rate of the file", 44_100, exported=True)
    )
    channels: int = field(default=0, metadata=_column("INTEGER NOT NULL", "channels of the file", 1, exported=True))
    format: str = field(default="", metadata=_column("TEXT NOT NULL", "container and codec", "ogg", exported=True))
    size_bytes: int = field(default=0, metadata=_column("INTEGER NOT NULL", "size of the file", 38_121))
    mtime_s: float = field(
        default=0.0,
        metadata=_column("REAL NOT NULL", "modification time, Unix seconds", 1_700_000_000.0, served=False),
    )
    sha256: str = field(
        default="", metadata=_column("TEXT NOT NULL", "of the file's bytes", "0f9f…", exported=True, indexed=True)
    )
    silent: bool = field(
        default=False, metadata=_column("INTEGER NOT NULL", "silence alone: it has no neighbours", False)
    )
    warning: str = field(
        default="",
        metadata=_column(
            "TEXT NOT NULL",
            "what of it could not be decoded; empty if nothing",
            "it ends 3.2 s before the end that it states",
        ),
    )
    metadata: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_column("TEXT NOT NULL", "further columns of the collection's table", {}, filterable=False),
    )
    tags: Mapping[str, float] = field(
        default_factory=dict,
        metadata=_column(
            "TEXT NOT NULL", "tags that a model gave it, with their probabilities", {"dog": 0.93}, filterable=False
        ),
    )
    tags_by_hand: Mapping[str, bool] = field(
        default_factory=dict,
        metadata=_column(
            "TEXT NOT NULL",
            "tags that a person said it has, or has not; they count instead of the model's",
            {"dog": True},
            filterable=False,
        ),
    )
    file: bytes | None = field(
        default=None,
        metadata=_column("BLOB", "the path on disk where it differs from the id", None, filterable=False, served=False),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", folder_of(self.id))

    def path(self, root: Path) -> Path:
        """The path of the sound file. The name on disk differs from the id where it is not NFC or not UTF-8.

        >>> Item(0, "drums/snare.wav").path(Path("sounds")).as_posix()
        'sounds/drums/snare.wav'
        """
        return root / (self.id if self.file is None else os.fsdecode(self.file))


@dataclass(frozen=True)
class ItemField:
    """A field of `Item`.

    type: the Python type, as annotated
    sql: the column definition in `meta.sqlite`, without the name
    description, example: for the HTTP model
    default: of `Item`; `MISSING` where it is required
    filterable: filters may compare it; served: the HTTP model has it; exported: exported tables have it
    indexed: `meta.sqlite` has an index on it
    computed: it follows from the other fields and is not passed to `Item`
    """

    name: str
    type: Any
    sql: str
    description: str
    example: Any
    default: Any
    filterable: bool
    served: bool
    exported: bool
    indexed: bool
    computed: bool

    def to_sql(self, value: Any) -> Any:
        """A value of this field as SQLite stores it: collections as JSON."""
        if self._is_json:
            return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False, sort_keys=True)
        return int(value) if self.type is bool else value

    def from_sql(self, value: Any) -> Any:
        """The inverse of `to_sql`."""
        if self._is_json:
            return json.loads(value)
        return bool(value) if self.type is bool else value

    @property
    def is_plain(self) -> bool:
        """Whether SQLite stores the value as it is."""
        return self.type is not bool and not self._is_json

    @property
    def _is_json(self) -> bool:
        origin = get_origin(self.type)
        return isinstance(origin, type) and issubclass(origin, Collection)


def item_fields(item_type: type[Item]) -> tuple[ItemField, ...]:
    """The fields of `Item` (or of a subclass of it), in order."""
    types = get_type_hints(item_type)
    return tuple(
        ItemField(
            name=one.name,
            type=types[one.name],
            default=one.default if one.default_factory is MISSING else one.default_factory(),
            computed=not one.init,
            **one.metadata,
        )
        for one in dataclass_fields(item_type)
    )


FIELDS: tuple[ItemField, ...] = item_fields(Item)
FILTERABLE: tuple[str, ...] = tuple(one.name for one in FIELDS if one.filterable)
SERVED: tuple[str, ...] = tuple(one.name for one in FIELDS if one.served)
EXPORTED: tuple[str, ...] = tuple(one.name for one in FIELDS if one.exported)

_ROW_COLUMNS = {"first_row": "INTEGER", "n_rows": "INTEGER NOT NULL", "vec_row": "INTEGER"}


def schema_sql() -> str:
    """The tables of `meta.sqlite`."""
    columns = [f"{one.name} {one.sql}" for one in FIELDS]
    columns += [f"{name} {sql}" for name, sql in _ROW_COLUMNS.items()]
    return f"""
CREATE TABLE items ({", ".join(columns)});
CREATE TABLE failures (id TEXT NOT NULL, reason TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def index_sql() -> str:
    """The indices of `meta.sqlite`. Created after the rows are in, which is faster."""
    return "".join(f"CREATE INDEX items_{one.name} ON items ({one.name});\n" for one in FIELDS if one.indexed)


@dataclass(frozen=True)
class Failure:
    """A file that could not be embedded, and why. `sha256` is empty if its bytes could not be read either."""

    id: str
    reason: str
    sha256: str = ""


@dataclass(frozen=True)
class PlacedItem:
    """An item and its rows: `n_rows` of them from `first_row` on, and `vec_row` in item_vectors.npy."""

    item: Item
    first_row: int
    n_rows: int
    vec_row: int


def folder_of(id: str) -> str:
    """The folder part of an id; empty at the top.

    >>> folder_of("drums/snare/one.wav"), folder_of("one.wav")
    ('drums/snare', '')
    """
    return id.rpartition("/")[0]


def write_database(
    path: Path, items: Iterable[PlacedItem], failures: Iterable[Failure], meta: Mapping[str, str]
) -> None:
    """Write a whole `meta.sqlite` at `path`, which must not exist. The items are read one by one."""
    names = (*(one.name for one in FIELDS), *_ROW_COLUMNS)
    insert = f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # ours
    connection = sqlite3.connect(path)
    try:
        # The file is built in an unpublished folder and discarded if anything fails, so it needs no journal.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.executescript(schema_sql())
        with connection:
            connection.executemany(insert, map(_values_of, items))
            connection.executemany(
                "INSERT INTO failures VALUES (?, ?, ?)", ((one.id, one.reason, one.sha256) for one in failures)
            )
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.executescript(index_sql())
    finally:
        connection.close()


_TO_SQL = [(one.name, None if one.is_plain else one.to_sql) for one in FIELDS]  # looked up once, not for every item


def _values_of(placed: PlacedItem) -> tuple[Any, ...]:
    has_rows = placed.n_rows > 0
    values = [(getattr(placed.item, name), to_sql) for name, to_sql in _TO_SQL]
    return (
        *(value if to_sql is None else to_sql(value) for value, to_sql in values),
        placed.first_row if has_rows else None,
        placed.n_rows,
        placed.vec_row if has_rows else None,
    )


def connect(path: Path) -> sqlite3.Connection:
    """Open a published `meta.sqlite` for reading; rows are `sqlite3.Row`. Columns that the file lacks, because it was
    published before they were added, read as their defaults."""
    # immutable: a published file never changes, so SQLite needs no locks.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    present = {row["name"] for row in connection.execute("PRAGMA main.table_info(items)")}
    missing = [one for one in FIELDS if one.name not in present]
    if missing and present:
        connection.execute("PRAGMA temp_store=MEMORY")
        quoted = [
            (connection.execute("SELECT quote(?)", (one.to_sql(one.default),)).fetchone()[0], one.name)
            for one in missing
        ]
        added = ", ".join(f"{value} AS {name}" for value, name in quoted)
        connection.execute(f"CREATE TEMP VIEW items AS SELECT *, {added} FROM main.items")  # noqa: S608  # quoted
    return connection


class ItemName(NamedTuple):
    """The fields of an item that search results show."""

    id: str
    url: str
    label: str | None


class Totals(NamedTuple):
    """Sums over all items."""

    n_items: int
    n_silent: int
    duration_s: float
    size_bytes: int


class _Locked:
    """A connection that one thread uses at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.lock = threading.Lock()

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self.lock:
            return self.connection.execute(sql, parameters).fetchall()


class ItemDatabase:
    """A published `meta.sqlite`, opened for reading. All SQL over items is here.

    Any thread may use it. One connection serves the lookups of a few items, which take microseconds, one at a time; a
    second one, where it is given, everything else, so that no lookup waits for a scan. A condition (`where`) is SQL
    text and its parameters, as `boiler.search.filters.Filter.sql` gives them.
    """

    def __init__(self, connection: sqlite3.Connection, scans: sqlite3.Connection | None = None) -> None:
        self._lookups = _Locked(connection)
        self._scans = _Locked(scans) if scans is not None else self._lookups

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at `path`."""
        return cls(connect(path), connect(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._lookups.connection.close()
        self._scans.connection.close()

    # ---------------------------------------------------------------------------------------------- items

    def record(self, id_or_n: str | int) -> sqlite3.Row | None:
        """All columns of an item, those of its rows included; None if there is no such item."""
        column = "id" if isinstance(id_or_n, str) else "n"
        found = self._lookups.select(f"SELECT * FROM items WHERE {column} = ?", (id_or_n,))  # noqa: S608  # one of two
        return found[0] if found else None

    def records(self, *, min_duration_s: float = 0.0) -> list[sqlite3.Row]:
        """All columns of the items that have rows, in the order of n."""
        return self._select("SELECT * FROM items WHERE n_rows > 0 AND duration_s >= ? ORDER BY n", (min_duration_s,))

    def page(
        self,
        *,
        offset: int,
        limit: int,
        text: str | None = None,
        label: str | None = None,
        folder: str | None = None,
        condition: tuple[str, Sequence[Any]] | None = None,
    ) -> list[Item]:
        """A page of the items in the order of n: those whose id contains `text` (in any case), that have `label`, and
        that are in `folder` itself, not below it."""
        where, values = ["1"], list[Any]()
        if text is not None:
            for sign in "\\%_":
                text = text.replace(sign, f"\\{sign}")
            where.append("id LIKE ? ESCAPE '\\'")
            values.append(f"%{text}%")
        for name, value in (("label", label), ("folder", folder)):
            if value is not None:
                where.append(f"{name} = ?")
                values.append(value)
        if condition is not None:
            where.append(f"({condition[0]})")
            values += condition[1]
        sql = f"SELECT * FROM items WHERE {' AND '.join(where)} ORDER BY n LIMIT ? OFFSET ?"  # noqa: S608  # ours
        return [item_of(row) for row in self._select(sql, [*values, limit, offset])]

    def items(self) -> Iterator[Item]:
        """Every item, in the order of n."""
        last = -1
        while rows := self._select("SELECT * FROM items WHERE n > ? ORDER BY n LIMIT 1000", (last,)):
            yield from map(item_of, rows)
            last = rows[-1]["n"]

    def names(self, numbers: Sequence[int]) -> dict[int, ItemName]:
        """The names of these items, by n."""
        found = self._select_among(self._lookups, "SELECT n, id, url, label FROM items WHERE n IN ({})", numbers)
        return {number: ItemName(*name) for number, *name in found}

    def values(self, expression: str, parameters: Sequence[Any], numbers: Sequence[int]) -> dict[int, Any]:
        """An SQL expression over the columns of each of these items, by n."""
        sql = f"SELECT n, {expression} FROM items WHERE n IN ({{}})"  # noqa: S608  # ours
        found = self._select_among(self._scans, sql, numbers, parameters)
        return dict(map(tuple, found))

    def column(self, name: str) -> list[Any]:
        """A column of all items that have rows, in the order of n."""
        sql = f"SELECT {_known(name)} FROM items WHERE n_rows > 0 ORDER BY n"  # noqa: S608  # a known column
        return [row[0] for row in self._select(sql)]

    def row_spans(self, where: str, parameters: Sequence[Any]) -> Int64Array:
        """`first_row` and `n_rows` of the items that have rows and meet the condition, in the order of n.

        Shape: [K, 2]
        """
        sql = f"SELECT first_row, n_rows FROM items WHERE n_rows > 0 AND ({where}) ORDER BY n"  # noqa: S608  # ours
        with self._scans.lock:
            cursor = self._scans.connection.cursor()
            cursor.row_factory = None  # plain tuples: half the time for half a million rows
            flat = np.fromiter(chain.from_iterable(cursor.execute(sql, parameters)), np.int64)
        return flat.reshape(-1, 2)

    # --------------------------------------------------------------------------------------------- counts

    def totals(self) -> Totals:
        """Counts and sums over all items."""
        (row,) = self._select(
            "SELECT COUNT(*), COALESCE(SUM(silent), 0), COALESCE(SUM(duration_s), 0), COALESCE(SUM(size_bytes), 0)"
            " FROM items"
        )
        return Totals(*row)

    def counts(self, name: str) -> list[tuple[str, int]]:
        """The values of a column and how many items have each, most frequent first; "" means no value."""
        column = f"COALESCE({_known(name)}, '')"
        sql = f"SELECT {column}, COUNT(*) FROM items GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608  # a known column
        return [(str(value), count) for value, count in self._select(sql)]

    def tags(self) -> Iterator[tuple[dict[str, float], dict[str, bool]]]:
        """The tags of a model and those by hand of every item that has any."""
        last = -1
        has_any = "(tags <> '{}' OR tags_by_hand <> '{}')"
        sql = f"SELECT n, tags, tags_by_hand FROM items WHERE n > ? AND {has_any} ORDER BY n LIMIT 1000"  # noqa: S608
        while rows := self._select(sql, (last,)):
            yield from ((json.loads(tags), json.loads(by_hand)) for _, tags, by_hand in rows)
            last = rows[-1][0]

    def durations_s(self) -> list[float]:
        """The duration of every item that has one."""
        return [row[0] for row in self._select("SELECT duration_s FROM items WHERE duration_s > 0")]

    def same_bytes(self, limit: int | None = None) -> list[list[str]]:
        """Groups of ids whose files have the same bytes, each group and the groups in the order of ids."""
        groups = self._select(
            "SELECT json_group_array(id) FROM (SELECT id, sha256 FROM items WHERE sha256 <> '' ORDER BY id)"
            " GROUP BY sha256 HAVING COUNT(*) > 1 ORDER BY MIN(id) LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [json.loads(row[0]) for row in groups]

    # ------------------------------------------------------------------------------------ the other tables

    def failures(self, limit: int | None = None, offset: int = 0) -> list[Failure]:
        """The files that could not be embedded, in the order of ids."""
        found = self._select(
            "SELECT id, reason, sha256 FROM failures ORDER BY id LIMIT ? OFFSET ?",
            (-1 if limit is None else limit, offset),
        )
        return [Failure(*row) for row in found]

    def warnings(self, limit: int | None = None) -> list[Failure]:
        """The items of which a part could not be decoded, and what, in the order of ids."""
        sql = "SELECT id, warning, sha256 FROM items WHERE warning <> '' ORDER BY id LIMIT ?"
        return [Failure(*row) for row in self._select(sql, (-1 if limit is None else limit,))]

    def meta(self) -> dict[str, str]:
        """Further values recorded at publication."""
        return dict(map(tuple, self._lookups.select("SELECT key, value FROM meta")))

    def _select(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return self._scans.select(sql, parameters)

    @staticmethod
    def _select_among(
        connection: _Locked, sql: str, numbers: Sequence[int], parameters: Sequence[Any] = ()
    ) -> list[sqlite3.Row]:
        """`sql` has `{}` in the place of a list of numbers, after the other parameters."""
        found: list[sqlite3.Row] = []
        for at in range(0, len(numbers), _MAX_PARAMETERS):
            part = numbers[at : at + _MAX_PARAMETERS]
            found += connection.select(sql.replace("{}", ",".join("?" * len(part))), [*parameters, *part])
        return found


def _known(name: str) -> str:
    if name not in _COLUMN_NAMES:
        raise ValueError(f"items have no column {name!r}")
    return name


_COLUMN_NAMES = frozenset((*(one.name for one in FIELDS), *_ROW_COLUMNS))


def item_reader(fields: Iterable[ItemField]) -> Callable[[Mapping[str, Any] | sqlite3.Row], Item]:
    """A function that makes an `Item` of a row that has a column for each of these fields."""
    given = [one for one in fields if not one.computed]
    plain = [one.name for one in given if one.is_plain]
    stored = [(one.name, one.from_sql) for one in given if not one.is_plain]

    def read(row: Mapping[str, Any] | sqlite3.Row) -> Item:
        values = {name: row[name] for name in plain}
        for name, from_sql in stored:
            values[name] = from_sql(row[name])
        return Item(**values)

    return read


item_of = item_reader(FIELDS)
"""The `Item` in a row of all columns of `items`."""

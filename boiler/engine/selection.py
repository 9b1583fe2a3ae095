"""Which engines an index gets, and which of them answers.

The files of `ALWAYS_WRITTEN` are part of the layout of a model directory. Which engine answers is chosen by the number
of rows (`preferred`), or by name (`EngineChoice`). Each engine is loaded again from its file and tested against exact
search before the index is published; one that finds less than `RECALL_WANTED` of the ten nearest is skipped, unless it
was chosen by name.

The result is the entry `engine` of `boiler.json`: the name of the engine that answers, and for each engine with a file
its parameters and its recall. ::

    {"name": "hnsw", "annoy": {"n_trees": 50, "search_k": 500, "seed": 0, "recall_at_10": 0.997},
                     "hnsw": {"n_links": 24, "build_width": 160, "width": 64, "recall_at_10": 0.994}}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.engine import Engine, HostedEngine
from boiler.errors import EngineError, ModelDirError

AUTO = "auto"
"""Choose the engine by the number of rows."""

EXACT = "exact"
"""The engine that needs no file, so every index can use it."""

ALWAYS_WRITTEN = ("annoy",)
"""Engines whose file every index has, whichever of them answers."""

HOSTED = ("milvus",)
"""Engines that keep something outside of the folder of a generation."""

RECALL_WANTED = 0.99
EXACT_UP_TO_ROWS = 30_000
"""Up to here exact search is faster than every other engine (exp/records/search.md)."""

_RECALL = "recall_at_10"
_TEST_QUERIES = 200
_TEST_K = 10

_log = logging.getLogger(__name__)


def preferred(n_rows: int) -> Sequence[str]:
    """The engines to try for an index of that size, best first; the first with enough recall answers.

    >>> preferred(1_000), preferred(1_000_000)
    (('exact',), ('hnsw', 'annoy', 'exact'))
    """
    return (EXACT,) if n_rows <= EXACT_UP_TO_ROWS else ("hnsw", "annoy", EXACT)


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, with options for its parameters; `auto`, which has no options, chooses by size.

    Raises: UnknownNameError: no such engine or option. EngineError: a value that does not fit.
    """

    name: str = AUTO
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == AUTO:
            if self.options:
                raise EngineError(f"the option {next(iter(self.options))} belongs to an engine: name it, too")
            return
        kind = engine.find_engine(self.name)
        given = asdict(engine.parse_parameters(kind, self.options))
        object.__setattr__(self, "options", {key: given[key] for key in sorted(self.options)})

    def key(self) -> str:
        """The choice as text: equal for equal choices."""
        return json.dumps([self.name, dict(self.options)], sort_keys=True)


def parse_options(words: Sequence[str]) -> dict[str, str]:
    """Options from words `key=value`.

    Raises: EngineError: a word without `=`, or a key given twice.

    >>> parse_options(["width=64", "n_links=32"])
    {'width': '64', 'n_links': '32'}
    """
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise EngineError(f"an option is given as KEY=VALUE, not as {word!r}")
        if key in options:
            raise EngineError(f"the option {key} is given twice")
        options[key] = value
    return options


def write_engines(
    folder: Path, vectors: Float32Array, choice: EngineChoice | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Build and save the engines of an index in `folder`; returns the entry `engine` of `boiler.json`.

    `vectors` [N, D] are of unit length; `seed` is that of the index.
    """
    choice = choice or EngineChoice()
    names = preferred(len(vectors)) if choice.name == AUTO else (choice.name,)
    random = np.random.default_rng(seed)
    queries = vectors[np.sort(random.choice(len(vectors), min(_TEST_QUERIES, len(vectors)), replace=False))]
    truth = _exact(vectors).query(queries, _TEST_K)
    written: dict[str, Any] = {}

    def write(name: str) -> float:
        """Write the engine unless it is written already, and return its recall."""
        if name not in written:
            kind = engine.find_engine(name)
            options = choice.options if name == choice.name else {}
            built = kind.build(vectors, engine.parse_parameters(kind, options, seed=seed))
            built.save(folder / kind.name)
            parameters, measured = built.parameters, built.recall_at_10
            del built  # so that a large engine is not in memory twice
            found = kind.load(folder / kind.name, vectors, parameters).query(queries, _TEST_K)
            recall = min(engine.recall(found, truth), 1.0 if measured is None else measured)
            written[name] = asdict(parameters) | {_RECALL: round(recall, 4)}
        return float(written[name][_RECALL])

    for name in ALWAYS_WRITTEN:
        write(name)
    answers = EXACT
    for name in names:
        if name == EXACT:
            break
        recall = write(name)
        if recall < RECALL_WANTED and choice.name == name:
            _log.warning(
                "the engine %s finds %.1f %% of the nearest ten instead of %.0f %%: it is used because it was"
                " chosen by name; give it other options, or choose auto",
                name,
                100 * recall,
                100 * RECALL_WANTED,
            )
        if recall >= RECALL_WANTED or choice.name == name:
            answers = name
            break
    return {"name": answers, **written}


def _exact(vectors: Float32Array) -> Engine:
    kind = engine.find_engine(EXACT)
    return kind.build(vectors, engine.parse_parameters(kind, {}))


def finds_first_row(index: Engine, vectors: Float32Array) -> bool:
    """Whether an engine finds the first of its vectors: a check that its file belongs to them. Shape: vectors [N, D]"""
    if not len(vectors):
        return True
    first = index.query(vectors[:1], 1)
    return first.rows.shape == (1, 1) and bool(first.distances[0, 0] <= 1e-3)


def load_engine(folder: Path, entry: Mapping[str, Any], name: str, vectors: Float32Array) -> Engine:
    """An engine of a published index, with the parameters that were saved.

    `folder` is that of the generation, `entry` the entry `engine` of its `boiler.json`.

    Raises: UnknownNameError, EngineError: no such engine. ModelDirError: the index was published without it, or its
    file is missing or damaged.
    """
    if name == EXACT:
        return _exact(vectors)
    kind = engine.find_engine(name)
    if name not in entry:
        raise ModelDirError(
            f"{folder} was published without {name}: with {len(vectors):,} rows it is searched by {entry.get('name')};"
            f" boiler index --engine {name} adds it"
        )
    saved = {key: value for key, value in entry[name].items() if key != _RECALL}
    known = {one.name for one in fields(kind.Parameters)}
    if unknown := sorted(saved.keys() - known):
        raise ModelDirError(
            f"{folder}: boiler.json gives the engine {name} parameters that it does not have here:"
            f" {', '.join(unknown)}; run boiler index again"
        )
    return kind.load(folder / kind.name, vectors, kind.Parameters(**saved))


def engine_files(name: str, files: Collection[str]) -> list[str]:
    """The files of an engine among those of a generation: its own, and its folder."""
    return [file for file in files if file == name or file.startswith(f"{name}.db/")]


def make_current(folder: Path, entry: Mapping[str, Any]) -> None:
    """Let the hosted engines of a generation know that it is the current one. `folder` and `entry` as in `load_engine`.

    A failure is logged: the index is published, and its readers do not depend on it.
    """
    for name in HOSTED:
        if name in entry:
            kind = engine.find_engine(name)
            assert issubclass(kind, HostedEngine)
            values = {key: value for key, value in entry[name].items() if key != _RECALL}
            try:
                kind.make_current(folder / name, kind.Parameters(**values))
            except ModelDirError as error:
                _log.warning("%s", error)


def drop(folder: Path) -> None:
    """Delete what the hosted engines of a generation, which may be unfinished, keep elsewhere."""
    for name in HOSTED:
        if (folder / name).is_file():
            try:
                kind = engine.find_engine(name)
            except EngineError as error:
                _log.warning("what the index %s keeps elsewhere was not deleted: %s", folder.name, error)
                continue
            assert issubclass(kind, HostedEngine)
            kind.drop(folder / name)

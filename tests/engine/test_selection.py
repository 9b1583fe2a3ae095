"""Which engines are built for an index, with which parameters, and which one answers; also a third-party engine."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from generations import publish

from boiler import engine
from boiler.arrays import Float32Array
from boiler.engine import Neighbours, selection
from boiler.engine.annoy import TREES_TRIED
from boiler.engine.exact import Exact
from boiler.engine.selection import EngineChoice
from boiler.errors import EngineError, ModelDirError, UnknownNameError
from boiler.search.snapshot import Snapshot

TINY = f"{__name__}:Tiny"


@dataclass(frozen=True)
class TinyParameters:
    depth: int = 3
    exhaustive: bool = True
    seed: int = 0
    note: str = ""
    share: float | None = None

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")


class Tiny:
    """A third-party engine: exact search, or with `exhaustive=false` one that always returns the first rows."""

    name: ClassVar[str] = "tiny"
    Parameters: ClassVar[type[TinyParameters]] = TinyParameters
    recall_at_10: float | None = None

    def __init__(self, vectors: Float32Array, parameters: TinyParameters) -> None:
        self.vectors, self.parameters = vectors, parameters

    @classmethod
    def build(cls, vectors: Float32Array, parameters: TinyParameters) -> Self:
        return cls(vectors, parameters)

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        exact = Exact(self.vectors, once=True)
        if self.parameters.exhaustive:
            return exact.query(queries, k)
        return exact.query(queries, k, np.arange(min(k, len(self.vectors))))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self.parameters)))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: TinyParameters) -> Self:
        assert json.loads(path.read_text()) == asdict(parameters)
        return cls(vectors, parameters)


class Nameless:
    """Not an engine."""


class Thief(Tiny):
    name = "annoy"


def test_few_rows_are_searched_exactly(tmp_path: Path) -> None:
    assert publish(tmp_path / "m").header.engine["name"] == "exact"


def test_many_rows_are_searched_by_the_graph_if_its_recall_is_high_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "EXACT_UP_TO_ROWS", 10)
    opened = publish(tmp_path / "one")
    assert opened.header.engine["name"] == "hnsw"
    assert opened.header.engine["hnsw"]["recall_at_10"] >= selection.RECALL_WANTED
    vectors = np.asarray(opened.vectors)
    found = selection.load_engine(opened.path, opened.header.engine, "hnsw", vectors).query(vectors[:5], 3)
    np.testing.assert_array_equal(found.rows, Exact(vectors).query(vectors[:5], 3).rows)
    monkeypatch.setattr(selection, "RECALL_WANTED", 1.1)  # no engine has this recall
    monkeypatch.setattr("boiler.engine.annoy.RECALL_WANTED", 1.1)
    entry = publish(tmp_path / "other").header.engine
    assert entry["name"] == "exact"
    assert entry["annoy"]["n_trees"] == max(TREES_TRIED)


def test_a_third_party_engine_is_built_published_selected_and_reopened(tmp_path: Path) -> None:
    choice = EngineChoice(TINY, {"depth": "5", "share": "0.25"})
    opened = publish(tmp_path / "m", seed=7, engine=choice)
    entry = opened.header.engine
    assert entry["name"] == TINY
    expected = {"depth": 5, "exhaustive": True, "seed": 7, "note": "", "share": 0.25}
    assert entry[TINY] == expected | {"recall_at_10": 1.0}
    assert (opened.path / "tiny").is_file()
    assert (opened.path / "annoy").is_file()  # always written
    snapshot = Snapshot.open(tmp_path / "m")
    assert isinstance(snapshot.engine, Tiny)
    assert snapshot.engine.parameters == TinyParameters(depth=5, seed=7, share=0.25)
    assert Snapshot.open(tmp_path / "m", "annoy").engine.parameters.seed == 7


def test_an_engine_chosen_by_name_answers_even_with_low_recall_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "boiler"):
        opened = publish(tmp_path / "m", engine=EngineChoice(TINY, {"exhaustive": "false"}))
    assert opened.header.engine["name"] == TINY
    assert opened.header.engine[TINY]["recall_at_10"] < 0.99
    assert "chosen by name" in caplog.text


def test_the_parameters_of_annoy_and_hnsw_are_saved_and_used(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m", engine=EngineChoice("annoy", {"n_trees": 7, "search_k": "90"}))
    assert opened.header.engine["name"] == "annoy"
    assert opened.header.engine["annoy"] | {"recall_at_10": 0} == {
        "n_trees": 7, "search_k": 90, "seed": 0, "recall_at_10": 0
    }  # fmt: skip
    assert Snapshot.open(tmp_path / "m").engine.parameters.search_k == 90
    opened = publish(tmp_path / "m", engine=EngineChoice("hnsw", {"width": "33", "n_links": "8"}))
    assert opened.header.engine["hnsw"]["n_links"] == 8
    assert Snapshot.open(tmp_path / "m").engine.parameters.width == 33


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"witdh": 3}, UnknownNameError, "no option of the engine hnsw is called 'witdh'; did you mean 'width'"),
        ({"width": "wide"}, EngineError, "the engine hnsw: width must be of type int, not 'wide'"),
        ({"width": 2.5}, EngineError, "the engine hnsw: width must be of type int, not 2.5"),
        ({"width": True}, EngineError, "width must be of type int, not True"),
        ({"n_links": 1}, EngineError, "the engine hnsw: n_links must be at least 2, not 1"),
    ],
)
def test_an_invalid_option_is_refused_with_the_known_ones(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        EngineChoice("hnsw", options)


def test_every_kind_of_value_is_parsed_from_text() -> None:
    options = {"depth": "2", "exhaustive": "False", "note": "a=b", "share": 1, "seed": 4}
    parsed = engine.parse_parameters(Tiny, options, seed=9)
    assert parsed == TinyParameters(depth=2, exhaustive=False, note="a=b", share=1.0, seed=4)
    assert type(parsed.share) is float
    assert engine.parse_parameters(Tiny, {"share": None}).share is None
    with pytest.raises(EngineError, match="exhaustive must be of type bool, not 'maybe'"):
        engine.parse_parameters(Tiny, {"exhaustive": "maybe"})
    with pytest.raises(EngineError, match="the engine tiny: depth must be at least 1"):
        engine.parse_parameters(Tiny, {"depth": 0})


def test_options_for_an_engine_without_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Known: none"):
        EngineChoice("exact", {"width": 3})
    with pytest.raises(EngineError, match="belongs to an engine"):
        EngineChoice("auto", {"width": 3})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Flat", "cannot be imported"),
        (f"{__name__}:Missing", "cannot be imported"),
        (":Flat", "cannot be imported"),
        (f"{__name__}:Nameless", "it has no name, Parameters, build"),
        (f"{__name__}:TINY", "is not an engine"),
        (f"{__name__}:Thief", "name that no other engine has"),
    ],
)
def test_an_invalid_engine_class_is_refused(name: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine.find_engine(name)


def test_options_are_given_as_key_equals_value() -> None:
    assert selection.parse_options(["a=1", "b=c=d"]) == {"a": "1", "b": "c=d"}
    for wrong, message in ((["a"], "KEY=VALUE"), (["=1"], "KEY=VALUE"), (["a=1", "a=2"], "twice")):
        with pytest.raises(EngineError, match=message):
            selection.parse_options(wrong)


def test_equal_choices_have_equal_keys() -> None:
    one = EngineChoice("hnsw", {"width": "33", "n_links": 8})
    assert one.key() == EngineChoice("hnsw", {"n_links": "8", "width": 33}).key()
    assert one.key() != EngineChoice("hnsw").key() != EngineChoice("exact").key()


def test_an_index_of_the_version_before_opens_with_its_engines(tmp_path: Path) -> None:
    """Its entry in boiler.json has fewer keys: no `n_links` of the graph, and a name chosen by size."""
    opened = publish(tmp_path / "m", engine=EngineChoice("hnsw"))
    old = {
        "name": "hnsw",
        "annoy": {"n_trees": 50, "search_k": 500, "seed": 0, "recall_at_10": 1.0},
        "hnsw": {"width": 21, "recall_at_10": 1.0},
    }
    vectors = np.asarray(opened.vectors)
    for name in ("hnsw", "annoy", "exact"):
        loaded = selection.load_engine(opened.path, old, name, vectors)
        assert loaded.query(vectors[:3], 1).rows[:, 0].tolist() == [0, 1, 2]
        if name == "hnsw":
            assert loaded.parameters.width == 21


def test_parameters_of_a_later_version_are_refused(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m")
    entry = {"name": "annoy", "annoy": {**opened.header.engine["annoy"], "branches": 3}}
    with pytest.raises(ModelDirError, match="branches"):
        selection.load_engine(opened.path, entry, "annoy", np.asarray(opened.vectors))

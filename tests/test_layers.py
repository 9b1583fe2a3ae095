"""Imports run one way: no room imports from its own layer or from one above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import boiler

PACKAGE = Path(boiler.__file__).parent

# Lowest first. A room may import rooms of the layers before its own, and nothing else of boiler.
LAYERS: list[list[str]] = [
    ["errors"],
    ["container"],
    [
        "settings",
        "audio",
        "mel",
        "quantize",
        "metrics",
        "arguments",
        "progress",
        "atomic",
        "process",
        "synthesis",
        "pictures",
    ],
    [
        "columns",
        "decoders",
        "matching",
        "header",
        "lock",
        "manifest",
        "projector",
        "ranking",
        "records",
        "scan",
        "schema",
        "worker",
    ],
    ["checkpoint", "vqvae", "augment", "journal", "catalogue", "filters", "robustness"],
    ["dataset", "corpus", "encoder", "objective", "engine", "map", "feedback", "hearing", "lists", "sync", "scorecard"],
    ["filter_text", "seeds", "assembly", "freezing", "report", "labels", "context", "mfcc_floor"],
    ["generation"],
    ["indexer", "tables", "labelled", "ear", "snapshot"],
    ["index", "training", "answers", "explain", "trials"],
    ["agreement", "duplicates", "export", "places", "steering"],
    [
        "api.nearest",
        "api.problems",
        "api.drawing",
        "api.listening",
        "api.meters",
        "api.loglines",
        "api.rendering",
    ],
    ["api.manual", "api.easel", "api.studio", "api.wire"],
    [
        "api.batching",
        "api.media",
        "api.keys",
        "api.asking",
        "evaluate",
        "journeys",
        "locate",
        "search",
        "status",
        "train_vqvae",
    ],
    ["api.uploads", "api.models"],
    ["api.service", "api.edge", "api.telling"],
    ["api.answering"],
    ["api.searching", "api.collection", "api.probes"],
    ["api.relating", "api.judging"],
    ["api.web", "demo", "serve", "pages"],
    ["app", "browse"],
    ["cli"],
    ["__main__"],
]
LAYER_OF = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Path]:
    """Dotted name below the package, and its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def room_of(module: str) -> str:
    """`encoder.mfcc_stats` stands in the room `encoder`; `api.web` is a room of its own."""
    parts = module.split(".")
    if parts[0] == "api":
        return ".".join(parts[:2])
    return parts[0]


def imported(path: Path) -> set[str]:
    """Every module of boiler that the file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                names.add(dotted if dotted.removeprefix("boiler.") in modules() else f"{node.module}")
    return {name.removeprefix("boiler.") for name in names if name.startswith("boiler.")}


@pytest.mark.parametrize("module", [name for name in modules() if name and name != "api"])
def test_a_room_imports_only_from_lower_layers(module: str) -> None:
    height = LAYER_OF[room_of(module)]
    for other in imported(modules()[module]):
        if room_of(other) != room_of(module):
            assert LAYER_OF[room_of(other)] < height, f"boiler.{module} imports boiler.{other}, which is not below it"


def test_the_package_itself_imports_nothing() -> None:
    assert not [
        node
        for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def test_every_file_has_its_test_file() -> None:
    tests = {path.name for path in Path(__file__).parent.rglob("test_*.py")}
    missing = []
    for name in modules():
        last = name.split(".")[-1]
        # kinds of one thing (encoder, engine, corpus) may all take the test of their folder
        if name and last != "__main__" and not {f"test_{last}.py", f"test_{name.split('.')[0]}.py"} & tests:
            missing.append(name)
    assert [name for name in missing if name != "api"] == []

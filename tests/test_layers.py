"""Imports run one way: no room imports from its own layer or from one above it."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import boiler

PACKAGE = Path(boiler.__file__).parent

# Lowest first. A room may import rooms of the layers before its own, and nothing else of boiler.
LAYERS: list[list[str]] = [
    ["deprecated"],
    ["errors"],
    ["arrays"],
    ["files", "progress", "arguments", "interrupts"],
    ["audio", "model", "engine"],
    ["links"],
    ["encoder", "catalog"],
    ["store"],
    ["vision"],
    ["training"],
    ["crossmodal", "tagging"],
    ["indexing", "embedding"],
    ["search"],
    ["evaluation"],
    ["service"],
    ["browser"],
    ["api"],
    ["index", "train_l3", "train_pictures", "train_tags", "train_vqvae", "train_words", "app"],
    ["cli"],
    ["__main__"],
]
LAYER_OF = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


@functools.cache
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
    """`encoder.mfcc_stats` is in the room `encoder`."""
    return module.split(".")[0]


@functools.cache
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


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_a_room_imports_only_from_lower_layers(module: str) -> None:
    height = LAYER_OF[room_of(module)]
    for other in imported(modules()[module]):
        if room_of(other) != room_of(module):
            assert LAYER_OF[room_of(other)] < height, f"boiler.{module} imports boiler.{other}, which is not below it"


def test_importing_the_package_imports_nothing_else_until_nearest_is_used() -> None:
    code = (
        "import sys; before = {*sys.modules}; import boiler; print({*sys.modules} - before);"
        " from boiler import Nearest; import boiler.api.nearest; print(Nearest is boiler.api.nearest.Nearest)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'boiler'}", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        boiler.nothing  # noqa: B018


def test_no_circular_imports() -> None:
    known = modules()
    graph = {
        name: {other for other in imported(path) if other in known and other != name} for name, path in known.items()
    }
    left = dict(graph)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"modules that import each other: {sorted(left)}"


# Files that are tested through the file that uses them, mostly over HTTP.
TESTED_IN = {
    "audio.media_worker": "audio/test_media_pool.py",
    "audio.spectrogram": "service/test_media.py",
    "audio.transcode": "service/test_media.py",
    "model.onnx_file": "tagging/test_export.py",
    "service.auth": "service/test_middleware.py",
    "service.links": "service/routes/test_identify.py",
    "service.openapi": "service/test_contract.py",
    "service.playlist": "service/test_sound_routes.py",
    "service.policy": "service/test_middleware.py",
    "service.problems": "service/test_app.py",
    "service.requests": "service/test_app.py",
    "service.responses": "service/test_app.py",
    "service.routes.failures": "service/test_sound_routes.py",
    "service.routes.health": "service/test_app.py",
    "service.routes.items": "service/test_app.py",
    "service.routes.search": "service/test_app.py",
    "service.schemas": "service/test_app.py",
    "service.uploads": "service/test_sound_routes.py",
}


def test_files_tested_elsewhere_exist() -> None:
    tests = Path(__file__).parent
    assert set(TESTED_IN) <= set(modules())
    assert [name for name in TESTED_IN.values() if not (tests / name).exists()] == []


def test_every_file_has_its_test_file() -> None:
    tests = Path(__file__).parent
    missing = []
    for name, path in modules().items():
        if path.name == "__init__.py" or name in ("__main__", "api.nearest", "api.web"):
            continue
        room, _, last = name.rpartition(".")
        folder = tests / room.replace(".", "/")
        # encoders, engines and data sets may share the contract test of their folder
        alone = folder / f"test_{last}.py"
        together = folder / f"test_{room.rpartition('.')[2]}.py"
        if not alone.exists() and not together.exists() and name not in TESTED_IN:
            missing.append(name)
    assert missing == []


def test_class_names_are_unique() -> None:
    """One name, one type: a reader who reads a class name in a traceback knows which."""
    files = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                files[node.name].append(name)
    assert {name: places for name, places in files.items() if len(places) > 1} == {}

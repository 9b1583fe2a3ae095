"""docs/embeddings.md: the tests that it names exist, and it names every function of the two interfaces."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from boiler.embedding import hear, openl3

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 25
    assert named - defined == set()


@pytest.mark.parametrize("module", [openl3, hear])
def test_every_published_function_is_described(module: ModuleType) -> None:
    prefixes = ("get_", "load_", "process_", "preprocess_")
    functions = {
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and name.startswith(prefixes) and not name.endswith("_from_path")
    }
    assert len(functions) >= 3
    assert {name for name in functions if f"`{name}" not in TEXT} == set()

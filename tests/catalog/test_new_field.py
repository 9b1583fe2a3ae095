"""A field added to the table in boiler/catalog/items.py reaches everything that knows the fields of an item."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import boiler

SAVED = Path(__file__).parents[1] / "fixtures" / "version_0_1_0" / "saved.tar.xz"

# The table of fields with two more lines: `mood`, a text, and `keywords`, a list of texts.
ADDED = """
import importlib.util, json, sys
from pathlib import Path

source = Path(sys.argv[1]) / "catalog" / "items.py"
line = '    file: bytes | None = field('
text = source.read_text(encoding="utf-8")
assert text.count(line) == 1
text = text.replace(line, '''
    mood: str | None = field(default=None, metadata=_column("TEXT", "how it feels", "calm", exported=True))
    keywords: list[str] = field(default_factory=list, metadata=_column("TEXT NOT NULL", "what it is of", ["dog"]))
''' + line)
spec = importlib.util.spec_from_file_location("boiler.catalog.items", source)
module = importlib.util.module_from_spec(spec)
sys.modules["boiler.catalog.items"] = module
exec(compile(text, source, "exec"), module.__dict__)
import boiler.catalog
boiler.catalog.items = module
"""


def run(script: str, *args: object) -> Any:
    """Run the script with the two fields added; return the JSON of its last line of output."""
    command = [sys.executable, "-c", ADDED + script, str(Path(boiler.__file__).parent), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_new_field_is_published_read_filtered_and_searched(tmp_path: Path) -> None:
    script = """
import numpy as np
from boiler.search.filters import field, from_json
from boiler.search.nearest import Nearest
from boiler.search.query import Options
from boiler.search.seeds import ByItem
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

items = [Item(n, f"{n}.wav", mood="calm" if n % 2 else None, keywords=["a", "b"] if n == 3 else []) for n in range(4)]
vectors = np.eye(4, dtype=np.float32)
generation.publish(sys.argv[2], Header("none", 4), vectors, rows_of(range(4)), items)
with Nearest(sys.argv[2]) as nearest:
    found = nearest.query(ByItem(0), 4, Options(where=field("mood") == "calm"))
    database = nearest._context.snapshot.items
    print(json.dumps([
        nearest.item(3).mood, nearest.item(3).keywords, nearest.item(0).mood,
        sorted(match.n for match in found.matches), from_json({"mood": "calm"}).sql()[0], database.counts("mood"),
    ]))
"""
    assert run(script, tmp_path / "m") == ["calm", ["a", "b"], None, [1, 3], "mood = ?", [["", 2], ["calm", 2]]]


def test_a_new_field_is_in_the_http_schema_and_in_responses(tmp_path: Path) -> None:
    script = """
from boiler.catalog.items import Item
from boiler.service import responses, schemas

schema = schemas.ItemPage.model_json_schema()["$defs"]["ItemRow"]["properties"]
sent = responses.item_row(Item(0, "a", mood="calm"))
print(json.dumps([schema["mood"]["description"], schema["keywords"]["items"], sent]))
"""
    description, items, sent = run(script)
    assert description == "how it feels"
    assert items == {"type": "string"}
    assert (sent["mood"], sent["keywords"]) == ("calm", [])


def test_a_new_field_is_a_column_of_exported_tables() -> None:
    script = """
from boiler.search import export
from boiler.catalog.items import EXPORTED, Item

print(json.dumps([EXPORTED[-1], export.items_csv([Item(0, "a.wav", mood="calm")])]))
"""
    last, csv = run(script)
    assert last == "mood"
    assert csv.splitlines()[0].endswith(",mood")
    assert csv.splitlines()[1].endswith(",calm")


def test_the_catalog_returns_a_new_field_after_a_migration(tmp_path: Path) -> None:
    script = """
sys.path.insert(0, sys.argv[3])
from catalogs import add_files, add_vectors
from boiler.catalog.catalog import Catalog

with Catalog(Path(sys.argv[2]) / "catalogue.sqlite") as catalog:
    add_files(catalog, "a.wav")
    add_vectors(catalog, 1, "hash")
    catalog.db.execute("ALTER TABLE files ADD COLUMN mood TEXT")
    catalog.db.execute("UPDATE files SET mood = 'calm'")
    view = catalog.db.execute("SELECT sql FROM sqlite_master WHERE name = 'heard'").fetchone()[0]
    catalog.db.execute("DROP VIEW heard")
    catalog.db.execute(view.replace("metadata,", "metadata, mood,"))
    print(json.dumps([(item.id, item.mood, item.keywords) for item in catalog.items(lambda id: id)]))
"""
    assert run(script, tmp_path, Path(__file__).parents[1]) == [["a.wav", "calm", []]]


@pytest.mark.parametrize("kind", ["bag_top", "mfcc"])
def test_an_older_index_gives_the_default_of_a_new_field(tmp_path: Path, kind: str) -> None:
    with tarfile.open(SAVED) as tar:
        tar.extractall(tmp_path, filter="data")
    script = """
from boiler.search.filters import field
from boiler.search.nearest import Nearest
from boiler.search.query import Options
from boiler.search.seeds import ByItem

with Nearest(sys.argv[2]) as nearest:
    none = Options(where=field("mood") == None, feedback=False)
    print(json.dumps([
        nearest.item("bell/bell_0.wav").mood, nearest.item("bell/bell_0.wav").keywords,
        len(nearest.query(ByItem("bell/bell_0.wav"), 9, none).matches), len(nearest.items(text="KICK")),
    ]))
"""
    assert run(script, tmp_path / kind) == [None, [], 9, 3]

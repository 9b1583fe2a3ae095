"""The manifest of a generation: how many bytes each of its files has, and their sha256.

It is written when all the others are on the disk, so where it is, they are. Opening an index compares sizes, which is
cheap; `changed` reads every byte.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from boiler import files as files_module
from boiler.errors import ModelDirError

FILE = "manifest.json"


class Entry(TypedDict):
    """What is known of one file."""

    bytes: int
    sha256: str


def write(folder: Path) -> None:
    """Hash every file below `folder`, and bring all of them, and the manifest after them, to the disk."""
    entries: dict[str, Entry] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files_module.fsync(path)
        entries[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": files_module.sha256_of(path),
        }
    manifest = folder / FILE
    manifest.write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")
    files_module.fsync(manifest)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        files_module.fsync(path)
    files_module.fsync(folder)


def read(folder: Path, needed: Collection[str]) -> dict[str, Entry]:
    """What the manifest of `folder` says of each file.

    Raises: ModelDirError: it is damaged, or does not list what is `needed`. OSError, UnicodeDecodeError: it cannot be
    read.
    """
    manifest = folder / FILE
    try:
        files: dict[str, Entry] = {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in json.loads(manifest.read_text(encoding="utf-8"))["files"].items()
        }
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelDirError(f"{manifest} is damaged: run boiler index again") from error
    if missing := [name for name in needed if name not in files]:
        raise ModelDirError(f"{manifest} does not list {', '.join(missing)}: run boiler index again")
    return files


def check_sizes(folder: Path, files: dict[str, Entry]) -> None:
    """Raises: ModelDirError: a file is missing, or of another size."""
    for name, entry in files.items():
        file = folder / name
        try:
            found = file.stat().st_size
        except OSError as error:
            raise ModelDirError(f"{file} is missing: run boiler index again") from error
        if found != entry["bytes"]:
            raise ModelDirError(
                f"{file} is damaged: it has {found} bytes, it was published with {entry['bytes']}:"
                " run boiler index again"
            )


def changed(folder: Path, files: dict[str, Entry]) -> list[str]:
    """The names of those files whose bytes are not those that were hashed."""
    return [name for name, entry in files.items() if files_module.sha256_of(folder / name) != entry["sha256"]]

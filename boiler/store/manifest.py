"""The manifest of a generation: the size and sha256 of each of its files.

It is written after all other files have been flushed, so if it exists, they do. Opening an index compares sizes, which
is cheap; `changed_files` reads every byte.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from boiler import files as files_module
from boiler.errors import ModelDirError

MANIFEST_FILE = "manifest.json"


class ManifestEntry(TypedDict):
    """Size and hash of one file."""

    bytes: int
    sha256: str


def write_manifest(folder: Path) -> None:
    """Hash every file below `folder`, flush them to the disk, and then write the manifest."""
    entries: dict[str, ManifestEntry] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files_module.fsync(path)
        entries[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": files_module.sha256_of(path),
        }
    manifest = folder / MANIFEST_FILE
    manifest.write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")
    files_module.fsync(manifest)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        files_module.fsync(path)
    files_module.fsync(folder)


def read_manifest(folder: Path, needed: Collection[str]) -> dict[str, ManifestEntry]:
    """The entries of the manifest of `folder`, by path.

    Raises: ModelDirError: it is damaged, or does not list all of `needed`. OSError, UnicodeDecodeError: it cannot be
    read.
    """
    manifest = folder / MANIFEST_FILE
    try:
        files: dict[str, ManifestEntry] = {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in json.loads(manifest.read_text(encoding="utf-8"))["files"].items()
        }
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelDirError(f"{manifest} is damaged: run boiler index again") from error
    if missing := [name for name in needed if name not in files]:
        raise ModelDirError(f"{manifest} does not list {', '.join(missing)}: run boiler index again")
    return files


def check_sizes(folder: Path, files: dict[str, ManifestEntry]) -> None:
    """Raises: ModelDirError: a file is missing, or of another size."""
    for name, entry in files.items():
        file = folder / name
        try:
            found = file.stat().st_size
        except OSError as error:
            raise ModelDirError(f"{file} is missing: run boiler index again") from error
        if found != entry["bytes"]:
            raise ModelDirError(
                f"{file} is damaged: it has {found} bytes, the manifest says {entry['bytes']}: run boiler index again"
            )


def changed_files(folder: Path, files: dict[str, ManifestEntry]) -> list[str]:
    """The names of the files whose hash differs from the manifest."""
    return [name for name, entry in files.items() if files_module.sha256_of(folder / name) != entry["sha256"]]

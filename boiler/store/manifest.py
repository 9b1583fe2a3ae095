"""The manifest of a generation: the size, the sha256 and the XXH3 checksum of each of its files.

It is written after all other files have been flushed, so if it exists, they do. Opening an index compares the checksum
of every file that it reads (`verify`); `changed_files` compares every byte of all files with its sha256.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import xxhash

from boiler import files as files_module
from boiler.errors import DamagedIndexError

MANIFEST_FILE = "manifest.json"


class ManifestEntry(TypedDict):
    """Size and hashes of one file."""

    bytes: int
    sha256: str
    xxh3: str | None  # None in manifests written before there was one


def remedy(folder: Path) -> str:
    """Advice for an error about a damaged generation: the command that publishes it again."""
    model_dir = folder.parent.parent if folder.parent.name == "versions" else folder.parent
    return f"publish it again with boiler index {shlex.quote(str(model_dir))}"


def write_manifest(folder: Path) -> None:
    """Hash every file below `folder`, flush them to the disk, and then write the manifest."""
    entries: dict[str, ManifestEntry] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST_FILE):
        files_module.fsync(path)
        entries[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": files_module.sha256_of(path),
            "xxh3": files_module.xxh3_of(path),
        }
    manifest = folder / MANIFEST_FILE
    contents = {"files": entries, "xxh3": _checksum(entries)}
    manifest.write_text(json.dumps(contents, indent=1), encoding="utf-8")
    files_module.fsync(manifest)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        files_module.fsync(path)
    files_module.fsync(folder)


def _checksum(entries: Mapping[str, ManifestEntry]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(entries, sort_keys=True).encode())


def read_manifest(folder: Path, needed: Collection[str]) -> dict[str, ManifestEntry]:
    """The entries of the manifest of `folder`, by path.

    Raises: DamagedIndexError: it cannot be read, or does not list all of `needed`.
    """
    manifest = folder / MANIFEST_FILE
    try:
        contents = json.loads(manifest.read_text(encoding="utf-8"))
        files: dict[str, ManifestEntry] = {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"]), "xxh3": entry.get("xxh3")}
            for name, entry in contents["files"].items()
        }
        if contents.get("xxh3", _checksum(files)) != _checksum(files):  # absent in manifests of earlier versions
            raise ValueError("its checksum does not match")
    except OSError as error:
        raise DamagedIndexError(f"{manifest} cannot be read ({error}): {remedy(folder)}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedIndexError(f"{manifest} is damaged: {remedy(folder)}") from error
    if missing := [name for name in needed if name not in files]:
        raise DamagedIndexError(f"{manifest} does not list {', '.join(missing)}: {remedy(folder)}")
    return files


def check_sizes(folder: Path, files: Mapping[str, ManifestEntry]) -> None:
    """Raises: DamagedIndexError: a file is missing, or of another size."""
    for name, entry in files.items():
        file = folder / name
        try:
            found = file.stat().st_size
        except OSError as error:
            raise DamagedIndexError(f"{file} is missing: {remedy(folder)}") from error
        if found != entry["bytes"]:
            raise DamagedIndexError(
                f"{file} is damaged: it has {found} bytes, the manifest says {entry['bytes']}: {remedy(folder)}"
            )


def verify(folder: Path, files: Mapping[str, ManifestEntry], names: Iterable[str]) -> None:
    """Read these files whole, and compare their checksums.

    Raises: DamagedIndexError: a file cannot be read, is not in the manifest, or its bytes have changed.
    """
    for name in names:
        file = folder / name
        try:
            entry = files[name]
            if entry["xxh3"] is None:
                is_same = files_module.sha256_of(file) == entry["sha256"]
            else:
                is_same = files_module.xxh3_of(file) == entry["xxh3"]
        except (KeyError, OSError) as error:
            raise DamagedIndexError(f"{file} cannot be read ({error}): {remedy(folder)}") from error
        if not is_same:
            raise DamagedIndexError(f"{file} is damaged: its bytes have changed: {remedy(folder)}")


def changed_files(folder: Path, files: Mapping[str, ManifestEntry]) -> list[str]:
    """The names of the files whose sha256 differs from the manifest, or that cannot be read."""

    def is_changed(name: str) -> bool:
        try:
            return files_module.sha256_of(folder / name) != files[name]["sha256"]
        except OSError:
            return True

    return [name for name in files if is_changed(name)]

"""Published indexes (generations): write, publish atomically, open, check, roll back.

::

    MODEL_DIR/
      current -> versions/<generation>      replaced atomically; a folder in a copy made without links
      versions/<generation>/                never changed after it is published
        encoder.pt                          the encoder (a hard link shared by generations)
        vectors.npy                         float32 [N, D], unit length
        rows.npy                            [N] of ROW: n of the item, start_s, end_s; sorted by n
        item_vectors.npy                    float32 [items with rows, D]: normalised mean of an item's rows
        pairs.npy                           float32, sorted: distances of random pairs of rows of different items
        map.npy                             position of each item that has rows in two dimensions (boiler.store.layout)
        annoy                               the same vectors for annoy, row numbers as ids
        hnsw                                and other engines, where they answer (see boiler.engine.selection)
        meta.sqlite                         items, failures, meta: see boiler.catalog.items
        00000/default/{metadata,tensors}.tsv, projector_config.pbtxt
        boiler.json                         the Header
        manifest.json                       size and sha256 of each file; written last (see boiler.store.manifest)
      encoder.pt, annoy, 00000, ... -> current/...

A reader resolves `current` once and stays with that folder: it sees the old index or the new one, never a mixture. The
previous generation is kept for `rollback`. The next writer deletes older ones and what a killed writer left.

>>> from boiler import generation  # doctest: +SKIP
>>> generation.publish(model_dir, Header(encoder="mine", dim=64), vectors, rows, items)  # doctest: +SKIP
>>> generation.open(model_dir).header.n_rows  # doctest: +SKIP
1000
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from boiler import files as files_module
from boiler.arrays import AnyArray, Float32Array, StructuredArray, map_array
from boiler.catalog import items as items_module
from boiler.catalog.items import Failure, Item, ItemDatabase
from boiler.engine.selection import ALWAYS_WRITTEN, EngineChoice
from boiler.errors import ModelDirError
from boiler.store import build, layout, manifest, projector
from boiler.store.header import ROW, Header, rows_of

__all__ = [
    "ROW",
    "Failure",
    "Generation",
    "Header",
    "Item",
    "check",
    "current_name",
    "lock_for_writing",
    "open",
    "publish",
    "rollback",
    "rows_of",
]

CURRENT = "current"
VERSIONS = "versions"
TOP_LINKS = ("encoder.pt", *ALWAYS_WRITTEN, "00000", projector.CONFIG, "boiler.json", "vectors.npy", "pairs.npy")


@dataclass(frozen=True)
class Generation:
    """An open published index. Its arrays are read-only memory maps, which stay readable after newer generations are
    published and this one is deleted."""

    path: Path
    name: str
    header: Header
    vectors: Float32Array
    rows: StructuredArray
    item_vectors: Float32Array
    pairs: Float32Array
    map_points: StructuredArray | None = None  # of `layout.MAP_POINT`; None in old indexes

    def connect(self) -> sqlite3.Connection:
        """A new read-only connection to `meta.sqlite` with `sqlite3.Row` rows, to be used by one thread at a time. The
        caller closes it."""
        return items_module.connect(self.path / "meta.sqlite")

    def items(self) -> ItemDatabase:
        """`meta.sqlite`, opened for reading. The caller closes it; any thread may use it."""
        return ItemDatabase(self.connect())


def current_name(model_dir: Path) -> str:
    """The name of the current generation. Cheap enough to call before every query.

    Raises: ModelDirError: nothing is published there.
    """
    pointer = Path(model_dir) / CURRENT
    try:
        return Path(os.readlink(pointer)).name  # noqa: PTH115  # three times as fast as Path.readlink
    except OSError:
        pass
    # In a copy made without links, `current` is a folder.
    header = pointer / "boiler.json"
    try:
        return Header.from_json(header.read_text(encoding="utf-8"), header).generation
    except OSError as error:
        raise ModelDirError(_not_published(Path(model_dir))) from error


def _not_published(model_dir: Path) -> str:
    if not model_dir.is_dir():
        return f"there is no model directory {model_dir}: make one with boiler index"
    return f"{model_dir} is not a model directory, or nothing has been published in it yet: run boiler index"


def folder_of(model_dir: Path, name: str) -> Path:
    """The folder of the current generation, whose name is given."""
    pointer = model_dir / CURRENT
    return model_dir / VERSIONS / name if pointer.is_symlink() else pointer


def open(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation. Checks the sizes of its files and the hash of its `encoder.pt`, and maps its arrays.

    Raises: ModelDirError: nothing there, a file missing or damaged, or another version.
    """
    model_dir = Path(model_dir)
    while True:
        name = current_name(model_dir)
        try:
            return _open(folder_of(model_dir, name), name)
        except ModelDirError:
            # A writer may have published two generations, and deleted this one, between the two lines above.
            if current_name(model_dir) == name:
                raise


def _open(path: Path, name: str) -> Generation:
    if not path.is_dir():
        raise ModelDirError(
            f"{path} is missing though it is the current index: boiler index --rollback, or index again"
        )
    header_path = path / "boiler.json"
    try:
        header = Header.from_json(header_path.read_text(encoding="utf-8"), header_path)
        files = manifest.read_manifest(path, build.FILES)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelDirError(f"{path} cannot be read ({error}): run boiler index again") from error
    if header.generation != name:
        raise ModelDirError(
            f"{header_path} belongs to another generation ({header.generation}): run boiler index again"
        )
    manifest.check_sizes(path, files)
    if header.encoder_sha256:
        encoder = path / "encoder.pt"
        # encoder.pt is code: it must not be loaded if it was replaced.
        try:
            is_its_own = "encoder.pt" in files and files_module.sha256_of(encoder) == header.encoder_sha256
        except OSError as error:  # a writer may remove an older generation while it is being opened
            raise ModelDirError(f"{encoder} cannot be read ({error}): run boiler index again") from error
        if not is_its_own:
            raise ModelDirError(f"{encoder} is not the encoder of this index: restore that one, or index again")
    vectors, rows, item_vectors, pairs = (_map(path / file) for file in build.ARRAYS)
    if (
        vectors.shape != (header.n_rows, header.dim)
        or vectors.dtype != np.float32
        or rows.shape != (header.n_rows,)
        or rows.dtype != ROW
        or item_vectors.shape[1:] != (header.dim,)
    ):
        raise ModelDirError(f"{path}: the shapes of the arrays are not those in boiler.json: run boiler index again")
    map_points = _map(path / layout.MAP_FILE) if layout.MAP_FILE in files else None
    if map_points is not None and (map_points.dtype != layout.MAP_POINT or map_points.shape != item_vectors.shape[:1]):
        raise ModelDirError(f"{path}: {layout.MAP_FILE} does not match this index: run boiler index again")
    return Generation(path, name, header, vectors, rows, item_vectors, pairs, map_points)


def _map(file: Path) -> AnyArray:
    try:
        return map_array(file)
    except (OSError, ValueError, EOFError) as error:
        raise ModelDirError(f"{file} is damaged ({error}): run boiler index again") from error


def check(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation and compare every byte of it with the hashes made at publication.

    Raises: ModelDirError: naming every file that differs.
    """
    opened = open(model_dir)
    if wrong := manifest.changed_files(opened.path, manifest.read_manifest(opened.path, build.FILES)):
        raise ModelDirError(f"{opened.path}: changed since publication: {', '.join(wrong)}: run boiler index again")
    return opened


def names(model_dir: Path) -> list[str]:
    """The stored generations, oldest first (their names begin with an increasing number)."""
    versions = model_dir / VERSIONS
    if not versions.is_dir():
        return []
    return sorted(one.name for one in versions.iterdir() if not one.name.startswith(".") and one.is_dir())


def previous_name(model_dir: Path) -> str | None:
    """The generation that `rollback` would return to; None if there is none."""
    current = current_name(model_dir)
    older = [name for name in names(model_dir) if name < current]
    return older[-1] if older else None


def publish(
    model_dir: str | os.PathLike[str],
    header: Header,
    vectors: Float32Array,
    rows: StructuredArray,
    items: Iterable[Item],
    *,
    encoder_pt: Path | None = None,
    failures: Iterable[Failure] = (),
    meta: Mapping[str, str] | None = None,
    locked: bool = False,
    engine: EngineChoice | None = None,
) -> Generation:
    """Publish arrays as the current index, and open it.

    Arguments: `vectors`: float32 [N, D], not zero, normalised here; `rows`: [N] of `ROW`, see `rows_of`; `items`:
    sorted by n, read one by one; an item without rows is silent. Without `encoder_pt` the index cannot embed sounds.
    `locked`: the caller holds `lock_for_writing`. `engine`: the engine that answers; by default chosen by the number of
    rows.

    Raises: ValueError: arrays and items do not match. CatalogError: another process is writing there. ModelDirError:
    the disk is full or cannot be written; the existing index is unchanged.
    """
    model_dir = Path(model_dir)
    with nullcontext() if locked else lock_for_writing(model_dir):
        versions = model_dir / VERSIONS
        step = 1 + max((int(name.split("-")[0]) for name in names(model_dir)), default=0)
        # The number gives the order; the random part makes the name unique, so that a reader that compares names
        # always notices a new generation.
        name = f"{step:06d}-{uuid.uuid4().hex[:8]}"
        aside = versions / f".building-{name}"
        try:
            aside.mkdir(parents=True)
            header = build.write_generation(
                aside,
                header.completed(generation=name, created=_now()),
                vectors,
                rows,
                items,
                encoder_pt=encoder_pt,
                failures=failures,
                meta=meta or {},
                before=model_dir / CURRENT,
                engine=engine,
            )
            aside.rename(versions / name)
            files_module.fsync(versions)
            opened = _open(versions / name, name)
            _link_current_files(model_dir, header)
            projector.write_events(model_dir / projector.EVENTS, {"rows": header.n_rows, "items": header.n_items}, step)
            files_module.relink(model_dir / CURRENT, f"{VERSIONS}/{name}")
            _delete_leftovers(model_dir)
        except (OSError, sqlite3.OperationalError) as error:
            raise ModelDirError(
                f"{model_dir}: the new index could not be written ({error}); the old one is unchanged."
                " Free some space or check the permissions, then run again; embedded files are kept"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return opened


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _link_current_files(model_dir: Path, header: Header) -> None:
    """Links in the model directory to the files of the current generation. They never change, so they are created
    before `current` is replaced: a kill in between leaves the old index intact."""
    for name in TOP_LINKS:
        link = model_dir / name
        if name == "encoder.pt" and not header.encoder_sha256:
            link.unlink(missing_ok=True)
            continue
        target = f"{CURRENT}/{name}"
        if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115
            continue
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        files_module.relink(link, target)


@contextmanager
def lock_for_writing(model_dir: Path) -> Iterator[None]:
    """Lock the model directory for writing, and delete what a killed writer left.

    Raises: CatalogError: another process is writing there.
    """
    with files_module.lock_for_writing(model_dir):
        _delete_leftovers(model_dir)
        yield


def _delete_leftovers(model_dir: Path) -> None:
    """Turn a `current` that is a folder into a link, and delete all but the current and the previous generation. The
    caller holds the lock."""
    pointer = model_dir / CURRENT
    versions = model_dir / VERSIONS
    versions.mkdir(exist_ok=True)
    if pointer.is_dir() and not pointer.is_symlink():
        name = current_name(model_dir)
        if (versions / name).is_dir():
            shutil.rmtree(versions / name)
        pointer.rename(versions / name)
        files_module.relink(pointer, f"{VERSIONS}/{name}")
    kept = set()
    if pointer.is_symlink():
        kept = {current_name(model_dir), previous_name(model_dir)}
    for path in versions.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def rollback(model_dir: str | os.PathLike[str]) -> Generation:
    """Make the previous generation current again, and open it.

    Raises: ModelDirError: there is none, or it is damaged. CatalogError: another process is writing there.
    """
    model_dir = Path(model_dir)
    current_name(model_dir)
    with files_module.lock_for_writing(model_dir):
        name = previous_name(model_dir)
        if name is None:
            raise ModelDirError(f"{model_dir} has no previous index to roll back to")
        opened = _open(model_dir / VERSIONS / name, name)
        _link_current_files(model_dir, opened.header)
        files_module.relink(model_dir / CURRENT, f"{VERSIONS}/{name}")
    return opened

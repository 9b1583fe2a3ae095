"""A published index: written aside, tested, swapped in whole, opened, checked, brought back.

::

    MODEL_DIR/
      current -> versions/<generation>      the one pointer, replaced in one step; in a copy without links, a folder
      versions/<generation>/                never changed once it has its name
        encoder.pt                          waveform in, vector out (a hard link when it is that of the one before)
        vectors.npy                         float32 [N, D], unit length
        rows.npy                            [N] of ROW: n of the item, start_s, end_s; n never falls
        item_vectors.npy                    float32 [items that have rows, D]: mean of an item's rows, unit length
        pairs.npy                           float32, rising: distances of random pairs of rows of different items
        map.npy                             position of each item that has rows in two dimensions (boiler.store.layout)
        annoy                               the same vectors for annoy, row numbers as ids
        hnsw                                and other engines, where they answer (see boiler.engine.selection)
        meta.sqlite                         items, failures, meta: see boiler.catalog.items
        00000/default/{metadata,tensors}.tsv, projector_config.pbtxt
        boiler.json                         the Header: what made it, and how it is to be asked
        manifest.json                       bytes and sha256 of each file; written last (see boiler.store.manifest)
      encoder.pt, annoy, 00000, ... -> current/...

A reader resolves the pointer once and stays with that folder: it sees the old index or the new one, never a mixture.
The one before stays, so that `rollback` can bring it back; anything older, and what a killed writer left, is removed by
the next writer at its start.

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
from boiler.arrays import AnyArray, Float32Array, StructuredArray
from boiler.catalog import items as items_module
from boiler.catalog.items import Failure, Item, ItemDatabase
from boiler.engine.selection import ALWAYS_WRITTEN, EngineChoice
from boiler.errors import ModelDirError
from boiler.store import build, manifest, projector
from boiler.store import layout as mapping
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
    """One published index, opened. Everything in it is read-only and mapped, not loaded; it stays readable when newer
    ones are published and this one is removed."""

    path: Path
    name: str
    header: Header
    vectors: Float32Array
    rows: StructuredArray
    item_vectors: Float32Array
    pairs: Float32Array
    places: StructuredArray | None = None  # of `map.PLACE`; None in an index from before there were maps

    def connect(self) -> sqlite3.Connection:
        """A new read-only connection to `meta.sqlite`; rows come as `sqlite3.Row`. The caller closes it. One per
        thread, or one behind a lock."""
        return items_module.connect(self.path / "meta.sqlite")

    def items(self) -> ItemDatabase:
        """`meta.sqlite`, opened for reading. The caller closes it; any thread may use it."""
        return ItemDatabase(self.connect())


def current_name(model_dir: Path) -> str:
    """The name of the current generation: cheap enough to ask before every query.

    Raises: ModelDirError: nothing is published there.
    """
    pointer = Path(model_dir) / CURRENT
    try:
        return Path(os.readlink(pointer)).name  # noqa: PTH115  # a third of the price of Path.readlink
    except OSError:
        pass
    # A copy made without links: the pointer is the folder itself.
    header = pointer / "boiler.json"
    try:
        return Header.from_json(header.read_text(encoding="utf-8"), header).generation
    except OSError as error:
        raise ModelDirError(_nothing(Path(model_dir))) from error


def _nothing(model_dir: Path) -> str:
    if not model_dir.is_dir():
        return f"there is no model directory {model_dir}: make one with boiler index"
    return f"{model_dir} is not a model directory, or nothing has been published in it yet: run boiler index"


def folder_of(model_dir: Path, name: str) -> Path:
    """Where the current generation of that name lies."""
    pointer = model_dir / CURRENT
    return model_dir / VERSIONS / name if pointer.is_symlink() else pointer


def open(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation: its sizes and the hash of its `encoder.pt` are checked, its arrays are mapped.

    Raises: ModelDirError: nothing there, a file missing or damaged, or another version.
    """
    model_dir = Path(model_dir)
    while True:
        name = current_name(model_dir)
        try:
            return _open(folder_of(model_dir, name), name)
        except ModelDirError:
            # A writer may have removed this one, two generations later, between the two lines above.
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
        files = manifest.read(path, build.FILES)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelDirError(f"{path} cannot be read ({error}): run boiler index again") from error
    if header.generation != name:
        raise ModelDirError(
            f"{header_path} is that of another generation ({header.generation}): run boiler index again"
        )
    manifest.check_sizes(path, files)
    if header.encoder_sha256:
        encoder = path / "encoder.pt"
        # encoder.pt is code: it is opened only when it is the one that the index was made with.
        try:
            is_its_own = "encoder.pt" in files and files_module.sha256_of(encoder) == header.encoder_sha256
        except OSError as error:  # a writer may remove an older generation while it is being opened
            raise ModelDirError(f"{encoder} cannot be read ({error}): run boiler index again") from error
        if not is_its_own:
            raise ModelDirError(
                f"{encoder} is not the encoder this index was made with: bring that one back, or index again"
            )
    vectors, rows, item_vectors, pairs = (_map(path / file) for file in build.ARRAYS)
    if (
        vectors.shape != (header.n_rows, header.dim)
        or vectors.dtype != np.float32
        or rows.shape != (header.n_rows,)
        or rows.dtype != ROW
        or item_vectors.shape[1:] != (header.dim,)
    ):
        raise ModelDirError(f"{path}: the arrays are not of the sizes in boiler.json: run boiler index again")
    places = _map(path / mapping.FILE) if mapping.FILE in files else None
    if places is not None and (places.dtype != mapping.PLACE or places.shape != item_vectors.shape[:1]):
        raise ModelDirError(f"{path}: {mapping.FILE} is not of this index: run boiler index again")
    return Generation(path, name, header, vectors, rows, item_vectors, pairs, places)


def _map(file: Path) -> AnyArray:
    try:
        array: AnyArray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelDirError(f"{file} is damaged ({error}): run boiler index again") from error
    return array


def check(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation and compare every byte of it with the hashes made at publication.

    Raises: ModelDirError: naming every file that differs.
    """
    opened = open(model_dir)
    if wrong := manifest.changed(opened.path, manifest.read(opened.path, build.FILES)):
        raise ModelDirError(f"{opened.path}: changed since publication: {', '.join(wrong)}: run boiler index again")
    return opened


def names(model_dir: Path) -> list[str]:
    """The generations kept, oldest first (their names begin with a rising number)."""
    versions = model_dir / VERSIONS
    if not versions.is_dir():
        return []
    return sorted(one.name for one in versions.iterdir() if not one.name.startswith(".") and one.is_dir())


def before(model_dir: Path) -> str | None:
    """The generation that `rollback` would bring back."""
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

    `vectors`: float32 [N, D], any length but zero (they are made unit length); `rows`: [N] of `ROW`, see `rows_of`;
    `items` in the order of n, taken one by one; an item without rows is a silent one. Without `encoder_pt` the index
    answers vectors and items, but cannot embed a sound. `locked`: it is called within `lock_for_writing`.
    `engine`: the engine that answers; by default it is chosen by the number of rows.

    Raises: ValueError: arrays and items do not belong together. CatalogError: another process is writing there.
    ModelDirError: the disk is full or cannot be written; the index there is as it was.
    """
    model_dir = Path(model_dir)
    with nullcontext() if locked else lock_for_writing(model_dir):
        versions = model_dir / VERSIONS
        step = 1 + max((int(name.split("-")[0]) for name in names(model_dir)), default=0)
        # The number puts them in order; the rest makes a name that was never used before, so that a reader that
        # compares names always notices.
        name = f"{step:06d}-{uuid.uuid4().hex[:8]}"
        aside = versions / f".building-{name}"
        try:
            aside.mkdir(parents=True)
            header = build.write(
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
            _link_top(model_dir, header)
            projector.write_events(model_dir / projector.EVENTS, {"rows": header.n_rows, "items": header.n_items}, step)
            files_module.relink(model_dir / CURRENT, f"{VERSIONS}/{name}")
            _tidy(model_dir)
        except (OSError, sqlite3.OperationalError) as error:
            raise ModelDirError(
                f"{model_dir}: the new index could not be written ({error}); the old one is as it was."
                " Free some space, or look at the permissions, and try again: what was embedded is kept"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return opened


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _link_top(model_dir: Path, header: Header) -> None:
    """The names at the top that lead to the current generation. They never change, so they are made before the pointer
    moves: a kill in between leaves the old index whole."""
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
    """Be the one that writes there, in a directory without what a killed writer left.

    Raises: CatalogError: another process is writing there.
    """
    with files_module.lock_for_writing(model_dir):
        _tidy(model_dir)
        yield


def _tidy(model_dir: Path) -> None:
    """Under the lock: make a pointer of a copied folder, and remove what a killed writer left and the generations that
    nobody comes back to (all but the current one and the one before)."""
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
        kept = {current_name(model_dir), before(model_dir)}
    for path in versions.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def rollback(model_dir: str | os.PathLike[str]) -> Generation:
    """Make the generation before the current one current again, and open it.

    Raises: ModelDirError: there is none before it, or it is damaged. CatalogError: another process is writing there.
    """
    model_dir = Path(model_dir)
    current_name(model_dir)
    with files_module.lock_for_writing(model_dir):
        name = before(model_dir)
        if name is None:
            raise ModelDirError(
                f"{model_dir} holds no index from before the current one: there is nothing to go back to"
            )
        opened = _open(model_dir / VERSIONS / name, name)
        _link_top(model_dir, opened.header)
        files_module.relink(model_dir / CURRENT, f"{VERSIONS}/{name}")
    return opened

"""Published indexes (generations): write, publish atomically, open, check, roll back.

::

    MODEL_DIR/
      current -> versions/<generation>      replaced atomically; a folder if the copy was made without links
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
        tags.safetensors                    the model that tagged the items, if any
        words.safetensors                   the model that scored the rows for queries in words, if any
        word_scores.npy                     its scores: uint8 [blocks, classes, rows of a block]
        00000/default/{metadata,tensors}.tsv, projector_config.pbtxt
        boiler.json                         the Header
        manifest.json                       size and sha256 of each file; written last (see boiler.store.manifest)
      encoder.pt, annoy, 00000, ... -> current/...

A reader resolves `current` once and stays with that folder: it sees the old index or the new one, never a mixture.
Without `current` (lost, or a copy made without links) the newest generation is the current one. Opening reads every
file that answers and compares its checksum: a damaged index is refused, and `open_last_good` opens another one instead.

The previous generation is kept for `rollback`. After publishing, a writer deletes other generations and the files of
killed writers; before that it deletes unpublished files only.

>>> from boiler import generation  # doctest: +SKIP
>>> generation.publish(model_dir, Header(encoder="mine", dim=64), vectors, rows, items)  # doctest: +SKIP
>>> generation.open(model_dir).header.n_rows  # doctest: +SKIP
1000
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from boiler import files as files_module
from boiler.arrays import AnyArray, Float32Array, StructuredArray, UInt8Array, map_array
from boiler.catalog import items as items_module
from boiler.catalog.catalog import CATALOG_FILE
from boiler.catalog.items import Failure, Item, ItemDatabase
from boiler.engine import selection
from boiler.engine.selection import ALWAYS_WRITTEN, EngineChoice, engine_files
from boiler.errors import DamagedIndexError, ModelDirError
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
    "open_last_good",
    "publish",
    "rollback",
    "rows_of",
    "undo_rollback",
]

CURRENT = "current"
VERSIONS = "versions"
_BUILDING = ".building-"
_DELETED = ".deleted-"
_NAME = re.compile(r"\d{6,}-[0-9a-f]{8}")
TOP_LINKS = ("encoder.pt", *ALWAYS_WRITTEN, "00000", projector.CONFIG, "boiler.json", "vectors.npy", "pairs.npy")

_log = logging.getLogger(__name__)


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
    word_scores: UInt8Array | None = None  # as in `build.WORD_SCORES`; None: it cannot be searched in words
    files: Mapping[str, manifest.ManifestEntry] = field(default_factory=dict, repr=False)

    def verify(self, *names: str) -> None:
        """Read these files, by default all that a search reads, and compare their checksums.

        Raises: DamagedIndexError: a file is missing, or its bytes have changed.
        """
        manifest.verify(self.path, self.files, names or ("boiler.json", *_answering_files(self.header, self.files)))

    def connect(self) -> sqlite3.Connection:
        """A new read-only connection to `meta.sqlite` with `sqlite3.Row` rows, to be used by one thread at a time. The
        caller closes it."""
        return items_module.connect(self.path / "meta.sqlite")

    def items(self) -> ItemDatabase:
        """`meta.sqlite`, opened for reading. The caller closes it; any thread may use it."""
        return ItemDatabase(self.connect(), self.connect())


def current_name(model_dir: Path) -> str:
    """The name of the current generation. Cheap enough to call before every query.

    Raises: ModelDirError: nothing is published there. DamagedIndexError: `current` is a damaged folder.
    """
    pointer = Path(model_dir) / CURRENT
    try:
        return Path(os.readlink(pointer)).name  # noqa: PTH115  # three times as fast as Path.readlink
    except OSError:
        pass
    # On a file system without links `current` is a file with the text of the link; in a copy that followed the link, a
    # folder. It is missing in a copy that left links out.
    try:
        if pointer.is_dir():
            header = pointer / "boiler.json"
            return Header.from_json(header.read_text(encoding="utf-8"), header).generation
        if pointer.is_file():
            return Path(pointer.read_text(encoding="utf-8").strip()).name
        stored = names(Path(model_dir))
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedIndexError(f"{pointer} cannot be read ({error}): {_remedy(Path(model_dir))}") from error
    if not stored:
        raise ModelDirError(_not_published(Path(model_dir)))
    return stored[-1]


def _not_published(model_dir: Path) -> str:
    if not model_dir.exists():
        return f"there is no model directory {model_dir}: make one with boiler index"
    if (model_dir / CATALOG_FILE).is_file():
        return (
            f"nothing is published in {model_dir}: boiler index found only silence, or nothing that can be decoded, or"
            f" was stopped. Add sounds to the folder, and run boiler index {model_dir}"
        )
    return f"{model_dir} is not a model directory, or nothing has been published in it yet: run boiler index"


def _remedy(model_dir: Path) -> str:
    return manifest.remedy(model_dir / CURRENT)


def current_folder(model_dir: Path, name: str) -> Path:
    """The folder of the current generation `name`; `current` itself if that is a folder and not a link."""
    pointer = model_dir / CURRENT
    return pointer if pointer.is_dir() and not pointer.is_symlink() else model_dir / VERSIONS / name


def open(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation: compare the checksums of all files that a search reads and the hash of `encoder.pt`,
    and map its arrays.

    Raises: ModelDirError: nothing there, or another version. DamagedIndexError: a file is missing or damaged.
    """
    model_dir = Path(model_dir)
    while True:
        name = current_name(model_dir)
        try:
            return _open(current_folder(model_dir, name), name)
        except ModelDirError:
            # A writer may have published two generations, and deleted this one, between the two lines above.
            if current_name(model_dir) == name:
                raise


def open_last_good(model_dir: str | os.PathLike[str]) -> Generation:
    """Open the current generation; if it is damaged, the newest undamaged one, with a warning in the log.

    Raises: ModelDirError: as `open`, if every generation is damaged.
    """
    model_dir = Path(model_dir)
    try:
        return open(model_dir)
    except DamagedIndexError as error:
        last = newest_good(model_dir)
        if last is None:
            raise
        _log.warning("%s (until then the index %s is used)", error, last.name)
        return last


def newest_good(model_dir: Path, *, every_file: bool = False) -> Generation | None:
    """The newest stored generation that is not damaged: in no file that answers, or in none at all. None if there is
    none."""
    for name in reversed(names(model_dir)):
        with suppress(ModelDirError):
            opened = _open(model_dir / VERSIONS / name, name)
            if every_file:
                opened.verify(*opened.files)
            return opened
    return None


def _open(path: Path, name: str) -> Generation:
    if not path.is_dir():
        raise DamagedIndexError(f"{path} is missing though it is the current index: {manifest.remedy(path)}")
    files = manifest.read_manifest(path, build.FILES)
    manifest.check_sizes(path, files)
    header_path = path / "boiler.json"
    manifest.verify(path, files, [header_path.name])
    header = Header.from_json(header_path.read_text(encoding="utf-8"), header_path)
    if header.generation != name:
        raise DamagedIndexError(
            f"{header_path} belongs to another generation ({header.generation}): {manifest.remedy(path)}"
        )
    if header.encoder_sha256:
        encoder = path / "encoder.pt"
        # encoder.pt is code: it must not be loaded if it was replaced.
        try:
            is_its_own = "encoder.pt" in files and files_module.sha256_of(encoder) == header.encoder_sha256
        except OSError as error:  # a writer may remove an older generation while it is being opened
            raise DamagedIndexError(f"{encoder} cannot be read ({error}): {manifest.remedy(path)}") from error
        if not is_its_own:
            raise DamagedIndexError(f"{encoder} is not the encoder of this index: {manifest.remedy(path)}")
    manifest.verify(path, files, _answering_files(header, files))
    vectors, rows, item_vectors, pairs = (_map(path / file) for file in build.ARRAYS)
    map_points = _map(path / layout.MAP_FILE) if layout.MAP_FILE in files else None
    has_words = build.WORD_SCORES in files and build.WORD_MODEL in files
    word_scores = _map(path / build.WORD_SCORES) if has_words else None
    if (
        vectors.shape != (header.n_rows, header.dim)
        or vectors.dtype != np.float32
        or rows.shape != (header.n_rows,)
        or rows.dtype != ROW
        or item_vectors.shape[1:] != (header.dim,)
        or (
            map_points is not None
            and (map_points.dtype != layout.MAP_POINT or map_points.shape != item_vectors.shape[:1])
        )
        or (
            word_scores is not None
            and (
                word_scores.dtype != np.uint8
                or word_scores.ndim != 3
                or word_scores.shape[::2] != (-(-header.n_rows // build.SCORE_ROWS), build.SCORE_ROWS)
            )
        )
    ):
        raise DamagedIndexError(f"{path}: the arrays do not match boiler.json: {manifest.remedy(path)}")
    return Generation(path, name, header, vectors, rows, item_vectors, pairs, map_points, word_scores, files)


def _answering_files(header: Header, files: Mapping[str, manifest.ManifestEntry]) -> list[str]:
    """The files that a search reads."""
    engine = str(header.engine.get("name"))
    optional = (layout.MAP_FILE, build.WORD_MODEL, build.WORD_SCORES)
    return [name for name in (*build.ARRAYS, *optional, "meta.sqlite") if name in files] + engine_files(engine, files)


def _map(file: Path) -> AnyArray:
    try:
        return map_array(file)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedIndexError(f"{file} is damaged ({error}): {manifest.remedy(file.parent)}") from error


def check(model_dir: str | os.PathLike[str], name: str | None = None) -> Generation:
    """Open the current generation, or the stored one of this name, and compare every byte of it with the sha256 hashes
    made at publication.

    Raises: ModelDirError: as `open`. DamagedIndexError: files differ; the message lists all of them.
    """
    opened = open(model_dir) if name is None else _open(Path(model_dir) / VERSIONS / name, name)
    if wrong := manifest.changed_files(opened.path, opened.files):
        raise DamagedIndexError(
            f"{opened.path}: changed since publication: {', '.join(wrong)}: {manifest.remedy(opened.path)}"
        )
    return opened


def names(model_dir: Path) -> list[str]:
    """The stored generations, oldest first (their names begin with an increasing number)."""
    versions = model_dir / VERSIONS
    if not versions.is_dir():
        return []
    return sorted(one.name for one in versions.iterdir() if _NAME.fullmatch(one.name) and one.is_dir())


def previous_name(model_dir: Path) -> str | None:
    """The generation that `rollback` would return to; None if there is none."""
    current = current_name(model_dir)
    older = [name for name in names(model_dir) if name < current]
    return older[-1] if older else None


def next_name(model_dir: Path) -> str | None:
    """The generation that was current before `rollback`, until the next one is published; None if there is none."""
    current = current_name(model_dir)
    newer = [name for name in names(model_dir) if name > current]
    return newer[0] if newer else None


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
    tag_model: Path | None = None,
    words: build.WordScoring | None = None,
) -> Generation:
    """Publish arrays as the current index, and open it.

    Arguments: `vectors`: float32 [N, D], not zero, normalised here; `rows`: [N] of `ROW`, see `rows_of`; `items`:
    sorted by n, read one by one; an item without rows is silent. Without `encoder_pt` the index cannot embed sounds.
    `locked`: the caller holds `lock_for_writing`. `engine`: the engine that answers; by default chosen by the number of
    rows. `tag_model`: the file of the model that tagged the items, if any. `words`: scores the rows for queries in
    words.

    Raises: ValueError: arrays and items do not match. CatalogError: another process is writing there. ModelDirError:
    the disk is full or cannot be written; the existing index is unchanged.
    """
    model_dir = Path(model_dir)
    with nullcontext() if locked else lock_for_writing(model_dir):
        versions = model_dir / VERSIONS
        before = _good_current(model_dir)
        step = 1 + max((int(name.split("-")[0]) for name in names(model_dir)), default=0)
        # The number gives the order; the random part makes the name unique, so that a reader that compares names
        # always notices a new generation.
        name = f"{step:06d}-{uuid.uuid4().hex[:8]}"
        aside = versions / f"{_BUILDING}{name}"
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
                before=before.path if before else None,
                engine=engine,
                tag_model=tag_model,
                words=words,
            )
            aside.rename(versions / name)
            files_module.fsync(versions)
            opened = _open(versions / name, name)
            projector.write_events(model_dir / projector.EVENTS, {"rows": header.n_rows, "items": header.n_items}, step)
            _make_current(model_dir, opened)
            _delete_all_but(model_dir, {name, before.name if before else ""})
        except (OSError, sqlite3.OperationalError) as error:
            raise ModelDirError(
                f"{model_dir}: the new index could not be written ({error}); the old one is unchanged."
                " Free some space or check the permissions, then run again; embedded files are kept"
            ) from error
        finally:
            if aside.exists():
                _delete(aside)
        return opened


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _good_current(model_dir: Path) -> Generation | None:
    """The current generation, or the newest other one if it is damaged; None if there is none."""
    try:
        opened = open(model_dir)
        opened.verify(*opened.files)
        return opened
    except DamagedIndexError:
        return newest_good(model_dir, every_file=True)
    except ModelDirError:
        return None


def _make_current(model_dir: Path, opened: Generation) -> None:
    """Make a stored generation the current one. The links at the top point through `current`, so they are created
    first, and a kill in between leaves the old index intact."""
    for name in TOP_LINKS:
        if (opened.path / name).exists():
            files_module.link_or_copy(model_dir / name, f"{CURRENT}/{name}", opened.path / name)
        else:
            (model_dir / name).unlink(missing_ok=True)
    pointer, target = model_dir / CURRENT, f"{VERSIONS}/{opened.name}"
    try:
        files_module.relink(pointer, target)
    except OSError:  # a file system without links
        with files_module.replacing(pointer) as aside:
            aside.write_text(f"{target}\n", encoding="utf-8")
    selection.make_current(opened.path, opened.header.engine)


@contextmanager
def lock_for_writing(model_dir: Path) -> Iterator[None]:
    """Lock the model directory for writing, make sure that `current` points to a generation, and delete unpublished
    files of killed writers. Published generations are kept until the next one is published.

    Raises: CatalogError: another process is writing there. ModelDirError: it cannot be written.
    """
    with files_module.lock_for_writing(model_dir):
        try:
            (model_dir / VERSIONS).mkdir(exist_ok=True)
            files_module.delete_temporary(model_dir)
            for path in (model_dir / VERSIONS).iterdir():
                if path.name.startswith("."):
                    _delete(path)
            _restore_current(model_dir)
        except OSError as error:
            raise ModelDirError(f"{model_dir} cannot be written ({error}): check its permissions") from error
        yield


def _restore_current(model_dir: Path) -> None:
    """If `current` is a folder, move it to `versions`; if it is missing or a broken link, point it to the newest
    undamaged generation."""
    pointer, versions = model_dir / CURRENT, model_dir / VERSIONS
    if pointer.is_dir() and not pointer.is_symlink():
        try:
            name = current_name(model_dir)
            _open(pointer, name)
        except ModelDirError:  # damaged: another generation replaces it, if there is one
            if newest_good(model_dir) is None:
                return
            shutil.rmtree(pointer)
        else:
            if (versions / name).is_dir():
                shutil.rmtree(versions / name)
            pointer.rename(versions / name)
            _make_current(model_dir, _open(versions / name, name))
            return
    with suppress(ModelDirError):
        if (pointer.is_symlink() or pointer.is_file()) and (versions / current_name(model_dir)).is_dir():
            return
    if (last := newest_good(model_dir)) is not None:
        _make_current(model_dir, last)


def _delete_all_but(model_dir: Path, kept: Collection[str]) -> None:
    """Delete all generations but these. The caller holds the lock, and has published."""
    for path in (model_dir / VERSIONS).iterdir():
        if path.name not in kept:
            _delete(path)


def _delete(path: Path) -> None:
    """Delete a file or folder of `versions`. A generation is renamed first: one that is deleted in part, by a process
    that was killed, must not be taken for a whole one."""
    if path.is_dir() and not path.is_symlink():
        if not path.name.startswith("."):
            path = path.rename(path.with_name(f"{_DELETED}{path.name}"))
            files_module.fsync(path.parent)
        selection.drop(path)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def rollback(model_dir: str | os.PathLike[str]) -> Generation:
    """Make the previous generation current again, and open it. `undo_rollback` undoes it until the next publication.

    Raises: ModelDirError: there is none, it is damaged, or the disk cannot be written. CatalogError: another process
    is writing there.
    """
    return _switch(Path(model_dir), previous_name, "has no previous index to roll back to")


def undo_rollback(model_dir: str | os.PathLike[str]) -> Generation:
    """Undo `rollback`: make the generation current again that was current before it.

    Raises: as `rollback`.
    """
    return _switch(Path(model_dir), next_name, "has no later index: there is no rollback to undo")


def _switch(model_dir: Path, name_of: Callable[[Path], str | None], reason: str) -> Generation:
    current_name(model_dir)  # raises if there is no index, before a lock file is created
    with lock_for_writing(model_dir):
        name = name_of(model_dir)
        if name is None:
            raise ModelDirError(f"{model_dir} {reason}")
        opened = _open(model_dir / VERSIONS / name, name)
        try:
            _make_current(model_dir, opened)
        except OSError as error:
            raise ModelDirError(
                f"{model_dir} cannot be written ({error}): check its permissions; the index is unchanged"
            ) from error
    return opened

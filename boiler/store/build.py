"""The files of one generation, made from arrays and items in a folder aside.

Which engines are written, and which of them answers, is decided in `boiler.engine.selection`.

The same input and seed give the same bytes in every file but `boiler.json`, the manifest that hashes it, and an engine
that was built on several threads.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from boiler import files
from boiler.arrays import Float32Array, Int64Array, StructuredArray
from boiler.catalog import items as items_module
from boiler.catalog.items import Failure, Item, PlacedItem
from boiler.engine import normalize, selection
from boiler.engine.selection import EngineChoice
from boiler.store import layout as mapping
from boiler.store import manifest, projector
from boiler.store.header import ROW, Header
from boiler.store.random_pairs import random_pairs

ARRAYS = ("vectors.npy", "rows.npy", "item_vectors.npy", "pairs.npy")
FILES = (
    *ARRAYS,
    *selection.ALWAYS_WRITTEN,
    "meta.sqlite",
    projector.METADATA,
    projector.TENSORS,
    projector.CONFIG,
    "boiler.json",
)
_BLOCK_ROWS = 8_192


def write(
    folder: Path,
    header: Header,
    vectors: Float32Array,
    rows: StructuredArray,
    items: Iterable[Item],
    *,
    encoder_pt: Path | None,
    failures: Iterable[Failure],
    meta: Mapping[str, str],
    before: Path | None = None,
    engine: EngineChoice | None = None,
) -> Header:
    """Write every file of a generation into `folder` (empty) and bring them to the disk; the header as completed.
    `before`: the folder of the generation before, if there is one, whose map the new one keeps to. `engine`: which
    engine is to answer; by default it is chosen by size.

    Raises: ValueError: arrays and items do not belong together.
    """
    _check_arrays(header, vectors, rows)
    encoder_sha256 = ""
    if encoder_pt is not None:
        _link(encoder_pt, folder / "encoder.pt")
        encoder_sha256 = files.sha256_of(folder / "encoder.pt")
    unit = save_blocks(folder / "vectors.npy", (len(vectors), header.dim), _unit_blocks(vectors))
    np.save(folder / "rows.npy", np.ascontiguousarray(rows))
    # Before the map: what lays that out is imported, and stays in memory.
    _give_back()
    engines = selection.write_engines(folder, unit, engine, seed=header.seed)
    firsts = np.flatnonzero(np.diff(rows["n"], prepend=-1))
    means = save_blocks(folder / "item_vectors.npy", (len(firsts), header.dim), _item_blocks(unit, firsts))
    _give_back()
    places = mapping.make(means, rows["n"][firsts].astype(np.int64), seed=header.seed, before=before)
    _give_back()
    np.save(folder / mapping.FILE, places)
    np.save(folder / "pairs.npy", random_pairs(unit, rows["n"], header.seed))
    n_items = _write_items(folder, rows, items, failures, meta)
    projector.write_tensors(folder / projector.TENSORS, unit)
    projector.write_config(folder / projector.CONFIG)
    header = header.completed(encoder_sha256=encoder_sha256, n_rows=len(unit), n_items=n_items, engine=engines)
    (folder / "boiler.json").write_text(header.to_json(), encoding="utf-8")
    manifest.write(folder)
    return header


def _check_arrays(header: Header, vectors: Float32Array, rows: StructuredArray) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != header.dim or vectors.dtype != np.float32:
        raise ValueError(f"vectors must be float32 [N, {header.dim}], not {vectors.dtype} {list(vectors.shape)}")
    if rows.dtype != ROW or rows.shape != vectors.shape[:1]:
        raise ValueError(f"rows must be [{len(vectors)}] of {ROW}, not {list(rows.shape)} of {rows.dtype}")
    if len(rows) and (np.diff(rows["n"]) < 0).any():
        raise ValueError("rows must stand in the order of n, an item's rows together")


def _give_back() -> None:
    """Memory that was freed goes back to the system: glibc would keep it, 70 MB and more after each large stage."""
    with suppress(OSError, AttributeError):  # another system, which has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def save_blocks(path: Path, shape: tuple[int, int], blocks: Iterable[Float32Array]) -> Float32Array:
    """An array [N, D] written block by block and mapped for reading: it need not fit into memory. Written as a stream,
    not through a map: on a full disk a map ends the process, a stream raises OSError."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in blocks:
            stream.write(np.ascontiguousarray(block, "<f4").data)
    mapped: Float32Array = np.load(path, mmap_mode="r")
    return mapped


def _unit_blocks(vectors: Float32Array) -> Iterator[Float32Array]:
    for begin in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[begin : begin + _BLOCK_ROWS]
        if not np.isfinite(block).all():
            raise ValueError("vectors must be finite")
        if not block.any(axis=1).all():
            raise ValueError("a vector of no length points nowhere: leave its row out")
        yield normalize(block)


def _item_blocks(vectors: Float32Array, firsts: Int64Array) -> Iterator[Float32Array]:
    """The mean of each item's rows, at unit length; `firsts`: the first row of each."""
    ends = np.append(firsts[1:], len(vectors))
    for begin in range(0, len(firsts), _BLOCK_ROWS):
        first = firsts[begin : begin + _BLOCK_ROWS]
        low, high = first[0], ends[begin : begin + _BLOCK_ROWS][-1]
        yield normalize(np.add.reduceat(vectors[low:high], first - low, axis=0))


def _write_items(
    folder: Path,
    rows: StructuredArray,
    items: Iterable[Item],
    failures: Iterable[Failure],
    meta: Mapping[str, str],
) -> int:
    """meta.sqlite and metadata.tsv, in one pass over the items; how many there were."""
    numbers = rows["n"]
    n_items = 0
    (folder / projector.METADATA).parent.mkdir(parents=True)
    with (folder / projector.METADATA).open("w", encoding="utf-8", newline="\n") as table:
        projector.write_header(table)

        def placed() -> Iterator[PlacedItem]:
            nonlocal n_items
            row = vec_row = 0
            last = -1
            for item in items:
                if item.n <= last:
                    raise ValueError("items must come in the order of n, each once")
                last = item.n
                first = row
                while row < len(numbers) and numbers[row] == item.n:
                    _, start_s, end_s = rows[row].item()
                    projector.write_row(table, item.id, item.url, start_s, end_s, item.label)
                    row += 1
                yield PlacedItem(item, first, row - first, vec_row)
                vec_row += row > first
                n_items += 1
            if row != len(numbers):
                raise ValueError(f"row {row} is of item n={numbers[row]}, which is not among the items")

        items_module.write_database(folder / "meta.sqlite", placed(), failures, meta)
    return n_items

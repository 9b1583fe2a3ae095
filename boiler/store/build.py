"""Writes the files of one generation from arrays and items.

`boiler.engine.selection` decides which engines are written and which of them answers.

The same input and seed give the same bytes in every file except `boiler.json`, the manifest, and an engine that was
built on several threads.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler import files
from boiler.arrays import Float32Array, Int64Array, StructuredArray, UInt8Array, map_array
from boiler.catalog import items as items_module
from boiler.catalog.items import Failure, Item, PlacedItem
from boiler.engine import normalize, selection
from boiler.engine.selection import EngineChoice
from boiler.store import layout, manifest, projector
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
TAG_MODEL = "tags.safetensors"
"""In the folder of a generation whose items were tagged by a model (`boiler.tagging.model`)."""
WORD_MODEL = "words.safetensors"
"""In the folder of a generation that can be searched in words: the model that scored its rows."""
WORD_SCORES = "word_scores.npy"
"""uint8 [blocks, C, `SCORE_ROWS`]: the scores of the classes of `WORD_MODEL` (`boiler.crossmodal.word_model`) for each
row of the index, zeros behind the last. A query reads a few classes of all rows: in each block, whole pages."""
SCORE_ROWS = 4_096
_BLOCK_ROWS = 8_192


class WordScoring(NamedTuple):
    """What scores the rows of an index for queries in words.

    model: its file; score: unit vectors [n, D] to scores uint8 [n, C]
    """

    model: Path
    n_classes: int
    score: Callable[[Float32Array], UInt8Array]


def write_generation(
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
    tag_model: Path | None = None,
    words: WordScoring | None = None,
) -> Header:
    """Write every file of a generation into `folder`, which is empty, and flush them to the disk.

    Arguments: `before`: the folder of the previous generation, if there is one, whose map layout is kept and whose
    encoder is shared; `engine`: which engine answers, by default chosen by size; `tag_model`: is copied; `words`:
    scores the rows for queries in words.

    Returns the completed header.

    Raises: ValueError: arrays and items do not match.
    """
    _check_arrays(header, vectors, rows)
    encoder_sha256 = ""
    if encoder_pt is not None:
        encoder_sha256 = _add_shared(folder / "encoder.pt", encoder_pt, before)
    if tag_model is not None:
        _add_shared(folder / TAG_MODEL, tag_model, before)
    unit = save_blocks(folder / "vectors.npy", (len(vectors), header.dim), _normalized_blocks(vectors))
    np.save(folder / "rows.npy", np.ascontiguousarray(rows))
    if words is not None:
        _add_shared(folder / WORD_MODEL, words.model, before)
        _write_word_scores(folder / WORD_SCORES, unit, words)
    # Before the map is computed, because its libraries stay in memory once imported.
    _free_memory()
    engines = selection.write_engines(folder, unit, engine, seed=header.seed)
    firsts = np.flatnonzero(np.diff(rows["n"], prepend=-1))
    means = save_blocks(folder / "item_vectors.npy", (len(firsts), header.dim), _item_vector_blocks(unit, firsts))
    _free_memory()
    places = layout.layout_map(means, rows["n"][firsts].astype(np.int64), seed=header.seed, before=before)
    _free_memory()
    np.save(folder / layout.MAP_FILE, places)
    np.save(folder / "pairs.npy", random_pairs(unit, rows["n"], header.seed))
    n_items = _write_items(folder, rows, items, failures, meta)
    projector.write_tensors(folder / projector.TENSORS, unit)
    projector.write_config(folder / projector.CONFIG)
    header = header.completed(encoder_sha256=encoder_sha256, n_rows=len(unit), n_items=n_items, engine=engines)
    (folder / "boiler.json").write_text(header.to_json(), encoding="utf-8")
    manifest.write_manifest(folder)
    return header


def _check_arrays(header: Header, vectors: Float32Array, rows: StructuredArray) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != header.dim or vectors.dtype != np.float32:
        raise ValueError(f"vectors must be float32 [N, {header.dim}], not {vectors.dtype} {list(vectors.shape)}")
    if rows.dtype != ROW or rows.shape != vectors.shape[:1]:
        raise ValueError(f"rows must be [{len(vectors)}] of {ROW}, not {list(rows.shape)} of {rows.dtype}")
    if len(rows) and (np.diff(rows["n"]) < 0).any():
        raise ValueError("rows must be sorted by n")


def _free_memory() -> None:
    """Return freed memory to the system, of which glibc would keep 70 MB and more after each large stage."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _add_shared(path: Path, source: Path, before: Path | None) -> str:
    """Copy a file, once for all generations, which share it by a hard link; returns its sha256. Not a link to
    `source`: of two copies on the disk one is left if the other is damaged."""
    sha256 = files.sha256_of(source)
    shared = None if before is None else before / path.name
    if shared is not None and shared.is_file() and files.sha256_of(shared) == sha256:
        files.hard_link_or_copy(shared, path)
    else:
        shutil.copyfile(source, path)
    return sha256


def save_blocks(path: Path, shape: tuple[int, int], blocks: Iterable[Float32Array]) -> Float32Array:
    """Write an array [N, D] block by block, so that it need not fit into memory, and map it for reading.

    It is written as a stream: on a full disk that raises OSError, while writing to a memory map kills the process."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in blocks:
            stream.write(np.ascontiguousarray(block, "<f4").data)
    return map_array(path)


def _write_word_scores(path: Path, unit: Float32Array, words: WordScoring) -> None:
    shape = (-(-len(unit) // SCORE_ROWS), words.n_classes, SCORE_ROWS)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for begin in range(0, len(unit), SCORE_ROWS):
            scores = words.score(np.asarray(unit[begin : begin + SCORE_ROWS]))
            block = np.zeros(shape[1:], np.uint8)
            block[:, : len(scores)] = scores.T
            stream.write(block.data)


def _normalized_blocks(vectors: Float32Array) -> Iterator[Float32Array]:
    for begin in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[begin : begin + _BLOCK_ROWS]
        if not np.isfinite(block).all():
            raise ValueError("vectors must be finite")
        if not block.any(axis=1).all():
            raise ValueError("zero vectors cannot be normalised: leave their rows out")
        yield normalize(block)


def _item_vector_blocks(vectors: Float32Array, firsts: Int64Array) -> Iterator[Float32Array]:
    """The mean of each item's rows, normalised. `firsts`: the first row of each item."""
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
    """Write meta.sqlite and metadata.tsv in one pass over the items, and return their number."""
    numbers = rows["n"]
    n_items = 0
    (folder / projector.METADATA).parent.mkdir(parents=True)
    with (folder / projector.METADATA).open("w", encoding="utf-8", newline="\n") as table:
        projector.write_metadata_header(table)

        def placed() -> Iterator[PlacedItem]:
            nonlocal n_items
            row = vec_row = 0
            last = -1
            for item in items:
                if item.n <= last:
                    raise ValueError("items must be sorted by n, each once")
                last = item.n
                first = row
                while row < len(numbers) and numbers[row] == item.n:
                    _, start_s, end_s = rows[row].item()
                    projector.write_metadata_row(table, item.id, item.url, start_s, end_s, item.label)
                    row += 1
                yield PlacedItem(item, first, row - first, vec_row)
                vec_row += row > first
                n_items += 1
            if row != len(numbers):
                raise ValueError(f"row {row} is of item n={numbers[row]}, which is not among the items")

        items_module.write_database(folder / "meta.sqlite", placed(), failures, meta)
    return n_items

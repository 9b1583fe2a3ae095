"""Array types for annotations, loading arrays, and batches of any sequence.

The names give the element type; a docstring gives the shape, as in ``vectors [N, D]``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

AST_LOCK = threading.Lock()
"""Held while Python source is parsed. On 3.11 two threads that parse at once can fail with "SystemError: AST
constructor recursion depth mismatch", and numpy parses the header of every .npy file that way."""

AnyArray: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""Of any precision."""
Float16Array: TypeAlias = npt.NDArray[np.float16]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
"""Of any width."""
Int8Array: TypeAlias = npt.NDArray[np.int8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int64Array: TypeAlias = npt.NDArray[np.int64]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Complex64Array: TypeAlias = npt.NDArray[np.complex64]
StructuredArray: TypeAlias = npt.NDArray[np.void]
"""Records with named fields."""


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` consecutive items; the last one may be shorter. Reads `items` one batch at a time.

    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def map_array(path: Path) -> AnyArray:
    """Memory-map the array in an .npy file for reading. Thread-safe.

    Raises: OSError, ValueError, EOFError: missing or damaged.
    """
    with AST_LOCK:
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array

"""Weights that CTranslate2 saved (`model.bin`), read without it.

Such a file is a list of named arrays behind a short header, little-endian. It contains arrays only, so reading it runs
no code. Quantised weights are not read.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boiler.errors import CheckpointError

VERSION = 6
"""Of the format; others are refused."""
FLOATS: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 4: np.dtype("<f2")}
"""By the number of a type: single and half precision."""


def read_arrays(content: bytes, prefix: str = "") -> dict[str, Tensor]:
    """The arrays whose names begin with `prefix`, by their names without it, as float32.

    Raises: CheckpointError: not such a file, of another version, cut off, or an array of it is quantised.
    """
    reader = _Reader(content)
    try:
        if (version := reader.number("I")) != VERSION:
            raise ValueError(f"is of version {version}, not {VERSION}")
        reader.text()  # the kind of model
        reader.number("I")  # and its revision
        arrays = {}
        for _ in range(reader.number("I")):
            name = reader.text()
            shape = [reader.number("I") for _ in range(reader.number("B"))]
            kind, n_bytes = reader.number("B"), reader.number("I")
            data = reader.take(n_bytes)
            if not name.startswith(prefix):
                continue
            if kind not in FLOATS:
                if shape:
                    raise ValueError(f"{name} is quantised")
                continue  # a setting, such as the number of heads
            values = np.frombuffer(data, FLOATS[kind]).reshape(shape).astype(np.float32)
            arrays[name.removeprefix(prefix)] = torch.from_numpy(values)
    except (ValueError, struct.error) as error:  # UnicodeDecodeError is a ValueError
        raise CheckpointError(f"these are not weights of CTranslate2 that can be read: {error}") from error
    return arrays


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, n_bytes: int) -> bytes:
        if self._at + n_bytes > len(self._content):
            raise ValueError("the file is cut off")
        self._at += n_bytes
        return self._content[self._at - n_bytes : self._at]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("H")).rstrip(b"\0").decode()

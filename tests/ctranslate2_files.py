"""Writes weights as CTranslate2 does."""

from __future__ import annotations

import struct

from torch import Tensor


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(arrays: dict[str, Tensor], *, version: int = 6, quantised: str = "") -> bytes:
    """`arrays` in half precision, and a setting; the one named `quantised` is written as int8."""
    parts = [struct.pack("<I", version), _text("WhisperSpec"), struct.pack("<II", 3, len(arrays) + 1)]
    for name, values in arrays.items():
        data = values.half().numpy().tobytes() if name != quantised else bytes(values.numel())
        shape = struct.pack(f"<B{values.dim()}I", values.dim(), *values.shape)
        parts += [_text(name), shape, struct.pack("<BI", 4 if name != quantised else 1, len(data)), data]
    parts += [_text("encoder/num_heads"), struct.pack("<BBIh", 0, 2, 2, 6)]
    return b"".join([*parts, struct.pack("<I", 0)])

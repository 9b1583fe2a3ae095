"""`boiler.json`: the encoder, windows and arrays of an index, and the layout of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boiler import __version__
from boiler.arrays import StructuredArray
from boiler.audio.windows import DEFAULT_WINDOWS, Which, WindowSpec
from boiler.errors import DamagedIndexError, ModelDirError
from boiler.store.manifest import remedy

FORMAT_VERSION = 1

# Files of earlier versions may lack these keys; the defaults are used then.
MAY_BE_MISSING = frozenset({"sample_rate_hz", "window_samples", "hop_s"})

# One row of an index: a window of item `n`, 16 bytes.
ROW = np.dtype([("n", "<i8"), ("start_s", "<f4"), ("end_s", "<f4")])


@dataclass(frozen=True)
class Header:
    """The contents of `boiler.json`. The caller of `publish` sets what it knows; `publish` sets generation, created,
    n_rows, n_items, engine and encoder_sha256."""

    encoder: str
    dim: int
    format_version: int = FORMAT_VERSION
    boiler_version: str = __version__
    generation: str = ""
    encoder_sha256: str = ""  # empty: published without an encoder, so no sound can be embedded
    sample_rate_hz: int = DEFAULT_WINDOWS.sample_rate_hz
    window_samples: int = DEFAULT_WINDOWS.window_samples
    windows: str = DEFAULT_WINDOWS.which
    hop_s: float = DEFAULT_WINDOWS.hop_s
    distance: str = "angular"
    engine: Mapping[str, Any] = field(default_factory=dict)
    n_rows: int = 0
    n_items: int = 0
    created: str = ""
    seed: int = 0
    url_template: str = "{id}"

    @property
    def window_spec(self) -> WindowSpec:
        """The windows of the sounds of the index, and of queries that are compared with them."""
        which: Which = "first" if self.windows == "first" else "all"
        return WindowSpec(self.sample_rate_hz, self.window_samples, self.hop_s, which)

    def completed(self, **values: Any) -> Header:
        """A copy with these values set."""
        return replace(self, **values)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> Header:
        """Raises: ModelDirError: of another format, or with unknown keys. DamagedIndexError: not a header."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise DamagedIndexError(f"{where} is damaged ({error}): {remedy(where.parent)}") from error
        if not isinstance(values, dict) or "format_version" not in values:
            raise DamagedIndexError(f"{where} does not describe an index of boiler: {remedy(where.parent)}")
        if values["format_version"] != FORMAT_VERSION:
            raise ModelDirError(
                f"{where} is of format {values['format_version']}, written by boiler {values.get('boiler_version')};"
                f" this is boiler {__version__}, which reads format {FORMAT_VERSION}: {remedy(where.parent)}"
            )
        known = {one.name for one in fields(cls)}
        if wrong := sorted((known ^ values.keys()) - (MAY_BE_MISSING - values.keys())):
            raise ModelDirError(f"{where} lacks or has unknown keys: {', '.join(wrong)}: {remedy(where.parent)}")
        return cls(**values)


def rows_of(
    numbers: npt.ArrayLike, *, start_s: npt.ArrayLike = 0.0, end_s: npt.ArrayLike = DEFAULT_WINDOWS.window_s
) -> StructuredArray:
    """Rows for `generation.publish`, from the item number of each row.

    >>> rows_of([0, 1, 1], start_s=[0, 0, 4.096])["n"].tolist()
    [0, 1, 1]
    """
    numbers = np.asarray(numbers, np.int64)
    rows = np.zeros(numbers.shape, ROW)
    rows["n"], rows["start_s"], rows["end_s"] = numbers, start_s, end_s
    return rows

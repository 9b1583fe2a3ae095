"""Results in a notebook: a table with a player in each row.

>>> from boiler import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> nearest.players(nearest.query("dog.wav"))  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import html
import io
import wave
from collections.abc import Sequence

import numpy as np

from boiler.arrays import Float32Array
from boiler.errors import BoilerError
from boiler.search.context import SearchContext
from boiler.search.query import QueryResult


class Players:
    """What `Nearest.players` returns. Notebooks show it by `_repr_html_`; the sounds are part of the HTML."""

    def __init__(self, table_html: str) -> None:
        self._html = table_html

    def _repr_html_(self) -> str:
        return self._html


def results_with_players(context: SearchContext, result: QueryResult, max_s: float) -> Players:
    """A row for each match: a player of its window, at most `max_s` seconds of it, or why it cannot be played."""
    rate_hz = context.snapshot.generation.header.sample_rate_hz
    rows = [_row(["", "distance", "from", "to", "id", "label"], "th")]
    for match in result.matches:
        try:
            path = context.sound_path(context.snapshot, match.n)
            end_s = min(match.end_s, match.start_s + max_s)
            samples = context.reader.load(path, start_s=match.start_s, end_s=end_s, sample_rate_hz=rate_hz)
            player = f'<audio controls preload="none" src="{wav_url(samples, rate_hz)}"></audio>'
        except BoilerError as error:
            player = html.escape(str(error))
        cells = [f"{match.distance:.3f}", f"{match.start_s:.1f} s", f"{match.end_s:.1f} s", match.id, match.label or ""]
        rows.append(_row([player, *map(html.escape, cells)], "td"))
    return Players(f"<table>{''.join(rows)}</table>")


def wav_url(samples: Float32Array, sample_rate_hz: int) -> str:
    """A `data:` URL of 16-bit WAV. Shape: samples [T], within ±1; what exceeds that is clipped.

    >>> wav_url(np.zeros(1, np.float32), 8_000)[:34]
    'data:audio/wav;base64,UklGRiYAAABX'
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate_hz)
        out.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"

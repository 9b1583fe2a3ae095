"""A spliced file reads as its pieces joined."""

from __future__ import annotations

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from boiler.audio.spliced import Spliced

WHOLE = bytes(range(200))
PIECES = st.lists(
    st.binary(max_size=5) | st.tuples(st.integers(0, 150), st.integers(0, 50)),
    max_size=6,
)


def joined(pieces: list) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else WHOLE[piece[0] : piece[0] + piece[1]] for piece in pieces)


@given(PIECES, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 90)), max_size=5))
def test_it_reads_as_its_pieces_joined_from_any_place(pieces: list, reads: list[tuple[int, int]]) -> None:
    spliced, expected = Spliced(io.BytesIO(WHOLE), pieces), joined(pieces)
    assert spliced.read() == expected
    assert spliced.seek(0, os.SEEK_END) == len(expected)
    for at, n_bytes in reads:
        spliced.seek(at)
        found = b""
        while len(found) < n_bytes and (more := spliced.read(n_bytes - len(found))):
            found += more
        assert found == expected[at : at + n_bytes]
        assert spliced.tell() == max(at, min(len(expected), at + n_bytes)) or at > len(expected)


def test_the_position_may_be_set_from_where_it_is() -> None:
    spliced = Spliced(io.BytesIO(WHOLE), [b"abc", (10, 5)])
    spliced.seek(2)
    spliced.seek(2, os.SEEK_CUR)
    assert spliced.read(1) == bytes([11])

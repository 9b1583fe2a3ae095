"""Windows that were decoded while an encoder was fitted, kept until they are embedded.

What is kept is limited: other files of the sample that the encoder is fitted to are decoded again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from boiler.audio.decoder_pool import DecodedSound, DecodedWindows, DecodeEvent, DecodeFailure, Decoders
from boiler.audio.windows import WindowSpec

MAX_BYTES = 2**28
"""Of the clips of all windows that are kept: 256 of 8 s at 32 kHz, 400 of 5 s."""

Events = list[DecodeEvent[int]]


class KeptWindows:
    """The events of `Decoders.windows` by the key of their file, at most `max_bytes` of samples.

    One thread keeps events at a time.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.is_full = False
        """Whether there was no room for a file."""
        self._left_bytes = max_bytes
        self._whole: dict[int, Events] = {}
        self._begun: dict[int, Events | None] = {}  # None: there was no room for it

    def __len__(self) -> int:
        return len(self._whole)

    def __contains__(self, key: int) -> bool:
        return key in self._whole

    def keeping(self, events: Iterable[DecodeEvent[int]], keys: Container[int]) -> Iterator[DecodeEvent[int]]:
        """The events; those of these files are kept on the way if there is room. A file that is not decoded to its end,
        that fails, or that is too long is not kept."""
        try:
            for event in events:
                if event.key in keys:
                    self._keep(event)
                yield event
        finally:
            for key in list(self._begun):
                self._let_go(key, ended=True)

    def windows(
        self, decoders: Decoders, jobs: Iterable[tuple[int, Path]], spec: WindowSpec
    ) -> Generator[DecodeEvent[int]]:
        """`decoders.windows(jobs, spec, ordered=True)`, in which the files that are kept are not decoded, and let go.

        Raises: as `Decoders.windows`.
        """
        turns: deque[int] = deque()

        def undecoded() -> Iterator[tuple[int, Path]]:
            for key, path in jobs:
                turns.append(key)
                if key not in self._whole:
                    yield key, path

        with closing(decoders.windows(undecoded(), spec, ordered=True)) as events:
            for event in events:
                yield from self._before(event.key, turns)
                yield event
            yield from self._before(None, turns)

    def _before(self, key: int | None, turns: deque[int]) -> Iterator[DecodeEvent[int]]:
        """The kept events of the files whose turn is before that of a file which is decoded."""
        while turns and turns[0] != key:
            kept = self._whole.pop(turns.popleft(), [])
            self._left_bytes += _n_bytes(kept)
            yield from kept

    def _keep(self, event: DecodeEvent[int]) -> None:
        key = event.key
        if key in self._whole:
            return
        begun = self._begun.setdefault(key, [])
        if begun is None or isinstance(event, DecodeFailure):
            self._let_go(key, ended=not isinstance(event, DecodedWindows))
            return
        begun.append(event)
        self._left_bytes -= _n_bytes([event])
        if self._left_bytes < 0:
            self.is_full = True
            self._let_go(key, ended=False)
        elif isinstance(event, DecodedSound):
            self._whole[key] = begun
            del self._begun[key]

    def _let_go(self, key: int, *, ended: bool) -> None:
        self._left_bytes += _n_bytes(self._begun.pop(key) or [])
        if not ended:
            self._begun[key] = None


def _n_bytes(events: Events) -> int:
    windows = (event.windows for event in events if isinstance(event, DecodedWindows))
    return sum(window.clip.nbytes for some in windows for window in some)

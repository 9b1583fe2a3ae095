"""Draws and copies sounds in processes that may die of one (`boiler.audio.media_worker`): a crash, a hang or a bomb loses the
one picture, not the service. The processes start with the first picture.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import ClassVar

from boiler.audio import transcode
from boiler.audio.decoder_pool import Decoders
from boiler.audio.spectrogram import Peaks

AT_ONCE = 2  # pictures, waveforms and copies in the making; others wait their turn
TIMEOUT_S = 120.0  # two hours of sound, on a slow machine
LOOK_TIMEOUT_S = 20.0  # at what kind of file it is, which takes milliseconds


class Studio(Decoders):
    """The processes of one worker of the service. All methods wait for a free one, and raise SoundError; `copy` also
    `listening.NoRoomError`."""

    MODULE: ClassVar[str] = "boiler.audio.media_worker"

    def kind(self, path: Path) -> str | None:
        """`listening.media_type`."""
        status = path.stat()
        return self._kind(str(path), status.st_mtime_ns, status.st_size)

    @functools.lru_cache(maxsize=4_096)  # noqa: B019  # there are two studios in a process, for as long as that lives
    def _kind(self, path: str, mtime_ns: int, size_bytes: int) -> str | None:
        kind: str | None = self._once("kind", path, ())[0]["kind"]
        return kind

    def copy(self, path: Path, start_s: float = 0.0, end_s: float | None = None) -> Path:
        """`listening.copy`: one that is kept already, or a new one."""
        kept = transcode.kept(path, start_s, end_s)
        if not kept.is_file():
            said, _ = self._once("copy", str(path), (str(kept), start_s, end_s))
            if "no_room" in said:
                raise transcode.NoRoomError(said["no_room"])
        return kept

    def peaks(self, path: Path, points: int, start_s: float = 0.0, end_s: float | None = None) -> Peaks:
        """`drawing.peaks`."""
        part, samples = self._once("peaks", str(path), (points, start_s, end_s))
        return Peaks(samples[:points], samples[points:], part["start_s"], part["end_s"])

    def picture(self, path: Path, width: int, height: int, start_s: float = 0.0, end_s: float | None = None) -> bytes:
        """`drawing.spectrogram_png`."""
        return base64.b64decode(self._once("picture", str(path), (width, height, start_s, end_s))[0]["png"])


@functools.cache
def studio() -> Studio:
    """The studio of this process. Its processes end with this one, whose end of their connection closes."""
    return Studio(workers=AT_ONCE, timeout_s=TIMEOUT_S)


@functools.cache
def looker() -> Studio:
    """One more, for `kind` alone: who wants to play a sound does not wait for pictures."""
    return Studio(workers=1, timeout_s=LOOK_TIMEOUT_S)

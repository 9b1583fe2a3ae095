"""Spectrograms, waveforms and playable copies, computed in worker processes (`boiler.audio.media_worker`).

A file that crashes or hangs its decoder affects one request only. The processes start with the first request.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import ClassVar

from boiler.audio import transcode
from boiler.audio.decoder_pool import Decoders
from boiler.audio.sent_file import SentFile
from boiler.audio.spectrogram import Peaks

WORKERS = 2  # requests at a time; others wait
TIMEOUT_S = 120.0  # two hours of sound on a slow machine
MEDIA_TYPE_TIMEOUT_S = 20.0  # it takes milliseconds


class MediaPool(Decoders):
    """Worker processes for media. All methods wait for a free one.

    Raises, all methods: SoundError. `flac_copy` also `transcode.NoRoomError`.
    """

    MODULE: ClassVar[str] = "boiler.audio.media_worker"

    def media_type(self, path: Path) -> str | None:
        """`transcode.media_type` in a worker; remembered until the file changes."""
        status = path.stat()
        return self._media_type(str(path), status.st_mtime_ns, status.st_size)

    @functools.lru_cache(maxsize=4_096)  # noqa: B019  # the two pools live as long as the process
    def _media_type(self, path: str, mtime_ns: int, size_bytes: int) -> str | None:
        kind: str | None = self._once("media_type", path, ())[0]["media_type"]
        return kind

    def video_type(self, path: Path) -> str | None:
        """`transcode.video_type` in a worker."""
        kind: str | None = self._once("video_type", str(path), ())[0]["video_type"]
        return kind

    def flac_copy(self, path: Path, start_s: float = 0.0, end_s: float | None = None) -> Path:
        """`transcode.flac_copy` in a worker."""
        target = transcode.copy_path(path, start_s, end_s)
        if not target.is_file():
            with transcode.replacing_copy(target) as aside:
                aside.touch()
                fields, _ = self._once("copy", str(path), (SentFile(str(aside), writable=True), start_s, end_s))
                if "no_room" in fields:
                    raise transcode.NoRoomError(fields["no_room"])
        return target

    def peaks(self, path: Path, points: int, start_s: float = 0.0, end_s: float | None = None) -> Peaks:
        """`boiler.audio.spectrogram.peaks` in a worker."""
        part, samples = self._once("peaks", str(path), (points, start_s, end_s))
        return Peaks(samples[:points], samples[points:], part["start_s"], part["end_s"])

    def spectrogram_png(
        self, path: Path, width: int, height: int, start_s: float = 0.0, end_s: float | None = None
    ) -> bytes:
        """`boiler.audio.spectrogram.spectrogram_png` in a worker."""
        return base64.b64decode(self._once("spectrogram", str(path), (width, height, start_s, end_s))[0]["png"])


@functools.cache
def media_pool() -> MediaPool:
    """The pool of this process. Its workers exit with it, because their connection closes."""
    return MediaPool(workers=WORKERS, timeout_s=TIMEOUT_S)


@functools.cache
def media_type_pool() -> MediaPool:
    """A pool for `media_type` alone, so that playing a sound does not wait for pictures."""
    return MediaPool(workers=1, timeout_s=MEDIA_TYPE_TIMEOUT_S)

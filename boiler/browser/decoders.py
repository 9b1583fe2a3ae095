"""Decoding sounds and pictures in worker processes: a file that crashes or hangs a decoder affects neither the pages
nor other visitors."""

from __future__ import annotations

import functools
import os
import queue
import threading
from concurrent.futures import Future
from pathlib import Path

from boiler.audio.decoder_pool import Decoders
from boiler.audio.stream import Probe
from boiler.progress import ProgressCallback
from boiler.vision.frame_pool import FramePool
from boiler.vision.video import Picture

MAX_WORKERS = 4
MEASURE_TIMEOUT_S = 600.0  # to decode a whole upload that does not state its duration
POLL_S = 0.1
PICTURE_TIMEOUT_S = 30.0

_idle: queue.SimpleQueue[Decoders] = queue.SimpleQueue()  # of `probe_file`, each with a worker that is started


@functools.cache
def shared_decoders() -> Decoders:
    """The decoders of this process, shared by all sessions. Workers start when they are first needed."""
    return Decoders(workers=max(2, min(MAX_WORKERS, os.cpu_count() or 1)))


@functools.cache
def _frames() -> FramePool:
    return FramePool(timeout_s=PICTURE_TIMEOUT_S)


def read_picture(content: bytes) -> Picture:
    """`FramePool.uploaded_picture`. Shape: uint8 [H, W, 3]"""
    return _frames().uploaded_picture(content)


def probe_file(path: Path, on_progress: ProgressCallback) -> Probe:
    """Format and duration of a sound file. A duration that its header lacks is measured by decoding the whole file.

    Arguments:
        on_progress: called regularly with 0.0 (the total is not known); if it raises, the worker is killed

    Raises: SoundError: not a sound, or beyond the limits; whatever `on_progress` raises.
    """
    try:
        decoder = _idle.get_nowait()
    except queue.Empty:
        decoder = Decoders(workers=1, timeout_s=MEASURE_TIMEOUT_S)  # not the shared one, so that it can be killed
    future: Future[Probe] = Future()

    def probe() -> None:
        try:
            future.set_result(decoder.probe(path))
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=probe, name="probe", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            on_progress(0.0)
            thread.join(POLL_S)
    except BaseException:
        while thread.is_alive():  # more than once: the thread may be about to start the worker
            decoder.close()
            thread.join(POLL_S)
        decoder.close()
        raise
    _idle.put(decoder)
    return future.result()

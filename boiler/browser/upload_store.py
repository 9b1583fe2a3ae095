"""Uploaded sounds, kept by the process as temporary files, so that the routes of `indexes` can serve them."""

from __future__ import annotations

import functools
import hashlib
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from pathlib import Path, PurePath

from boiler.browser.decoders import probe_file
from boiler.catalog.items import Item
from boiler.errors import QueryError, SoundError, UnknownItemError
from boiler.progress import ProgressCallback, ignore_progress

UPLOADS_URL = "uploads"
MAX_STORED_BYTES = 512 * 2**20

_GONE = "the uploaded sound of this link is no longer stored here: upload it again"


class UploadStore:
    """Uploaded sounds as files in a temporary folder; beyond `max_bytes` the least recently used are deleted. A key is
    a hash of the bytes, so that a sound that is uploaded twice is stored once."""

    def __init__(self, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="boiler-uploads-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # at the latest when the process ends
        self._items: OrderedDict[int, Item] = OrderedDict()

    def add(self, name: str, sound: bytes, on_progress: ProgressCallback = ignore_progress) -> str:
        """Store a sound and return its key.

        Arguments:
            name: the file name; used for display only
            on_progress: called regularly with 0.0 while the sound is read; the total is not known

        Raises: SoundError: not a sound, or beyond the limits; whatever `on_progress` raises.
        """
        digest = hashlib.sha256(sound).hexdigest()
        key = digest[:12]
        n = int(key, 16)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="incoming-") as file:
            file.write(sound)
            file.flush()
            try:
                probe = probe_file(Path(file.name), on_progress)
            except SoundError as error:
                raise type(error)(name, error.reason) from error
        item = Item(
            n,
            PurePath(name.replace("\\", "/")).name or "upload",
            duration_s=probe.duration_s,
            sample_rate_hz=probe.sample_rate_hz,
            channels=probe.channels,
            format=probe.format,
            size_bytes=len(sound),
            sha256=digest,
        )
        with self._lock:
            if n not in self._items:
                self._file(n).write_bytes(sound)
            self._items[n] = item
            self._items.move_to_end(n)
            while len(self._items) > 1 and sum(one.size_bytes for one in self._items.values()) > self._max_bytes:
                oldest, _ = self._items.popitem(last=False)
                self._file(oldest).unlink(missing_ok=True)
        return key

    def item(self, key: str) -> Item:
        """The upload as an item; its `n` is the key as a number.

        Raises: QueryError: there was no such upload, or it is no longer stored.
        """
        try:
            with self._lock:
                n = int(key, 16)
                self._items.move_to_end(n)
                return self._items[n]
        except (KeyError, ValueError) as error:
            raise QueryError(_GONE) from error

    def path(self, n: int) -> Path:
        """The file of the sound; `n` is its key as a number.

        Raises: UnknownItemError: there was no such upload, or it is no longer stored.
        """
        with self._lock:
            if n not in self._items:
                raise UnknownItemError(_GONE)
            return self._file(n)

    @property
    def sounds_url(self) -> str:
        """The base URL of the sounds (``/N/audio`` and so on), relative to the root of the browser."""
        return UPLOADS_URL

    def _file(self, n: int) -> Path:
        return self._folder / f"{n:012x}"


@functools.cache
def upload_store() -> UploadStore:
    """The uploads of this process."""
    return UploadStore()

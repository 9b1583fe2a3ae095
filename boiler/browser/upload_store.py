"""Uploaded sounds and pictures, kept by the process as temporary files; the routes of `indexes` serve the sounds."""

from __future__ import annotations

import functools
import hashlib
import io
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from boiler.browser.decoders import probe_file, read_picture
from boiler.catalog.items import Item
from boiler.errors import EmbeddingError, QueryError, SoundError, UnknownItemError
from boiler.progress import ProgressCallback, ignore_progress

UPLOADS_URL = "uploads"
MAX_STORED_BYTES = 512 * 2**20
MAX_UNUSED_S = 3_600.0

_GONE = "the upload of this link is no longer stored here: upload it again"


@dataclass(frozen=True)
class StoredPicture:
    """An uploaded picture. path: a PNG file that this process wrote; width, height: in pixels"""

    name: str
    path: Path
    width: int
    height: int
    size_bytes: int


class UploadStore:
    """Uploads as files in a temporary folder; beyond `max_bytes` the least recently used are deleted, and
    so are those that no page used for `MAX_UNUSED_S`. A key is a hash of the bytes, so that what is uploaded twice is
    stored once."""

    def __init__(self, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="boiler-uploads-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # at the latest when the process ends
        self._items: OrderedDict[int, Item | StoredPicture] = OrderedDict()
        self._used_s: dict[int, float] = {}

    def add(self, name: str, sound: bytes, on_progress: ProgressCallback = ignore_progress) -> str:
        """Store a sound and return its key.

        Arguments:
            name: the file name; used for display only
            on_progress: called regularly with 0.0 while the sound is read; the total is not known

        Raises: SoundError: not a sound, or beyond the limits; whatever `on_progress` raises.
        """
        digest = hashlib.sha256(sound).hexdigest()
        key, n = _key(sound)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="incoming-") as file:
            file.write(sound)
            file.flush()
            try:
                probe = probe_file(Path(file.name), on_progress)
            except SoundError as error:
                raise type(error)(name, error.reason) from error
        item = Item(
            n,
            _file_name(name),
            duration_s=probe.duration_s,
            sample_rate_hz=probe.sample_rate_hz,
            channels=probe.channels,
            format=probe.format,
            size_bytes=len(sound),
            sha256=digest,
        )
        self._keep(n, item, sound)
        return key

    def add_picture(self, name: str, content: bytes) -> str:
        """Store a picture, scaled down, and return its key. It is decoded in a worker process; what is stored is
        written anew, so that pages can read it themselves.

        Raises: EmbeddingError: not a picture, or too many pixels.
        """
        key, n = _key(content)
        try:
            pixels = read_picture(content)
        except EmbeddingError as error:
            raise EmbeddingError(f"{_file_name(name)}: {str(error).partition(': ')[2]}") from error
        height, width = pixels.shape[:2]
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "PNG")
        data = stored.getvalue()
        self._keep(n, StoredPicture(_file_name(name), self._file(n), width, height, len(data)), data)
        return key

    def item(self, key: str) -> Item:
        """The uploaded sound as an item; its `n` is the key as a number.

        Raises: QueryError: there was no such upload, it is no longer stored, or it is a picture.
        """
        found = self._found(key)
        if isinstance(found, StoredPicture):
            raise QueryError("this upload is a picture, and not a sound")
        return found

    def picture(self, key: str) -> StoredPicture:
        """The uploaded picture.

        Raises: QueryError: there was no such upload, it is no longer stored, or it is a sound.
        """
        found = self._found(key)
        if isinstance(found, Item):
            raise QueryError("this upload is a sound, and not a picture")
        return found

    def path(self, n: int) -> Path:
        """The file of a sound; `n` is its key as a number.

        Raises: UnknownItemError: there was no such sound, or it is no longer stored.
        """
        with self._lock:
            if not isinstance(self._items.get(n), Item):
                raise UnknownItemError(_GONE)
            return self._file(n)

    @property
    def sounds_url(self) -> str:
        """The base URL of the sounds (``/N/audio`` and so on), relative to the root of the browser."""
        return UPLOADS_URL

    def _keep(self, n: int, upload: Item | StoredPicture, content: bytes) -> None:
        with self._lock:
            if n not in self._items:
                self._file(n).write_bytes(content)
            self._items[n] = upload
            self._use(n)
            while len(self._items) > 1 and sum(one.size_bytes for one in self._items.values()) > self._max_bytes:
                self._delete_oldest()

    def _found(self, key: str) -> Item | StoredPicture:
        try:
            with self._lock:
                n = int(key, 16)
                self._use(n)
                return self._items[n]
        except (KeyError, ValueError) as error:
            raise QueryError(_GONE) from error

    def _use(self, n: int) -> None:
        """Raises: KeyError: it is not there."""
        now_s = time.monotonic()
        self._items.move_to_end(n)
        self._used_s[n] = now_s
        while self._used_s[next(iter(self._items))] < now_s - MAX_UNUSED_S:
            self._delete_oldest()

    def _delete_oldest(self) -> None:
        oldest, _ = self._items.popitem(last=False)
        del self._used_s[oldest]
        self._file(oldest).unlink(missing_ok=True)

    def _file(self, n: int) -> Path:
        return self._folder / f"{n:012x}"


def _key(content: bytes) -> tuple[str, int]:
    """The key of a content, and the key as a number."""
    key = hashlib.sha256(content).hexdigest()[:12]
    return key, int(key, 16)


def _file_name(name: str) -> str:
    return PurePath(name.replace("\\", "/")).name or "upload"


@functools.cache
def upload_store() -> UploadStore:
    """The uploads of this process."""
    return UploadStore()

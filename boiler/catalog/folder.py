"""The folder that the sounds of a catalog are in: one of this machine, or an address like `s3://bucket/sounds`.

`open_folder` returns the one or the other. Both list their files with ids, sizes and times (`boiler.catalog.scan`), and
give the path of a file to decode: of an address, that of a copy, which is deleted as soon as it has been used.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, Unpack

from boiler import files
from boiler.audio import decoder_pool
from boiler.catalog import scan
from boiler.catalog.remote import RemoteFolder
from boiler.catalog.scan import FoundFile, WalkOptions

Item = TypeVar("Item")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.DOTALL)
_COPIES = ".fetched-"
_AHEAD_FILES = 16
_AHEAD_BYTES = 512 * 2**20


class SoundFolder(Protocol):
    """What `LocalFolder` and `boiler.catalog.remote.RemoteFolder` have in common.

    address: as it is stored in an index, to open the folder again
    name: its last part
    n_threads: threads that read files ahead
    is_remote: the file of `get` is a copy, in the folder `into`, which the caller deletes
    """

    @property
    def address(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def n_threads(self) -> int: ...
    @property
    def is_remote(self) -> bool: ...

    def is_here(self) -> bool:
        """Whether the folder is there. An address is not looked up: always True."""

    def walk(self, suffixes: Collection[str], **options: Unpack[WalkOptions]) -> Iterator[FoundFile]:
        """As `boiler.catalog.scan.walk`."""

    def get(self, found: FoundFile, into: Path) -> Path:
        """The path of a file. Raises: OSError: there is none (FileNotFoundError), or it cannot be read."""

    def size_and_time(self, found: FoundFile) -> tuple[int, int]:
        """Size in bytes and time in nanoseconds of a file now, as in `FoundFile`. Raises: OSError."""


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    path: Path
    n_threads = 2  # to hash, which waits for the disk and releases the GIL
    is_remote = False

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    @property
    def address(self) -> str:
        return str(self.path.resolve())

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def is_here(self) -> bool:
        return self.path.is_dir()

    def walk(self, suffixes: Collection[str], **options: Unpack[WalkOptions]) -> Iterator[FoundFile]:
        return scan.walk(self.path, suffixes, **options)

    def get(self, found: FoundFile, into: Path) -> Path:
        return found.path(self.path)

    def size_and_time(self, found: FoundFile) -> tuple[int, int]:
        status = found.path(self.path).stat()
        return status.st_size, scan.stored_mtime_ns(status.st_mtime_ns)


FolderLike: TypeAlias = str | os.PathLike[str]
"""A path, or the text of an address."""


def is_address(where: FolderLike) -> bool:
    """Whether this is an address, not a path.

    >>> is_address("s3://bucket/sounds"), is_address("sounds"), is_address(Path("a:/b"))
    (True, False, False)
    """
    return isinstance(where, str) and _ADDRESS.fullmatch(where) is not None


def path_or_address(text: str) -> Path | str:
    """An argument of a command line: an address as it is, else a path."""
    return text if is_address(text) else Path(text)


def open_folder(where: FolderLike) -> LocalFolder | RemoteFolder:
    """The folder at a path, which may be missing, or at an address, which is not looked up.

    Raises: CorpusError: an address of an unknown kind, or with a password.
    """
    return RemoteFolder(str(where)) if is_address(where) else LocalFolder(Path(where))


def files_per_request(folder: SoundFolder) -> int:
    """For `boiler.audio.decoder_pool.Decoders`: one of an address, as copies that wait for a decoder fill the disk."""
    return 1 if folder.is_remote else decoder_pool.FILES_PER_REQUEST


class ReadyFile(NamedTuple):
    """A file that can be decoded. `sha256` None: not computed."""

    path: Path
    sha256: str | None


class ReadAhead:
    """Prepares files in threads ahead of their use: hashes them, and copies those of an address into the folder `into`.
    At most 16 are ahead, and fewer while the copies have 512 MiB. `release` deletes a copy.
    """

    def __init__(self, folder: SoundFolder, into: Path) -> None:
        self._folder, self._into = folder, into
        self._sizes: dict[str, int] = {}  # of files that were fetched, or will be, by id
        self._paths: dict[str, Path] = {}

    def files(self, wanted: Iterable[tuple[Item, FoundFile, bool]]) -> Generator[tuple[Item, ReadyFile | OSError]]:
        """The items of `wanted` in order, each with its file, or why it cannot be read. `wanted`: the item, its file,
        and whether to hash it."""
        ahead: collections.deque[tuple[Item, ReadyFile | Future[ReadyFile | OSError]]] = collections.deque()
        with ThreadPoolExecutor(self._folder.n_threads) as threads:
            try:
                for item, found, hashed in wanted:
                    if self._folder.is_remote:
                        self._sizes[found.id] = found.size_bytes
                    if hashed or self._folder.is_remote:
                        ahead.append((item, threads.submit(self._ready, found, hashed)))
                    else:
                        ahead.append((item, ReadyFile(self._folder.get(found, self._into), None)))
                    while len(ahead) > _AHEAD_FILES or (ahead and sum(self._sizes.values()) > _AHEAD_BYTES):
                        yield _waited_for(*ahead.popleft())
                while ahead:
                    yield _waited_for(*ahead.popleft())
            finally:
                threads.shutdown(cancel_futures=True)

    def _ready(self, found: FoundFile, hashed: bool) -> ReadyFile | OSError:
        try:
            path = self._folder.get(found, self._into)
            if self._folder.is_remote:
                self._paths[found.id] = path
            return ReadyFile(path, files.sha256_of(path) if hashed else None)
        except OSError as error:
            self.release(found)
            return error

    def release(self, found: FoundFile) -> None:
        """Delete the copy of a file, which is not needed any more."""
        self._sizes.pop(found.id, None)
        if (path := self._paths.pop(found.id, None)) is not None:
            path.unlink(missing_ok=True)


def _waited_for(item: Item, ready: ReadyFile | Future[ReadyFile | OSError]) -> tuple[Item, ReadyFile | OSError]:
    return item, ready.result() if isinstance(ready, Future) else ready


@contextmanager
def room_for_copies(folder: SoundFolder, beside: Path) -> Iterator[Path]:
    """A folder for the copies of an address, in `beside`, which is deleted at the end; `beside` itself for a
    folder of this machine, which needs no copies."""
    if not folder.is_remote:
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix=_COPIES, dir=beside) as into:
        yield Path(into)


def delete_copies(beside: Path) -> None:
    """Delete the folders of `room_for_copies` that killed processes left behind."""
    for left in beside.glob(f"{_COPIES}*"):
        shutil.rmtree(left, ignore_errors=True)

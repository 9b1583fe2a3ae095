"""Sounds at an address: `s3://bucket/folder`, `gs://bucket/folder`, or a web server's page or list of files.

An extra, `pip install 'boiler[remote]'`, through fsspec, which takes credentials and other settings from where users of
such storage have them: the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`), `~/.aws`, `~/.config/fsspec`, or
`FSSPEC_S3`, `FSSPEC_HTTPS` and so on. An address itself holds none, because it is stored in the index.

With `http` and `https`, the address of a folder is that of its index page, whose links to files and pages below it are
followed; or that of a `.txt` file: a list of files, one a line, as addresses or relative to the list.

The time of a file is that of its last change, to the second, and below the second a number made of its ETag. So a file
that is replaced by one of the same size within a second counts as changed, and where a server states no time, the ETag
alone decides. All times are whole microseconds, which a floating-point number of seconds can hold.
"""

from __future__ import annotations

import email.utils
import errno
import functools
import hashlib
import io
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from boiler.audio import transcode
from boiler.catalog.scan import SYSTEM_FOLDERS, FoundFile, Unreadable, id_of, matches, suffix_of
from boiler.errors import CorpusError, SettingsError, UnknownNameError, first_line

KINDS = {"s3": "boiler[remote]", "gs": "gcsfs", "http": "boiler[remote]", "https": "boiler[remote]"}
"""Kinds of addresses, and what has to be installed for each."""
MAX_FILE_BYTES = 16 * 2**30
"""Of one file. Ten hours of 24 bits at 48 kHz in stereo have 10 GB."""
MAX_PAGE_BYTES = 256 * 2**20
"""Of an index page or a list of files."""
_LAST_S = 2**33  # in 2242; nanoseconds since 1970 must fit into 64 bits
MAX_DEPTH = 32
"""Folders inside of one another. A web server may have links to no end, or answer any address with the same page."""
_THREADS = 8  # fetching waits for the network
_INFOS_AT_ONCE = 256


class ListingEntry(NamedTuple):
    """What a listing has. `relative`: the path below the address as it is written there."""

    relative: str
    is_folder: bool
    info: Mapping[str, Any] | None  # None: the listing does not include it


@dataclass(frozen=True)
class RemoteFolder:
    """Sounds at an address. Raises: CorpusError: it is of an unknown kind, or holds a password."""

    address: str
    n_threads = _THREADS
    is_remote = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in KINDS:
            raise UnknownNameError("kind of address", parts.scheme, KINDS)
        if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise CorpusError(
                f"{parts.scheme}://{parts.hostname or ''}{parts.path} must have a host or bucket, and no password, ? or"
                " #: an index stores its address, so credentials belong to the environment or to fsspec's settings"
            )

    @property
    def name(self) -> str:
        """The last part of the address."""
        parts = urlsplit(self.address)
        return unquote(Path(parts.path).stem if self._is_list else Path(parts.path).name) or parts.netloc

    def is_here(self) -> bool:
        return True

    @property
    def _is_web(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    @property
    def _is_list(self) -> bool:
        return self._is_web and self.address.endswith(".txt")

    @property
    def _base(self) -> str:
        """The address that relative paths are appended to."""
        return self.address.rpartition("/")[0] + "/" if self._is_list else self.address.rstrip("/") + "/"

    @functools.cached_property
    def _files(self) -> Any:
        """The file system of fsspec. Raises: SettingsError: it is not installed, or a setting of it is wrong."""
        kind = urlsplit(self.address).scheme
        try:
            import fsspec
            from fsspec.config import conf

            options: dict[str, Any] = {"use_listings_cache": False}
            if self._is_web:
                import aiohttp

                # By default a transfer of more than five minutes fails.
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
                options["client_kwargs"] = {"timeout": timeout, **conf.get(kind, {}).get("client_kwargs", {})}
            return fsspec.filesystem(kind, **options)
        except ImportError as error:
            raise SettingsError(f"{self.address} needs more packages: pip install '{KINDS[kind]}'") from error
        except (TypeError, ValueError) as error:
            raise SettingsError(f"the settings of fsspec for {kind} are wrong: {first_line(error)}") from error

    # ------------------------------------------------------------------------------------------------- listing

    def walk(
        self,
        suffixes: Collection[str],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        unread_suffixes: Collection[str] = (),
        unreadable: Unreadable | None = None,
    ) -> Iterator[FoundFile]:
        """As `boiler.catalog.scan.walk`. A folder that cannot be listed ends the walk, so that its sounds do not count
        as gone.

        Raises: CorpusError: it cannot be listed.
        """
        unreadable = Unreadable() if unreadable is None else unreadable
        ids: set[str] = set()

        def wanted() -> Iterator[tuple[str, ListingEntry]]:
            for relative, entry in self._entries(exclude):
                id = id_of(relative)
                suffix = suffix_of(id)
                if (include and not matches(id, include)) or id in ids:
                    continue
                if suffix in suffixes:
                    ids.add(id)
                    yield id, entry
                elif suffix in unread_suffixes:
                    unreadable.passed_over[suffix] += 1

        with ThreadPoolExecutor(_THREADS) as threads:
            for some in _groups(wanted(), _INFOS_AT_ONCE):
                for (id, entry), info in zip(some, threads.map(self._info_of, (one for _, one in some)), strict=True):
                    if isinstance(info, OSError):
                        unreadable.reasons[id] = f"cannot be read: {info.strerror or first_line(info)}"
                        continue
                    raw = entry.relative.encode()
                    yield FoundFile(id, *_size_and_time(info), None if raw == self._written(id).encode() else raw)

    def _written(self, id: str) -> str:
        """An id as a path of the address is written."""
        return quote(id) if self._is_web else id

    def _entries(self, exclude: Sequence[str]) -> Iterator[tuple[str, ListingEntry]]:
        """All files, each with its readable path, but not hidden and excluded ones. Raises: CorpusError."""
        waiting, seen = [""], {""}
        while waiting:
            try:
                with _as_os_error():
                    entries = list(self._listed(waiting.pop()))
            except OSError as error:
                reason = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
                raise CorpusError(f"{self.address} cannot be listed: {reason or first_line(error)}") from error
            for entry in entries:
                relative = unquote(entry.relative) if self._is_web else entry.relative
                names = relative.strip("/").split("/")
                hidden = any(name.startswith(".") or name.lower() in SYSTEM_FOLDERS for name in names)
                if hidden or entry.relative in seen or matches(id_of(relative.strip("/")), exclude):
                    continue
                seen.add(entry.relative)
                if len(names) > MAX_DEPTH:
                    raise CorpusError(
                        f"{self.address} has more than {MAX_DEPTH} folders inside of one another, like"
                        f" {'/'.join(names[:4])}/...: --exclude one of these names if it leads back"
                    )
                if entry.is_folder:
                    waiting.append(entry.relative)
                else:
                    yield relative, entry

    def _listed(self, relative: str) -> Iterator[ListingEntry]:
        """What is in a folder below the address."""
        where = self._base + relative
        if self._is_web:
            yield from self._linked(self.address if self._is_list else where)
            return
        root = self._files._strip_protocol(self._base)
        for info in self._files.ls(where.rstrip("/"), detail=True):
            below = info["name"].removeprefix(root).lstrip("/")
            is_folder = info["type"] == "directory"
            if below and not below.endswith("/"):  # skips the folder itself and empty directory markers
                yield ListingEntry(below + "/" * is_folder, is_folder, info)

    def _linked(self, page: str) -> Iterator[ListingEntry]:
        """The files of a list, or the links of an index page that lead to below it."""
        content = io.BytesIO()
        try:
            self._files.get_file(page, content, callback=_bounded(MAX_PAGE_BYTES))
        except _TooLargeError:
            raise OSError(errno.EFBIG, f"it has more than {MAX_PAGE_BYTES:,} bytes") from None
        text = content.getvalue().decode("utf-8", "replace")
        if self._is_list:
            links = [quote(line, safe="/%:@!$&'()*+,;=~?") for line in map(str.strip, text.splitlines()) if line]
        else:
            parser = _Links()
            parser.feed(text)
            links = parser.found
        for link in links:
            try:
                url = urljoin(page, link)
                parts = urlsplit(url)
            except ValueError:  # http://[
                continue
            if self._is_list and parts.scheme in ("http", "https") and not parts.query:
                # Of another place: the id begins with its host.
                yield ListingEntry(url.removeprefix(self._base), False, None)
            elif url.startswith(page) and url != page and not (parts.query or parts.fragment or "//" in parts.path):
                yield ListingEntry(url.removeprefix(self._base), url.endswith("/"), None)

    def _info_of(self, entry: ListingEntry) -> Mapping[str, Any] | OSError:
        """What is known of a file: its size, time and ETag."""
        if entry.info is not None:
            return entry.info
        try:
            with _as_os_error():
                info: Mapping[str, Any] = self._files.info(self._url(entry.relative))
                return info
        except OSError as error:
            return error

    def _url(self, relative: str) -> str:
        return relative if "://" in relative else self._base + relative

    def _url_of(self, found: FoundFile) -> str:
        return self._url(self._written(found.id) if found.file is None else found.file.decode())

    # ------------------------------------------------------------------------------------------------- fetching

    def get(self, found: FoundFile, into: Path) -> Path:
        """A copy of a file in the folder `into`, under a new name. Raises: OSError: there is none (FileNotFoundError),
        it has another size than when it was listed, or it cannot be fetched."""
        target = into / f"{uuid.uuid4().hex}{Path(found.id).suffix}"
        try:
            self._fetch(found, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target

    def _fetch(self, found: FoundFile, target: Path) -> None:
        url, limit, options = self._url_of(found), found.size_bytes or MAX_FILE_BYTES, {}

        if self._is_web:  # a compressed answer has another size
            options["headers"] = {**self._files.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        try:
            if found.size_bytes > MAX_FILE_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_FILE_BYTES:,} bytes")
            with _as_os_error():
                self._files.get_file(url, str(target), callback=_bounded(limit), **options)
        except _TooLargeError:
            raise OSError(errno.EFBIG, f"it has more than the {limit:,} bytes that were stated") from None
        if found.size_bytes and target.stat().st_size != found.size_bytes:
            raise OSError(errno.ESTALE, "its size has changed since it was listed")

    def size_and_time(self, found: FoundFile) -> tuple[int, int]:
        """Size in bytes and time in nanoseconds of a file now. Raises: OSError."""
        with _as_os_error():
            return _size_and_time(self._files.info(self._url_of(found)))

    def cached(self, found: FoundFile) -> Path:
        """A copy of a file in the temporary folder of the sounds that are played, which has a bound.

        Raises: OSError: as `get`. NoRoomError: the disk is full.
        """
        key = f"{self._url_of(found)}\0{found.size_bytes}\0{found.mtime_ns}"
        target = transcode.cached_path(key, Path(found.id).suffix.lower())
        if not target.is_file():
            with transcode.replacing_copy(target) as aside:
                self._fetch(found, aside)
                # Its time of use is the other one; ETags of answers depend on this one.
                os.utime(aside, ns=(aside.stat().st_atime_ns, found.mtime_ns))
        return target


class _TooLargeError(Exception):
    """More bytes arrive than were stated, or than are allowed."""


def _bounded(limit: int) -> Any:
    """A callback for fsspec that ends a transfer of more bytes with `_TooLargeError`."""
    from fsspec.callbacks import Callback

    class Bounded(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > limit:
                raise _TooLargeError

    return Bounded()


class _Links(HTMLParser):
    """Collects the targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _size_and_time(info: Mapping[str, Any]) -> tuple[int, int]:
    """The size in bytes, 0 if it is not stated, and the time in nanoseconds (see the top of this file)."""
    changed = next((info[key] for key in ("LastModified", "Last-Modified", "mtime", "updated") if info.get(key)), None)
    seconds = 0
    if isinstance(changed, datetime):
        seconds = int(changed.replace(tzinfo=changed.tzinfo or UTC).timestamp())
    elif isinstance(changed, str):
        for read in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
            with suppress(ValueError, TypeError):
                seconds = int(read(changed).timestamp())
                break
    seconds = max(-_LAST_S, min(seconds, _LAST_S))
    tag = next((str(info[key]) for key in ("ETag", "etag", "Content-MD5", "Digest") if info.get(key)), "")
    fraction_us = int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=8).digest()) % 10**6 if tag else 0
    return int(info.get("size") or 0), (seconds * 10**6 + fraction_us) * 1_000


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise what fsspec and the libraries below it raise as OSError with a reason: FileNotFoundError only where there
    is no such file."""
    try:
        yield
    except (_TooLargeError, SettingsError):
        raise
    except Exception as error:
        cause = error.__cause__ or error
        status = getattr(cause, "status", None)
        # fsspec raises FileNotFoundError for any failure of HTTP.
        of_http = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp.")
        if status in (404, 410) or (isinstance(error, FileNotFoundError) and not of_http):
            raise FileNotFoundError(errno.ENOENT, "there is no such file") from error
        if isinstance(status, int):
            raise OSError(errno.EIO, f"the server says {status} {getattr(cause, 'message', '')}".strip()) from error
        if of_http:
            raise OSError(errno.EIO, first_line(cause)) from error
        if isinstance(error, OSError) and error.strerror:
            raise
        raise OSError(errno.EIO, first_line(error)) from error


def _groups(entries: Iterable[tuple[str, ListingEntry]], size: int) -> Iterator[list[tuple[str, ListingEntry]]]:
    """Entries, `size` at a time."""
    group: list[tuple[str, ListingEntry]] = []
    for one in entries:
        group.append(one)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group

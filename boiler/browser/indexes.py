"""Model directories opened once per process, sounds that visitors bring along, and the addresses to hear both at.

All sessions share what is here, and the routes that send sounds need it outside any session: therefore one registry
of the process, not something kept per session. A new generation of an index is taken up at the next look at it.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast

import streamlit as st
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import Receive, Scope, Send

from boiler.audio import stream
from boiler.browser import map_data, zip_stream
from boiler.catalog.items import Item
from boiler.errors import ModelDirError, QueryError, UnknownItemError
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search.nearest import Nearest
from boiler.service import media, problems

SOUNDS_AT = "sounds"
BROUGHT_AT = "brought"
MAX_BROUGHT_BYTES = 512 * 2**20
FOUND_BELOW = ("exp/*/boiler.json", "exp/*/*/boiler.json", "exp/*/*/*/boiler.json")


@dataclass(frozen=True)
class Library:
    """One opened model directory, and its name in addresses."""

    key: str
    model_dir: Path
    nearest: Nearest

    @property
    def sounds_at(self) -> str:
        """Where the sounds of its items are heard: ``/sounds/KEY``, then ``/N/audio`` and so on."""
        return f"{_base()}/{SOUNDS_AT}/{self.key}"


class Brought:
    """Sounds that visitors brought along, as files in a folder of our own, the last used kept longest. A key is made of
    the bytes, so the same sound brought twice is one."""

    def __init__(self, most_bytes: int = MAX_BROUGHT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="boiler-brought-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # with the process, at the latest
        self._kept: OrderedDict[int, Item] = OrderedDict()

    def add(self, name: str, sound: bytes, on_progress: ProgressCallback = ignore_progress) -> str:
        """Keep it; its key. The name is only ever shown. `on_progress` is called with 0 while the length of a sound that
        does not state it is measured.

        Raises: SoundError: not a sound, or beyond the limits; what `on_progress` raises.
        """
        probe = stream.probe(sound, step=lambda: on_progress(0.0))
        digest = hashlib.sha256(sound).hexdigest()
        key = digest[:12]
        n = int(key, 16)
        shown = PurePath(name.replace("\\", "/")).name or "your sound"
        item = Item(
            n,
            shown,
            duration_s=probe.duration_s,
            sample_rate_hz=probe.sample_rate_hz,
            channels=probe.channels,
            format=probe.format,
            size_bytes=len(sound),
            sha256=digest,
        )
        with self._lock:
            if n not in self._kept:
                self._file(n).write_bytes(sound)
            self._kept[n] = item
            self._kept.move_to_end(n)
            while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > self._most_bytes:
                gone, _ = self._kept.popitem(last=False)
                self._file(gone).unlink(missing_ok=True)
        return key

    def item(self, key: str) -> Item:
        """What is known of it.

        Raises: QueryError: never brought, or no longer kept.
        """
        try:
            with self._lock:
                n = int(key, 16)
                self._kept.move_to_end(n)
                return self._kept[n]
        except (KeyError, ValueError) as error:
            raise QueryError(_NO_LONGER) from error

    def path(self, n: int) -> Path:
        """Its file.

        Raises: UnknownItemError: never brought, or no longer kept.
        """
        with self._lock:
            if n not in self._kept:
                raise UnknownItemError(_NO_LONGER)
            return self._file(n)

    @property
    def at(self) -> str:
        """Where these sounds are heard."""
        return f"{_base()}/{BROUGHT_AT}"

    def _file(self, n: int) -> Path:
        return self._folder / f"{n:012x}"


_NO_LONGER = "the sound that this address asks with is not kept here any more: bring it along again"
_open: dict[str, Library] = {}
_lock = threading.Lock()


@functools.cache
def brought() -> Brought:
    """The sounds brought along to this process."""
    return Brought()


def found(below: Path) -> list[Path]:
    """The model directories that lie where indexing puts them by default, below this folder; newest first."""
    headers = {path for pattern in FOUND_BELOW for path in below.glob(pattern)}
    folders = [path.parent for path in headers if (path.parent / "current").exists()]
    return sorted(folders, key=lambda path: (path / "boiler.json").stat().st_mtime, reverse=True)


def open_library(model_dir: Path, wav_dir: Path | None = None) -> Library:
    """The opened model directory: opened the first time, then shared; up to date.

    Raises: ModelDirError: it cannot be opened, with what to do.
    """
    model_dir = Path(model_dir).expanduser()
    wav_dir = None if wav_dir is None else Path(wav_dir).expanduser()
    if wav_dir is not None and not wav_dir.is_dir():
        raise ModelDirError(f"there is no folder {wav_dir}: name the folder that holds the sounds of this index")
    key = key_of(model_dir, wav_dir)
    with _lock:
        library = _open.get(key)
        if library is None:
            library = _open[key] = Library(key, model_dir, Nearest(model_dir, wav_dir=wav_dir))
            return library
    library.nearest.refresh()
    return library


def key_of(model_dir: Path, wav_dir: Path | None = None) -> str:
    """What an index is called in addresses: the same in every process, and no path in it."""
    return hashlib.sha256(f"{model_dir.resolve()}\0{wav_dir and wav_dir.resolve()}".encode()).hexdigest()[:8]


def known(key: str, near: list[Path]) -> Library | None:
    """The library of that name, if this process has opened it or it is one of these model directories.

    Raises: ModelDirError: it cannot be opened.
    """
    if library := _open.get(key):
        library.nearest.refresh()
        return library
    return next((open_library(path) for path in near if key_of(path) == key), None)


def routes() -> list[BaseRoute]:
    """Where sounds, waveforms and spectrograms are sent from; mounted beside the pages."""
    return [
        Mount(f"/{SOUNDS_AT}/{{library}}", app=_sounds, name="sounds"),
        # Only `path` is asked of what stands behind the routes of sounds, and these have no index behind them.
        Mount(f"/{BROUGHT_AT}", routes=media.routes(lambda: cast(Nearest, brought()), prefix=""), name="brought"),
    ]


async def _sounds(scope: Scope, receive: Receive, send: Send) -> None:
    library = _open.get(scope["path_params"]["library"])
    if library is None:
        problem = problems.Problem(404, "unknown-item", "this index is not open here; load the page again")
        await problems.response(problem)(scope, receive, send)
        return
    await _router(library.key)(scope, receive, send)


@functools.cache
def _router(key: str) -> Router:
    def nearest() -> Nearest:
        return _open[key].nearest

    return Router(routes=[*map_data.routes(nearest), *zip_stream.routes(nearest), *media.routes(nearest, prefix="")])


def _base() -> str:
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def items_of(library: Library, numbers: tuple[int, ...]) -> Iterator[Item]:
    """The items of these numbers that are (still) in the index."""
    for n in numbers:
        try:
            yield library.nearest.item(n)
        except UnknownItemError:
            continue

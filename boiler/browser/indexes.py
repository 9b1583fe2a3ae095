"""Model directories, opened once per process and shared by all sessions, and the routes that serve their sounds.

The routes run outside of sessions, so the registry of open indexes belongs to the process. A new generation of
an index is picked up when a page next looks at the index.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import streamlit as st
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import Receive, Scope, Send

from boiler.browser import map_data, options, zip_stream
from boiler.browser.decoders import shared_decoders
from boiler.browser.upload_store import UPLOADS_URL, upload_store
from boiler.catalog.folder import is_address, open_folder
from boiler.catalog.items import Item
from boiler.errors import ModelDirError, UnknownItemError
from boiler.search import filters
from boiler.search.filters import Filter
from boiler.search.nearest import Nearest, TagCount
from boiler.search.statistics import CollectionStatistics, collection_statistics
from boiler.service import media, problems
from boiler.store import generation

SOUNDS_URL = "sounds"
MAX_FAILURES, MAX_SAME_BYTES = 1_000, 200  # shown on the collection page
DEFAULT_MODEL_DIRS = ("exp/*/boiler.json", "exp/*/*/boiler.json", "exp/*/*/*/boiler.json")


@dataclass(frozen=True)
class OpenIndex:
    """An open model directory; `key` names it in URLs."""

    key: str
    model_dir: Path
    nearest: Nearest

    @property
    def sounds_url(self) -> str:
        """The base URL of its sounds (``/N/audio`` and so on), relative to the root of the browser."""
        return f"{SOUNDS_URL}/{self.key}"

    def statistics(self) -> CollectionStatistics:
        """Counts of the current generation, computed once for each."""
        return _statistics(str(self.model_dir), generation.current_name(self.model_dir))

    def tag_counts(self) -> list[TagCount]:
        """The tags of the current generation, the most frequent first, counted once for each generation."""
        return _tag_counts(self.key, self.nearest.generation, self.nearest)

    def has_tag(self, tag: str) -> Filter:
        """The items that have a tag, by a person or else by the model."""
        thresholds = {one.tag: one.threshold for one in self.tag_counts()}
        return filters.field(f"{filters.TAGS}{tag}") >= (thresholds.get(tag) or 0.5)

    def existing_items(self, numbers: Iterable[int]) -> Iterator[Item]:
        """The items with these numbers, without those that are no longer in the index."""
        for n in numbers:
            try:
                yield self.nearest.item(n)
            except UnknownItemError:
                continue


@st.cache_resource(max_entries=8, show_spinner="Counting the collection ...")
def _statistics(model_dir: str, generation_name: str) -> CollectionStatistics:
    return collection_statistics(Path(model_dir), max_failures=MAX_FAILURES, max_same_bytes=MAX_SAME_BYTES)


@st.cache_resource(max_entries=8, show_spinner="Counting the tags ...")
def _tag_counts(key: str, generation_name: str, _nearest: Nearest) -> list[TagCount]:
    return _nearest.tag_counts()


_open_indexes: dict[str, OpenIndex] = {}
_lock = threading.Lock()


def find_model_dirs(root: Path) -> list[Path]:
    """The model directories below this folder, where `boiler index` puts them by default; newest first."""
    headers = {path for pattern in DEFAULT_MODEL_DIRS for path in root.glob(pattern)}
    folders = [path.parent for path in headers if (path.parent / "current").exists()]
    return sorted(folders, key=lambda path: (path / "boiler.json").stat().st_mtime, reverse=True)


def open_index(model_dir: Path, wav_dir: Path | str | None = None) -> OpenIndex:
    """Open a model directory, or return it with its newest generation if it is open already.

    Raises: ModelDirError: it cannot be opened; the message says what to do.
    """
    model_dir = Path(model_dir).expanduser()
    if wav_dir is not None and not is_address(wav_dir):
        wav_dir = Path(wav_dir).expanduser()
    if wav_dir is not None and not open_folder(wav_dir).is_here():
        raise ModelDirError(f"there is no folder {wav_dir}: give the folder that holds the sounds of this index")
    key = index_key(model_dir, wav_dir)
    with _lock:
        index = _open_indexes.get(key)
        if index is None:
            index = _open_indexes[key] = OpenIndex(
                key,
                model_dir,
                Nearest(
                    model_dir,
                    wav_dir=wav_dir,
                    reader=shared_decoders(),
                    feedback_url=options.feedback_url(model_dir),
                    image_model=options.image_model(),
                ),
            )
            return index
    index.nearest.refresh()
    return index


def index_key(model_dir: Path, wav_dir: Path | str | None = None) -> str:
    """The name of an index in URLs: the same in every process, and it reveals no path."""
    sounds = wav_dir and open_folder(wav_dir).address
    return hashlib.sha256(f"{model_dir.resolve()}\0{sounds}".encode()).hexdigest()[:8]


def index_by_key(key: str, model_dirs: list[Path]) -> OpenIndex | None:
    """The index with this key, if it is open or among these model directories.

    Raises: ModelDirError: it cannot be opened.
    """
    if index := _open_indexes.get(key):
        index.nearest.refresh()
        return index
    return next((open_index(path) for path in model_dirs if index_key(path) == key), None)


def routes(base_path: str = "") -> list[BaseRoute]:
    """The routes for audio, waveforms, spectrograms, map points and ZIP files.

    Arguments:
        base_path: ``server.baseUrlPath``, below which Streamlit serves the pages
    """
    base = f"/{base_path.strip('/')}" if base_path.strip("/") else ""
    return [
        Mount(f"{base}/{SOUNDS_URL}/{{index}}", app=_serve_index, name="sounds"),
        # The media routes only call `path`, which an UploadStore has, too.
        Mount(
            f"{base}/{UPLOADS_URL}",
            routes=[
                *media.media_routes(lambda: cast(Nearest, upload_store()), prefix=""),
                media.video_route(lambda: cast(Nearest, upload_store())),
            ],
            name="uploads",
        ),
    ]


async def _serve_index(scope: Scope, receive: Receive, send: Send) -> None:
    index = _open_indexes.get(scope["path_params"]["index"])
    if index is None:
        problem = problems.Problem(404, "unknown-item", "this index is not open; reload the page")
        await problems.response(problem)(scope, receive, send)
        return
    await _index_router(index.key)(scope, receive, send)


@functools.cache
def _index_router(key: str) -> Router:
    def nearest() -> Nearest:
        return _open_indexes[key].nearest

    return Router(
        routes=[
            *map_data.map_routes(nearest),
            *zip_stream.archive_routes(nearest),
            *media.media_routes(nearest, prefix=""),
        ]
    )

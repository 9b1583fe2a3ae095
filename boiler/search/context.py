"""What all searches of one model directory share: the current index, its encoder, and the files of its sounds."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from boiler.audio import stream
from boiler.catalog.folder import LocalFolder, open_folder
from boiler.catalog.items import Item
from boiler.catalog.remote import RemoteFolder
from boiler.catalog.scan import FoundFile, stored_mtime_ns
from boiler.crossmodal.common_space import Spaces
from boiler.crossmodal.picture_query import SeenPicture, see
from boiler.errors import QueryError, SoundNotHereError, first_line
from boiler.search.embedder import Embedded, Embedder
from boiler.search.snapshot import Snapshot
from boiler.store import generation
from boiler.vision.image_model import ImageModelFile


class SearchContext:
    """The state behind `boiler.search.nearest.Nearest`; its arguments are described there. Thread-safe."""

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        wav_dir: str | os.PathLike[str] | None,
        device: str,
        engine: str | None,
        reader: stream.Reader,
        spaces: Spaces | None = None,
        image_model: str | os.PathLike[str] | ImageModelFile | None = None,
    ) -> None:
        self.model_dir = Path(model_dir)
        self.reader = reader
        self.embedder = Embedder(device)
        self._folder = None if wav_dir is None else open_folder(wav_dir)
        self._engine = engine
        self._spaces = spaces
        self._image_model = image_model
        self._refreshing = threading.Lock()
        # The generation that is current; if it is damaged, the snapshot is of another one.
        self._seen = generation.current_name(self.model_dir)
        self._current: Snapshot | None = Snapshot.open(self.model_dir, engine, spaces)

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot: a search takes it once, and uses it to its end.

        Raises: QueryError: closed.
        """
        snapshot = self._current
        if snapshot is None:
            raise QueryError(f"{self.model_dir} was closed: open it again with Nearest(...)")
        return snapshot

    def seen(self, picture: Any) -> SeenPicture:
        """What a picture shows: a path, bytes, a picture of Pillow, or pixels, uint8 [H, W, 3].

        Raises: QueryError: no picture; EmbeddingError: it cannot be read; CheckpointError: no network for pictures
        """
        return see(picture, self._image_model)

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called yet."""
        return self._current is not None

    def refresh(self) -> bool:
        """Open a newer index if one was published. Returns whether it did.

        Raises: ModelDirError: the newer index cannot be opened, or is damaged; the current one stays.
        """
        with self._refreshing:
            name = generation.current_name(self.model_dir)
            if name in (self.snapshot.name, self._seen):
                return False
            self._current = Snapshot.open_newer(self.model_dir, self._engine, self._spaces)
            self._seen = self._current.name
            return True

    def close(self) -> None:
        """Release the files once the running searches are done."""
        self._current = None

    def sound_folder(self, snapshot: Snapshot) -> LocalFolder | RemoteFolder | None:
        """The folder of the sounds: the one that was given, else the one that was indexed. It may be missing."""
        indexed = snapshot.items.meta().get("wav_dir")
        return self._folder or (open_folder(indexed) if indexed else None)

    def sound_path(self, snapshot: Snapshot, id_or_n: str | int) -> Path:
        """The file of an item; of one at an address, a copy in the temporary folder.

        Raises: UnknownItemError; SoundNotHereError: no folder of the sounds, or no such file in it, or it cannot be
        fetched.
        """
        item = snapshot.item(id_or_n)
        folder = self.sound_folder(snapshot)
        if folder is None or not folder.is_here():
            which = "" if folder is None else f", {folder.address},"
            raise SoundNotHereError(
                f"the folder of the sounds{which} is not here: give it with --wav_dir, BOILER_WAV_DIR or"
                " Nearest(..., wav_dir=...); without it only searches by vector or item work"
            )
        if isinstance(folder, RemoteFolder):
            return _fetched(item, folder)
        root = folder.path
        path = item.path(root)
        # Symbolic links are followed, as they were by boiler index; an id alone must not lead out of the folder.
        if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
            raise QueryError(f"{item.id} is not inside the folder of the sounds")
        if not path.is_file():
            raise SoundNotHereError(f"{item.id} is no longer in {root}: run boiler index to update the index")
        return path

    def embed(
        self, snapshot: Snapshot, source: stream.Source, start_s: float = 0.0, end_s: float | None = None
    ) -> list[Embedded]:
        """Embed the windows of a sound, or of its part from `start_s` to `end_s`.

        Raises: SoundError, ModelDirError.
        """
        rate_hz = snapshot.generation.header.sample_rate_hz
        blocks = self.reader.stream(source, start_s=start_s, end_s=end_s, sample_rate_hz=rate_hz)
        return self.embedder.embed(snapshot.generation, blocks, stream.source_name(source), start_s)


def _fetched(item: Item, folder: RemoteFolder) -> Path:
    """A copy of the file of an item. Raises: SoundNotHereError."""
    found = FoundFile(item.id, item.size_bytes, stored_mtime_ns(round(item.mtime_s * 1e6) * 1_000), item.file)
    try:
        return folder.cached(found)
    except FileNotFoundError as error:
        raise SoundNotHereError(
            f"{item.id} is no longer at {folder.address}: run boiler index to update the index"
        ) from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise SoundNotHereError(f"{item.id} cannot be fetched from {folder.address}: {reason}") from error

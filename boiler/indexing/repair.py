"""Rebuilds a damaged catalog from the newest undamaged generation, which has the hashes, the items and the vectors.

Nothing is decoded or embedded. The next run finds what the generation does not contain (files that could not be read,
windows that were not published yet). Afterwards the vectors have unit length, as in the generation.
"""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path

import numpy as np

from boiler import files
from boiler.catalog.catalog import CATALOG_FILE, TRIES_AGAIN, Catalog, has_catalog
from boiler.catalog.folder import SoundFolder, open_folder
from boiler.catalog.items import Failure, Item
from boiler.catalog.scan import FoundFile, stored_mtime_ns
from boiler.errors import CatalogError, DamagedCatalogError
from boiler.store import generation
from boiler.store.generation import Generation

META_KEY = "catalog"
"""What `catalog_settings` returns is stored under this key in the `meta` of a generation."""
TAG_MODEL_KEY = "tag_model"
"""The setting of the catalog with the sha256 of the model that tags the items."""

_COPIED = ("binding", "settings", "wav_dir", "metadata_table", TAG_MODEL_KEY)


def catalog_settings(catalog: Catalog) -> str:
    """The settings of the catalog that a generation does not contain otherwise, as JSON."""
    (last_n,) = catalog.db.execute("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'files'").fetchone()
    return json.dumps({key: catalog.get(key) for key in _COPIED} | {"last_n": last_n or 0})


def repair(model_dir: Path) -> str:
    """Rebuild the catalog if it is damaged or missing. Returns a sentence about what was done.

    Raises: ModelDirError: not a model directory. CatalogError: another process is writing there; or every generation is
    damaged, or the catalog is of a newer version.
    """
    generation.current_name(model_dir)  # no lock file where there is no index
    path = model_dir / CATALOG_FILE
    with generation.lock_for_writing(model_dir):
        if has_catalog(model_dir):
            with suppress(DamagedCatalogError), Catalog(path) as catalog:
                catalog.check()
                return f"{path} is not damaged: nothing to repair"
        source = generation.newest_good(model_dir)
        if source is None:
            raise CatalogError(
                f"{model_dir} has no undamaged index to rebuild {path.name} from: delete {model_dir} and embed"
                f" everything again with boiler index DIR --model_dir {shlex.quote(str(model_dir))}"
            )
        with files.replacing(path) as aside:
            with Catalog(aside) as catalog:
                _fill(catalog, source)
            # Otherwise changes in the log of the damaged file would be applied to the new one.
            for log in (f"{path}-wal", f"{path}-shm"):
                Path(log).unlink(missing_ok=True)
    header = source.header
    return f"{path} was rebuilt from {source.name}: {header.n_items} sounds, {header.n_rows} windows"


def _fill(catalog: Catalog, source: Generation) -> None:
    with source.items() as database:
        meta = database.meta()
        saved = json.loads(meta.get(META_KEY, "{}"))
        folder = open_folder(saved.get("wav_dir") or meta.get("wav_dir") or ".")
        settings = {key: saved[key] for key in _COPIED if saved.get(key)} or _settings_of(source, meta)
        with catalog.transaction():
            catalog.put(encoder_sha256=source.header.encoder_sha256, dim=str(source.header.dim), **settings)
            last_n = int(saved.get("last_n", 0))
            for item in database.items():
                _add_item(catalog, source, item, folder)
                last_n = max(last_n, item.n)
            catalog.db.execute("INSERT OR IGNORE INTO sqlite_sequence (name, seq) VALUES ('files', 0)")
            catalog.db.execute("UPDATE sqlite_sequence SET seq = MAX(seq, ?) WHERE name = 'files'", (last_n,))
            for failure in database.failures():
                _add_failure(catalog, failure, folder)
            catalog.mark_changed()


def _settings_of(source: Generation, meta: dict[str, str]) -> dict[str, str]:
    """The settings that a generation of an earlier version contains. Missing are the checkpoint of the encoder, and the
    globs that select the files."""
    header = source.header
    binding = {
        "encoder": header.encoder,
        "checkpoint_sha256": "",
        "windows": header.windows,
        "hop_s": header.hop_s,
        "sample_rate_hz": header.sample_rate_hz,
        "window_samples": header.window_samples,
    }
    settings = {"windows": header.windows, "hop_s": header.hop_s, "url_template": header.url_template}
    return {
        "binding": json.dumps(binding),
        "settings": json.dumps(settings),
        "wav_dir": meta.get("wav_dir", ""),
    }


def _add_item(catalog: Catalog, source: Generation, item: Item, folder: SoundFolder) -> None:
    size_bytes, mtime_ns = _size_and_time(folder, FoundFile(item.id, item.size_bytes, _time_ns(item), item.file))
    if size_bytes != item.size_bytes or abs(mtime_ns / 1e9 - item.mtime_s) > 1e-6:
        # Not those of the file now, so that the next run sees that it changed.
        size_bytes, mtime_ns = item.size_bytes, _time_ns(item)
    catalog.db.execute(
        "INSERT INTO files (n, id, file, size_bytes, mtime_ns, sha256, label, metadata, seen)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(item.n, item.id, item.file, size_bytes, mtime_ns, item.sha256, item.label),
            *(json.dumps(dict(item.metadata), ensure_ascii=False, sort_keys=True), source.header.created),
        ),
    )
    if catalog.queue.is_done(item.sha256):  # another file of the same bytes
        return
    cursor = catalog.db.execute(
        "INSERT INTO contents (sha256, duration_s, sample_rate_hz, channels, format, size_bytes)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (item.sha256, item.duration_s, item.sample_rate_hz, item.channels, item.format, item.size_bytes),
    )
    if item.tags:
        catalog.set_tags(catalog.get(TAG_MODEL_KEY) or "", [(item.sha256, item.tags)])
    first, last = np.searchsorted(source.rows["n"], [item.n, item.n + 1]).tolist()
    c = int(cursor.lastrowid or 0)
    spans = source.rows[first:last].tolist()
    catalog.queue.add_windows(
        (c, start_s, end_s, vector)
        for (_, start_s, end_s), vector in zip(spans, source.vectors[first:last], strict=True)
    )


def _add_failure(catalog: Catalog, failure: Failure, folder: SoundFolder) -> None:
    """Add a file that could not be embedded. If its hash is unknown, the next run tries it again."""
    if not failure.sha256:
        return
    size_bytes, mtime_ns = _size_and_time(folder, FoundFile(failure.id, 0, 0))
    catalog.db.execute(
        "INSERT OR IGNORE INTO files (id, size_bytes, mtime_ns, sha256, seen) VALUES (?, ?, ?, ?, '')",
        (failure.id, size_bytes, mtime_ns, failure.sha256),
    )
    reason = failure.reason.removesuffix(TRIES_AGAIN)
    catalog.db.execute(
        "INSERT OR IGNORE INTO contents (sha256, reason, size_bytes, tries_left) VALUES (?, ?, ?, ?)",
        (failure.sha256, reason, size_bytes, int(reason != failure.reason)),
    )


def _size_and_time(folder: SoundFolder, found: FoundFile) -> tuple[int, int]:
    """Of a file now; of one of an address as they were, since to ask for each would take hours."""
    if folder.is_remote:
        return found.size_bytes, found.mtime_ns
    try:
        return folder.size_and_time(found)
    except OSError:
        return 0, 0


def _time_ns(item: Item) -> int:
    """To the microsecond, which is as exact as a number of seconds is."""
    return stored_mtime_ns(round(item.mtime_s * 1e6) * 1_000)

"""Brings an index up to date with a folder. `boiler.index` is its command line.

::

    folder > scan > compare with the catalog > embed what is pending > publish a generation

The catalog is written during the run, so a run that was killed continues where it stopped. The published index changes
once, at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import quote

import numpy as np

from boiler import encoder, files
from boiler.arrays import Float32Array, StructuredArray
from boiler.audio import stream
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import Which, WindowSpec
from boiler.catalog import diff, metadata, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog, has_catalog
from boiler.catalog.database import repair_advice
from boiler.catalog.diff import Changes
from boiler.catalog.folder import LocalFolder, delete_copies, files_per_request, open_folder, path_or_address
from boiler.catalog.items import Failure, Item, folder_of
from boiler.catalog.remote import RemoteFolder
from boiler.encoder.runtime import EncoderRuntime
from boiler.engine import selection
from boiler.engine.selection import EngineChoice
from boiler.errors import CatalogError, CorpusError, DamagedCatalogError, EngineError, ModelDirError, UnknownNameError
from boiler.indexing.binding import (
    Binding,
    bind_catalog,
    bind_encoder,
    read_binding,
    restore_encoder,
    unbind_encoder,
)
from boiler.indexing.blocks import BlockSettings, take_in_leftovers
from boiler.indexing.embed import EmbedRun, EmbedTally, file_hashes
from boiler.indexing.fit_sample import FitSample
from boiler.indexing.ray import connected, embed_on_ray, parse_address
from boiler.indexing.repair import META_KEY, catalog_settings
from boiler.indexing.report import Report
from boiler.indexing.score_words import word_scoring
from boiler.indexing.tag import remove_tag_model, restore_tag_model, set_tag_model, tag_pending
from boiler.model.device import resolve_device
from boiler.progress import meter
from boiler.store import build, generation, layout
from boiler.store.generation import ROW, Header
from boiler.tagging.by_hand import HandLabels


@dataclass(frozen=True)
class IndexSettings:
    """What to index, with which encoder, and where to write the index. None: as in the last run in this model
    directory; in the first run as in `DEFAULTS`."""

    wav_dir: Path | str  # a path, or an address as `boiler.catalog.remote` describes them
    encoder: str | None = None
    pt_path: Path | None = None
    encoder_options: dict[str, Any] | None = None  # of the encoder's own, by name
    model_dir: Path | None = None
    windows: str | None = None
    hop_s: float | None = None
    url_template: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    metadata: Path | None = None  # a table; None: as in the last run
    no_metadata: bool = False  # labels from the folders again, and no further columns
    batch_size: int = 16
    device: str = "auto"
    workers: int | None = None  # None: one for each processor
    decode_timeout_s: float = 60.0
    max_file_hours: float = 24.0
    seed: int = 0
    check: bool = False
    force: bool = False
    retry_failed: bool = False
    on: str | None = None  # ray or ray://HOST:PORT: embed on that cluster
    engine: str | None = None  # as in `boiler.engine.selection.EngineChoice`, with its options
    engine_options: Mapping[str, Any] | None = None

    @property
    def folder(self) -> LocalFolder | RemoteFolder:
        """The folder of the sounds. Raises: CorpusError: an address of an unknown kind, or with a password."""
        return open_folder(self.wav_dir)


DEFAULTS: dict[str, Any] = {
    "windows": "all",
    "hop_s": None,  # the encoder's own
    "url_template": "{id}",
    "include": (),
    "exclude": (),
    "engine": selection.AUTO,
    "engine_options": {},
}


@dataclass(frozen=True)
class _LastRun:
    """What the catalog recorded of the run before; empty for a new directory."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    binding: Binding | None = None

    @classmethod
    def read(cls, catalog: Catalog) -> _LastRun:
        return cls(json.loads(catalog.get("settings") or "{}"), read_binding(catalog))


def index(settings: IndexSettings) -> Report:
    """Bring the index up to date with the folder.

    Raises: CorpusError: no such folder, or no sounds in it. CatalogError: another indexer is running there, more than
    half of the files are gone, or the disk is full. ModelDirError: the directory belongs to another encoder.
    CheckpointError, UnknownNameError: no such encoder. SettingsError, ClusterError: `on` is no cluster, or it failed.
    """
    began = time.monotonic()
    if settings.metadata is not None:
        metadata.Table(settings.metadata)  # an error here, before anything is written
    model_dir, settings = _with_model_dir(settings)
    _check_before_writing(model_dir, settings)
    with generation.lock_for_writing(model_dir), Catalog(model_dir / CATALOG_FILE) as catalog:
        catalog.check()
        delete_copies(model_dir)
        settings = _with_defaults(settings, _LastRun.read(catalog))
        run = catalog.begin_run(_now())
        spec = _bind(catalog, settings)
        if settings.retry_failed:
            catalog.queue.retry_failed()
        changes, unreadable = _compare(catalog, settings)
        diff.apply(catalog, changes, metadata.folder_label, _now(), force=settings.force)
        # Not before: a run that is refused for its folder must not leave that to the next one.
        kept = {key: getattr(settings, key) for key in DEFAULTS}
        catalog.put(settings=json.dumps(kept), wav_dir=settings.folder.address)
        n_relabelled, table = _update_columns(catalog, settings)
        scanned = time.monotonic()
        tally = _embed_pending(catalog, settings, spec)
        catalog.queue.delete_unused()
        n_tagged = tag_pending(catalog)
        failures = catalog.failures() + [Failure(id, reason) for id, reason in unreadable.reasons.items()]
        embedded = time.monotonic()
        opened, published = _publish(catalog, settings, spec, model_dir, failures)
        ended = time.monotonic()
        report = Report(
            model_dir=model_dir,
            generation=opened.name if opened else "",
            published=published,
            changes=changes,
            tally=tally,
            failures=failures,
            n_relabelled=n_relabelled,
            n_tagged=n_tagged,
            table=table,
            warnings=catalog.warnings(),
            passed_over=dict(unreadable.passed_over),
            n_items=opened.header.n_items if opened else 0,
            n_rows=opened.header.n_rows if opened else 0,
            scan_s=scanned - began,
            publish_s=ended - embedded,
            wall_s=ended - began,
        )
        catalog.end_run(run, _now(), "failures" if failures else "done", report.to_json())
    return report


def _update_columns(catalog: Catalog, settings: IndexSettings) -> tuple[int, metadata.TableMatch | None]:
    """Take labels and further columns from the table, this one or that of an earlier run, or from the folders. Returns
    how many files have others than before, and how the table matches."""
    table = settings.metadata
    if table is None and catalog.get("metadata_table") is None and not catalog.has_metadata():
        table = metadata.audiofolder_table(settings.folder.path) if isinstance(settings.folder, LocalFolder) else None
    if settings.no_metadata and settings.metadata is None:
        catalog.put(metadata_table="{}")  # so that the table of an audiofolder is not taken by the next run
    elif table is not None:
        path = table.resolve()
        catalog.put(metadata_table=json.dumps({"path": str(path), "sha256": files.sha256_of(path)}))
    recorded = json.loads(catalog.get("metadata_table") or "{}")
    ids = catalog.ids()
    if recorded and Path(recorded["path"]).is_file():
        columns_of, matched = metadata.Table(Path(recorded["path"])).match(ids)
    elif not settings.no_metadata and (recorded or catalog.has_metadata()):
        return 0, None  # the table is not here: what it gave stays
    else:
        columns_of, matched = metadata.from_folders, None
    return catalog.update_columns(columns_of), matched


def plan(settings: IndexSettings) -> Changes:
    """What `index` would do; nothing is written."""
    model_dir, settings = _with_model_dir(settings)
    _refuse_lost_catalog(model_dir, settings)
    if not has_catalog(model_dir):
        ids = sorted(found.id for found in _scan(_with_defaults(settings, _LastRun()), scan.Unreadable()))
        if not ids:
            raise _no_sounds(settings)
        return Changes(new=ids)
    with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        return _compare(catalog, _with_defaults(settings, _LastRun.read(catalog)))[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _with_model_dir(settings: IndexSettings) -> tuple[Path, IndexSettings]:
    """The model directory, and the settings with the encoder's name filled in."""
    folder = settings.folder
    if not folder.is_here():
        raise CorpusError(f"{settings.wav_dir} is not a folder: give the folder with the sounds")
    if settings.model_dir is not None and settings.model_dir.exists():
        if not settings.model_dir.is_dir():
            raise ModelDirError(f"{settings.model_dir} is a file: give a folder as --model_dir")
        if isinstance(folder, LocalFolder) and settings.model_dir.samefile(folder.path):
            raise ModelDirError(f"{settings.model_dir} is the folder of the sounds: give another --model_dir")
    name = settings.encoder
    if name is None and settings.model_dir is not None and has_catalog(settings.model_dir):
        with Catalog(settings.model_dir / CATALOG_FILE, read_only=True) as catalog:
            bound = read_binding(catalog)
        name = bound.encoder if bound else None
    name = encoder.canonical_name(name or (encoder.DEFAULT if settings.pt_path else _without_checkpoint(settings)))
    encoder.find_encoder(name)
    if settings.model_dir is not None:
        model_dir = settings.model_dir
    elif settings.pt_path is not None and not settings.pt_path.is_dir():
        model_dir = _default_model_dir(settings.pt_path.with_suffix(""), name)
    else:
        model_dir = _default_model_dir(Path("exp") / folder.name, name)
    return model_dir, replace(settings, encoder=name)


def _without_checkpoint(settings: IndexSettings) -> str:
    """The encoder of a command that names neither an encoder nor a checkpoint."""
    formerly = encoder.FORMERLY_WITHOUT_CHECKPOINT
    parent = Path("exp") / settings.folder.name
    now, before = (_default_model_dir(parent, name) for name in (encoder.WITHOUT_CHECKPOINT, formerly))
    kept = settings.model_dir is None and has_catalog(before) and not has_catalog(now)
    return formerly if kept else encoder.WITHOUT_CHECKPOINT


def _default_model_dir(parent: Path, name: str) -> Path:
    """A folder named after the encoder, or after its old name where that index exists already."""
    for old in (old for old, new in encoder.RENAMED.items() if new == name):
        if has_catalog(parent / old):
            return parent / old
    return parent / encoder.short_name(name)


def _check_before_writing(model_dir: Path, settings: IndexSettings) -> None:
    """Raise errors that can be detected beforehand, so that no empty model directory is left behind."""
    if settings.on is None:
        resolve_device(settings.device)
    else:
        parse_address(settings.on)
    _refuse_lost_catalog(model_dir, settings)
    if has_catalog(model_dir):
        return
    settings = _with_defaults(settings, _LastRun())
    if settings.pt_path is not None or encoder.find_encoder(str(settings.encoder)).needs_checkpoint:
        encoder.create(str(settings.encoder), settings.pt_path, **(settings.encoder_options or {}))
    if next(_scan(settings, scan.Unreadable()), None) is None:
        raise _no_sounds(settings)


def _refuse_lost_catalog(model_dir: Path, settings: IndexSettings) -> None:
    """Raises: DamagedCatalogError: there is an index, but not the catalog it was made of."""
    if not settings.force and not has_catalog(model_dir) and generation.names(model_dir):
        raise DamagedCatalogError(
            f"{model_dir / CATALOG_FILE} is missing or empty, though there is an index: {repair_advice(model_dir)};"
            " --force embeds everything again"
        )


def _scan(settings: IndexSettings, unreadable: scan.Unreadable) -> Iterator[scan.FoundFile]:
    return settings.folder.walk(
        stream.SUFFIXES,
        include=settings.include or (),
        exclude=settings.exclude or (),
        unread_suffixes=stream.UNREAD_SUFFIXES,
        unreadable=unreadable,
    )


def _no_sounds(settings: IndexSettings) -> CorpusError:
    globs = " that match --include and --exclude" if settings.include or settings.exclude else ""
    kinds = ", ".join(sorted(stream.SUFFIXES))
    return CorpusError(f"{settings.wav_dir} has no sounds{globs}; boiler looks for {kinds}")


def _with_defaults(settings: IndexSettings, last: _LastRun) -> IndexSettings:
    """The settings, with those that are None taken from the run before.

    Raises: CatalogError: an invalid value.
    """
    if settings.engine is not None and settings.engine_options is None:
        settings = replace(settings, engine_options={})  # the options of another engine do not carry over
    filled = {key: last.settings.get(key, value) for key, value in DEFAULTS.items() if getattr(settings, key) is None}
    settings = replace(settings, **filled)
    settings = replace(settings, engine_options=_engine_choice(settings).options)
    own, bound = _encoder_windows(settings, last.binding), last.binding
    if "hop_s" in filled and (settings.hop_s is None or (bound and bound.window_spec.window_s != own.window_s)):
        settings = replace(settings, hop_s=own.hop_s)
    _url(str(settings.url_template), "a/b.wav")  # fails now rather than after the work
    for wrong, message in (
        (settings.batch_size < 1, "batch_size must be at least 1"),
        (settings.workers is not None and settings.workers < 1, "workers must be at least 1"),
        (settings.decode_timeout_s <= 0, "decode_timeout_s must be above 0"),
        (settings.max_file_hours <= 0, "max_file_hours must be above 0"),
    ):
        if wrong:
            raise CatalogError(message)
    try:
        _window_spec(settings, own)
    except ValueError as error:
        raise CatalogError(str(error)) from error
    return settings


def _engine_choice(settings: IndexSettings) -> EngineChoice:
    return EngineChoice(str(settings.engine), settings.engine_options or {})


def _encoder_windows(settings: IndexSettings, bound: Binding | None) -> WindowSpec:
    """The windows of the encoder's input; those of the binding as long as the encoder of the directory is used."""
    if bound is not None and bound.encoder == settings.encoder and settings.pt_path is None:
        return bound.window_spec
    return encoder.find_encoder(str(settings.encoder)).window_spec(settings.pt_path, **(settings.encoder_options or {}))


def _window_spec(settings: IndexSettings, own: WindowSpec) -> WindowSpec:
    """The encoder's windows, with the hop and the choice of windows of the settings. Raises: ValueError."""
    which = cast(Which, settings.windows)
    return replace(own, hop_s=own.hop_s if settings.hop_s is None else float(settings.hop_s), which=which)


def _bind(catalog: Catalog, settings: IndexSettings) -> WindowSpec:
    """Bind the catalog to the encoder and its windows, and return these."""
    bound = read_binding(catalog)
    if settings.pt_path is not None:
        checkpoint_sha256 = encoder.find_encoder(str(settings.encoder)).sha256_of(settings.pt_path)
        if settings.encoder_options:  # they decide what the vectors are, as the file does
            said = f"{checkpoint_sha256} {json.dumps(settings.encoder_options, sort_keys=True)}"
            checkpoint_sha256 = hashlib.sha256(said.encode()).hexdigest()
    elif bound and bound.encoder == settings.encoder:  # the directory's own encoder
        checkpoint_sha256 = bound.checkpoint_sha256
    else:
        own_weights = encoder.find_encoder(str(settings.encoder)).own_weights
        checkpoint_sha256 = files.sha256_of(own_weights) if own_weights else ""
    spec = _window_spec(settings, _encoder_windows(settings, bound))
    bind_catalog(
        catalog,
        Binding(
            encoder=str(settings.encoder),
            checkpoint_sha256=checkpoint_sha256,
            windows=spec.which,
            hop_s=spec.hop_s,
            sample_rate_hz=spec.sample_rate_hz,
            window_samples=spec.window_samples,
        ),
        force=settings.force,
    )
    return spec


def _compare(catalog: Catalog, settings: IndexSettings) -> tuple[Changes, scan.Unreadable]:
    """Scan the folder and compare it with the catalog."""
    unreadable = scan.Unreadable()
    found = _scan(settings, unreadable)
    hashes = file_hashes(settings.folder, catalog.path.parent)
    changes = diff.compare(catalog, found, unreadable, hashes, check=settings.check)
    if not catalog.n_files() and not changes.new:
        raise _no_sounds(settings)
    return changes, unreadable


def _embed_pending(catalog: Catalog, settings: IndexSettings, spec: WindowSpec) -> EmbedTally:
    """Embed the pending files. Starts no process if there are none."""
    tally = EmbedTally()
    take_in_leftovers(catalog, spec, tally)
    n_pending = len(catalog.queue)
    if not n_pending and catalog.get("encoder_sha256") is not None:
        return tally
    if n_pending >= layout.MIN_FITTED:
        layout.preload()
    # A file is decoded by one worker, so more workers than files would only use memory.
    workers = min(settings.workers or os.cpu_count() or 1, max(n_pending, 1))
    limits = stream.Limits(max_seconds=settings.max_file_hours * 3600)
    encoder_type = encoder.find_encoder(str(settings.encoder))
    began = time.monotonic()
    with (
        connected(parse_address(settings.on)) if settings.on else nullcontext(),
        Decoders(
            workers,
            timeout_s=settings.decode_timeout_s,
            limits=limits,
            files_per_request=files_per_request(settings.folder),
        ) as decoders,
    ):
        if not settings.on:
            decoders.start()
        sample = FitSample(
            catalog,
            settings.folder,
            decoders,
            spec=spec,
            batch_size=settings.batch_size,
            n_windows=encoder_type.fit_windows if issubclass(encoder_type, encoder.Fitted) else 0,
            seed=settings.seed,
            keeps=not settings.on,
        )
        with sample:
            path = bind_encoder(
                catalog, str(settings.encoder), settings.pt_path, spec, sample, settings.encoder_options
            )
        if settings.on:
            blocks = BlockSettings(
                folder=settings.folder.address,
                encoder_path=path.resolve(),
                encoder_sha256=str(catalog.get("encoder_sha256")),
                spec=spec,
                batch_size=settings.batch_size,
                decode_timeout_s=settings.decode_timeout_s,
                limits=limits,
                device=settings.device,
            )
            tally.prepare_s = time.monotonic() - began
            with meter("indexing", n_pending) as shown:
                embed_on_ray(catalog, blocks, tally, shown)
            return tally
        runtime = EncoderRuntime.load(path, resolve_device(settings.device))
        with runtime.parallel_embed() as embed, meter("indexing", n_pending) as shown:
            tally.prepare_s = time.monotonic() - began
            return EmbedRun(
                catalog=catalog,
                folder=settings.folder,
                embed=embed,
                decoders=decoders,
                kept=sample.kept,
                spec=spec,
                batch_size=settings.batch_size,
                meter=shown,
                tally=tally,
            ).run()


def _publish(
    catalog: Catalog, settings: IndexSettings, spec: WindowSpec, model_dir: Path, failures: list[Failure]
) -> tuple[generation.Generation | None, bool]:
    """The current generation, and whether it was published now, which is only done if the catalog has changed since."""
    source = {
        "wav_dir": settings.folder.address,
        "catalogue": f"{catalog.get('birth')}:{catalog.revision}",
        "settings": json.dumps([settings.url_template, settings.seed]),
        "unreadable": str(sum(not failure.sha256 for failure in failures)),
    }
    labels = HandLabels(model_dir)
    if (revision := labels.revision()) != "":
        source["tags_by_hand"] = revision
    words = word_scoring(catalog)
    if words is not None:
        source["words"] = files.sha256_of(words.model)
    choice = _engine_choice(settings)
    if choice != EngineChoice():  # absent by default, as in indexes of versions that knew no choice
        source["engine"] = choice.key()
    try:
        opened = generation.open(model_dir)
        opened.verify(*opened.files)
        _check_answers(opened)
    except (ModelDirError, EngineError):
        opened = None  # none yet, or a damaged one, which is published again
    if opened is not None:
        with opened.items() as database:
            if {key: value for key, value in database.meta().items() if key != META_KEY} == source:
                return opened, False
    n_rows = catalog.n_rows()
    if not n_rows and opened is None:
        unbind_encoder(catalog)
        return None, False
    encoder_pt = restore_encoder(catalog)
    header = Header(
        encoder=str(settings.encoder),
        dim=int(catalog.get("dim") or 0),
        sample_rate_hz=spec.sample_rate_hz,
        window_samples=spec.window_samples,
        windows=spec.which,
        hop_s=spec.hop_s,
        seed=settings.seed,
        url_template=str(settings.url_template),
    )
    with _gather_arrays(catalog, model_dir, n_rows, header.dim) as (vectors, rows):
        opened = generation.publish(
            model_dir,
            header,
            vectors,
            rows,
            _with_labels(catalog.items(lambda id: _url(header.url_template, id)), labels.all()),
            encoder_pt=encoder_pt,
            failures=failures,
            meta=source | {META_KEY: catalog_settings(catalog)},
            locked=True,
            engine=choice,
            tag_model=restore_tag_model(catalog),
            words=words,
        )
    return opened, True


def _with_labels(items: Iterator[Item], labels: Mapping[str, Mapping[str, bool]]) -> Iterator[Item]:
    """The items with their tags by hand."""
    return (replace(item, tags_by_hand=labels[item.id]) if item.id in labels else item for item in items)


def tag(model_dir: Path, model_path: Path | None) -> tuple[generation.Generation, int]:
    """Tag all items of an index with a model, or with None remove the tags of the last one, and publish the index with
    them and with all tags by hand. The folder of the sounds is not read. Returns the new index, and how many different
    sounds were tagged.

    Raises: CheckpointError: not a tag model. WrongEncoderError: of another encoder. ModelDirError, CatalogError: no
    index, or another process is writing there.
    """
    generation.current_name(model_dir)
    if not has_catalog(model_dir):
        raise CatalogError(f"{model_dir / CATALOG_FILE} is missing, where tags are stored: {repair_advice(model_dir)}")
    with generation.lock_for_writing(model_dir), Catalog(model_dir / CATALOG_FILE) as catalog:
        catalog.check()
        last = _LastRun.read(catalog)
        if last.binding is None:
            raise CatalogError(f"{model_dir} was not indexed completely: run boiler index first")
        if model_path is None:
            remove_tag_model(catalog)
        else:
            set_tag_model(catalog, model_path)
        n_tagged = tag_pending(catalog)
        folder = path_or_address(catalog.get("wav_dir") or ".")
        settings = IndexSettings(folder, last.binding.encoder, model_dir=model_dir)
        settings = _with_defaults(settings, last)
        before = generation.open_last_good(model_dir)
        with before.items() as database:
            unreadable = [one for one in database.failures() if not one.sha256]
        failures = catalog.failures()
        known = {one.id for one in failures}
        failures += [one for one in unreadable if one.id not in known]
        spec = _window_spec(settings, _encoder_windows(settings, last.binding))
        opened, _ = _publish(catalog, replace(settings, seed=before.header.seed), spec, model_dir, failures)
    assert opened is not None  # there was one before
    return opened, n_tagged


def _check_answers(opened: generation.Generation) -> None:
    """Raises: ModelDirError, EngineError: the engine cannot be loaded or does not find the first row, or there is no
    map, as in indexes of earlier versions."""
    if opened.map_points is None:
        raise ModelDirError(f"{opened.path} has no map")
    answering = str(opened.header.engine.get("name", selection.EXACT))
    if len(opened.vectors) and answering != selection.EXACT:
        engine = selection.load_engine(opened.path, opened.header.engine, answering, opened.vectors)
        if not selection.finds_first_row(engine, opened.vectors):
            raise ModelDirError(f"{opened.path} does not find its own first row")


@contextmanager
def _gather_arrays(
    catalog: Catalog, model_dir: Path, n_rows: int, dim: int
) -> Iterator[tuple[Float32Array, StructuredArray]]:
    """All vectors [N, D], mapped from a temporary file, and rows [N] of the catalog."""
    rows = np.zeros(n_rows, ROW)
    aside = model_dir / generation.VERSIONS / ".gathered.npy"  # in versions, where the next run removes leftovers

    def blocks() -> Iterator[Float32Array]:
        for at, (n, start_s, end_s, vector) in enumerate(catalog.rows()):
            rows[at] = (n, start_s, end_s)
            yield np.frombuffer(vector, "<f4")

    try:
        yield build.save_blocks(aside, (n_rows, dim), blocks()), rows
    except OSError as error:
        raise ModelDirError(f"{model_dir}: cannot publish ({error}): free some space and run again") from error
    finally:
        aside.unlink(missing_ok=True)


def _url(template: str, id: str) -> str:
    """The item's URL: the template with its fields filled in, quoted if the template is a web address.

    >>> _url("https://example.org/view/{stem}", "loops/2a b.mp4"), _url("{id}", "loops/2a b.mp4")
    ('https://example.org/view/2a%20b', 'loops/2a b.mp4')
    """
    path = PurePosixPath(id)
    values = {"id": id, "stem": path.stem, "name": path.name, "folder": folder_of(id)}
    if "://" in template:
        values = {key: quote(value) for key, value in values.items()}
    try:
        return template.format(**values)
    except KeyError as error:
        raise UnknownNameError("field of --url_template", str(error.args[0]), values) from error
    except (ValueError, IndexError, AttributeError) as error:
        raise CatalogError(f"--url_template {template!r} cannot be filled in: {error}") from error

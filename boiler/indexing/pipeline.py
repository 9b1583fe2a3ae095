"""Bring an index up to date with a folder: look, embed what is new, publish. `boiler.index` is its command line.

::

    folder > scan > sync with the catalog > hear what is pending > publish a generation

The catalog is written as the work goes on, so a run that is killed goes on where it was; what readers see changes
once, at the end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from boiler.catalog import catalog, diff, scan
from boiler.catalog import metadata as metadata_module
from boiler.catalog.catalog import Catalog
from boiler.catalog.items import Failure, folder_of
from boiler.encoder import runtime
from boiler.engine import selection
from boiler.engine.selection import EngineChoice
from boiler.errors import CatalogError, CheckpointError, CorpusError, ModelDirError, UnknownNameError
from boiler.indexing import binding
from boiler.indexing import embed as embed_module
from boiler.indexing.binding import Binding
from boiler.indexing.report import Report
from boiler.model.device import resolve_device
from boiler.progress import meter
from boiler.store import build, generation
from boiler.store.generation import ROW, Header


@dataclass(frozen=True)
class IndexSettings:
    """What to index, with what, and where to. None: as it was the last time in this model directory; the first time,
    as in `FIRST_TIME`."""

    wav_dir: Path
    encoder: str | None = None
    pt_path: Path | None = None
    model_dir: Path | None = None
    windows: str | None = None
    hop_s: float | None = None
    url_template: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    metadata: Path | None = None
    batch_size: int = 16
    device: str = "auto"
    workers: int | None = None  # None: one for each processor
    decode_timeout_s: float = 60.0
    max_file_hours: float = 24.0
    seed: int = 0
    check: bool = False
    force: bool = False
    retry_failed: bool = False
    engine: str | None = None  # as in `boiler.engine.selection.EngineChoice`, with its options
    engine_options: Mapping[str, Any] | None = None


FIRST_TIME: dict[str, Any] = {
    "windows": "all",
    "hop_s": None,  # the encoder's own
    "url_template": "{id}",
    "include": (),
    "exclude": (),
    "engine": selection.AUTO,
    "engine_options": {},
}


def index(settings: IndexSettings) -> Report:
    """Bring the index up to date with the folder.

    Raises: CorpusError: no such folder, or no sounds in it. CatalogError: another indexer is at work there, too much
    is gone, or the disk is full. ModelDirError: the directory was made otherwise. CheckpointError, UnknownNameError: no
    such encoder.
    """
    began = time.monotonic()
    columns_of = metadata_module.from_table(settings.metadata) if settings.metadata else metadata_module.from_folders
    model_dir, settings = _decide(settings)
    _refuse(model_dir, settings)
    with generation.writing(model_dir), Catalog(model_dir / catalog.FILE) as store:
        settings = _complete(store, settings)
        run = store.begin_run(_now())
        spec = _bind(store, settings)
        if settings.retry_failed:
            store.forget_failures()
        changes, unreadable = _look(store, settings)
        diff.apply(store, changes, lambda id: columns_of(id)[0], _now(), force=settings.force)
        store.describe(columns_of)
        scanned = time.monotonic()
        tally = _hear(store, settings, spec)
        store.purge()
        failures = store.failures() + [Failure(id, reason) for id, reason in unreadable.reasons.items()]
        heard = time.monotonic()
        opened, published = _publish(store, settings, spec, model_dir, failures)
        ended = time.monotonic()
        report = Report(
            model_dir=model_dir,
            generation=opened.name if opened else "",
            published=published,
            changes=changes,
            tally=tally,
            failures=failures,
            n_items=opened.header.n_items if opened else 0,
            n_rows=opened.header.n_rows if opened else 0,
            scan_s=scanned - began,
            publish_s=ended - heard,
            wall_s=ended - began,
        )
        store.end_run(run, _now(), "failures" if failures else "done", report.to_json())
    return report


def plan(settings: IndexSettings) -> diff.Changes:
    """What `index` would do; nothing is written."""
    model_dir, settings = _decide(settings)
    path = model_dir / catalog.FILE
    if not path.is_file():
        with Catalog(Path(":memory:")) as store:
            return _look(store, _complete(store, settings))[0]
    with files.writing(model_dir), Catalog(path) as store:
        return _look(store, _complete(store, settings))[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _decide(settings: IndexSettings) -> tuple[Path, IndexSettings]:
    """The model directory, and the settings with the encoder's name filled in."""
    if not settings.wav_dir.is_dir():
        raise CorpusError(f"{settings.wav_dir} is not a folder: give the folder that holds the sounds")
    name = settings.encoder
    if name is None and settings.model_dir is not None and (settings.model_dir / catalog.FILE).is_file():
        with Catalog(settings.model_dir / catalog.FILE) as store:
            bound = binding.binding_of(store)
        name = bound.encoder if bound else None
    name = name or (encoder.DEFAULT if settings.pt_path else encoder.WITHOUT_CHECKPOINT)
    encoder.find(name)
    if settings.model_dir is not None:
        model_dir = settings.model_dir
    elif settings.pt_path is not None:
        model_dir = settings.pt_path.with_suffix("") / encoder.short_name(name)
    else:
        model_dir = Path("exp") / settings.wav_dir.resolve().name / encoder.short_name(name)
    return model_dir, replace(settings, encoder=name)


def _refuse(model_dir: Path, settings: IndexSettings) -> None:
    """Refuse what can be told beforehand, so that nothing is written then: above all, no empty model directory."""
    resolve_device(settings.device)
    if (model_dir / catalog.FILE).is_file():
        return
    with Catalog(Path(":memory:")) as store:
        settings = _complete(store, settings)
    if settings.pt_path is not None or encoder.find(str(settings.encoder)).needs_checkpoint:
        encoder.create(str(settings.encoder), settings.pt_path)
    if next(_found(settings, scan.Unreadable()), None) is None:
        raise _nothing(settings)


def _found(settings: IndexSettings, unreadable: scan.Unreadable) -> Iterator[scan.Found]:
    return scan.walk(
        settings.wav_dir,
        stream.SUFFIXES,
        include=settings.include or (),
        exclude=settings.exclude or (),
        unreadable=unreadable,
    )


def _nothing(settings: IndexSettings) -> CorpusError:
    globs = " that --include and --exclude let through" if settings.include or settings.exclude else ""
    kinds = ", ".join(sorted(stream.SUFFIXES))
    return CorpusError(f"{settings.wav_dir} holds no sounds{globs}; boiler looks for {kinds}")


def _complete(store: Catalog, settings: IndexSettings) -> IndexSettings:
    """The settings with what was not said filled in from the last time."""
    before = json.loads(store.get("settings") or "{}")
    if settings.engine is not None and settings.engine_options is None:
        settings = replace(settings, engine_options={})  # the options of another engine do not carry over
    unsaid = {key: before.get(key, value) for key, value in FIRST_TIME.items() if getattr(settings, key) is None}
    settings = replace(settings, **unsaid)
    settings = replace(settings, engine_options=_engine_choice(settings).options)
    own, bound = _encoder_windows(store, settings), binding.binding_of(store)
    if "hop_s" in unsaid and (settings.hop_s is None or (bound and bound.window_spec.window_s != own.window_s)):
        settings = replace(settings, hop_s=own.hop_s)
    _url(str(settings.url_template), "a/b.wav")  # a template that cannot work is refused before the work
    for wrong, message in (
        (settings.batch_size < 1, "batch_size must be at least 1"),
        (settings.workers is not None and settings.workers < 1, "workers must be at least 1"),
        (settings.decode_timeout_s <= 0, "decode_timeout_s must be above 0"),
        (settings.max_file_hours <= 0, "max_file_hours must be above 0"),
    ):
        if wrong:
            raise CatalogError(message)
    try:
        _cut_as(settings, own)
    except ValueError as error:
        raise CatalogError(str(error)) from error
    return settings


def _engine_choice(settings: IndexSettings) -> EngineChoice:
    return EngineChoice(str(settings.engine), settings.engine_options or {})


def _encoder_windows(store: Catalog, settings: IndexSettings) -> WindowSpec:
    """The windows that the encoder takes: as the directory knows them, where its own encoder goes on being used."""
    bound = binding.binding_of(store)
    if bound is not None and bound.encoder == settings.encoder and settings.pt_path is None:
        return bound.window_spec
    return encoder.find(str(settings.encoder)).window_spec(settings.pt_path)


def _cut_as(settings: IndexSettings, own: WindowSpec) -> WindowSpec:
    """The encoder's windows, cut as the settings say. Raises: ValueError: not possible."""
    which = cast(Which, settings.windows)
    return replace(own, hop_s=own.hop_s if settings.hop_s is None else float(settings.hop_s), which=which)


def _bind(store: Catalog, settings: IndexSettings) -> WindowSpec:
    """Bind the catalog to the encoder; how its sounds are cut."""
    bound = binding.binding_of(store)
    if settings.pt_path is not None:
        if not settings.pt_path.is_file():
            raise CheckpointError(f"{settings.pt_path}: there is no such checkpoint; boiler train writes vqvae_NNN.pt")
        checkpoint_sha256 = files.sha256_of(settings.pt_path)
    else:  # the directory knows its own
        checkpoint_sha256 = bound.checkpoint_sha256 if bound and bound.encoder == settings.encoder else ""
    spec = _cut_as(settings, _encoder_windows(store, settings))
    binding.bind(
        store,
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
    store.put(settings=json.dumps({key: getattr(settings, key) for key in FIRST_TIME}))
    return spec


def _look(store: Catalog, settings: IndexSettings) -> tuple[diff.Changes, scan.Unreadable]:
    """Compare the folder with the catalog."""
    unreadable = scan.Unreadable()
    found = _found(settings, unreadable)
    changes = diff.compare(store, found, unreadable, embed_module.hashes(settings.wav_dir), check=settings.check)
    if not store.n_files() and not changes.new:
        raise _nothing(settings)
    return changes, unreadable


def _hear(store: Catalog, settings: IndexSettings, spec: WindowSpec) -> embed_module.Tally:
    """Embed what is pending; nothing is started where nothing is."""
    n_pending = store.n_pending()
    frozen = store.get("encoder_sha256") is not None
    if not n_pending and frozen:
        return embed_module.Tally()
    # One file is never with two of them: to a file of ten hours, a second would be memory and nothing else.
    workers = min(settings.workers or os.cpu_count() or 1, max(n_pending, 1))
    limits = stream.Limits(max_seconds=settings.max_file_hours * 3600)
    kind = encoder.find(str(settings.encoder))
    device = resolve_device(settings.device)
    began = time.monotonic()
    with Decoders(workers, timeout_s=settings.decode_timeout_s, limits=limits) as decoders:
        decoders.start()
        sample = binding.Sample(
            store,
            settings.wav_dir,
            decoders,
            spec=spec,
            batch_size=settings.batch_size,
            n_windows=kind.fit_windows if issubclass(kind, encoder.Fitted) else 0,
            seed=settings.seed,
        )
        path = binding.freeze(store, str(settings.encoder), settings.pt_path, spec, sample)
        with runtime.embedding(path, device) as embed, meter("indexing", n_pending) as shown:
            tally = embed_module.Tally(prepare_s=time.monotonic() - began)
            return embed_module.Hearing(
                catalog=store,
                root=settings.wav_dir,
                embed=embed,
                decoders=decoders,
                spec=spec,
                batch_size=settings.batch_size,
                meter=shown,
                tally=tally,
            ).run()


def _publish(
    store: Catalog, settings: IndexSettings, spec: WindowSpec, model_dir: Path, failures: list[Failure]
) -> tuple[generation.Generation | None, bool]:
    """The current generation, published now when it says something else than the catalog; whether it was."""
    says = {
        "wav_dir": str(settings.wav_dir.resolve()),
        "catalogue": f"{store.get('birth')}:{store.revision}",
        "settings": json.dumps([settings.url_template, settings.seed]),
        "unreadable": str(sum(not failure.sha256 for failure in failures)),
    }
    choice = _engine_choice(settings)
    if choice != EngineChoice():  # absent by default, as in indexes of versions that knew no choice
        says["engine"] = choice.key()
    try:
        opened = generation.open(model_dir)
    except ModelDirError:
        opened = None  # none yet, or a damaged one, which is made again
    if opened is not None:
        with opened.items() as database:
            if database.meta() == says:
                return opened, False
    n_rows = store.n_rows()
    if not n_rows and opened is None:
        binding.thaw(store)
        return None, False
    header = Header(
        encoder=str(settings.encoder),
        dim=int(store.get("dim") or 0),
        sample_rate_hz=spec.sample_rate_hz,
        window_samples=spec.window_samples,
        windows=spec.which,
        hop_s=spec.hop_s,
        seed=settings.seed,
        url_template=str(settings.url_template),
    )
    with _gathered(store, model_dir, n_rows, header.dim) as (vectors, rows):
        opened = generation.publish(
            model_dir,
            header,
            vectors,
            rows,
            store.items(lambda id: _url(header.url_template, id)),
            encoder_pt=model_dir / binding.FILE,
            failures=failures,
            meta=says,
            locked=True,
            engine=choice,
        )
    return opened, True


@contextmanager
def _gathered(store: Catalog, model_dir: Path, n_rows: int, dim: int) -> Iterator[tuple[Float32Array, StructuredArray]]:
    """All vectors [N, D] and rows [N] of the catalog; the vectors in a file aside, so that N may be large."""
    rows = np.zeros(n_rows, ROW)
    aside = model_dir / generation.VERSIONS / ".gathered.npy"  # in versions, so that the next run tidies it away

    def blocks() -> Iterator[Float32Array]:
        for at, (n, start_s, end_s, vector) in enumerate(store.rows()):
            rows[at] = (n, start_s, end_s)
            yield np.frombuffer(vector, "<f4")

    try:
        yield build.save_blocks(aside, (n_rows, dim), blocks()), rows
    except OSError as error:
        raise ModelDirError(f"{model_dir}: no room to publish ({error}): free some space and run again") from error
    finally:
        aside.unlink(missing_ok=True)


def _url(template: str, id: str) -> str:
    """The item's address: the template with its fields filled in, quoted where the template is a web address.

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

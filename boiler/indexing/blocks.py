"""Embeds the pending files of a catalog in blocks, on other processes or machines, which do not open the catalog.

::

    pending files > blocks of the plan (Parquet) > `BlockEmbedder`, anywhere > results (Parquet) > catalog

A block is embedded as the indexer embeds a folder (`boiler.indexing.embed`), with a temporary catalog, so the rows,
vectors and reasons of failures are the same. Results are kept in a folder of the model directory until they have been
imported into the catalog: those of a run that was killed are imported by the next one. Each names the size and time of
its file, so those of a file that has changed since are dropped, and importing a result twice changes nothing.
`boiler.indexing.ray` runs the blocks on a Ray cluster.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from boiler import files
from boiler.audio.decoder_pool import Decoders
from boiler.audio.stream import Limits, Probe
from boiler.audio.windows import WindowSpec
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.embed_queue import EmbedQueue, PendingFile
from boiler.catalog.folder import files_per_request, open_folder
from boiler.catalog.scan import FoundFile
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import ModelDirError
from boiler.indexing.embed import EmbedRun, EmbedTally
from boiler.model.device import resolve_device
from boiler.progress import Meter

BLOCK_FILES = 250
"""Files of a block: some minutes of work, so that little is lost with a process, and starting one does not count."""
RESULT_BYTES = 64 * 2**20
"""Vectors of one piece of a result. The windows of a block of ten-hour recordings take gigabytes."""
FOLDER = ".blocks"
"""In the model directory: a folder for each run."""
KIND_FILE = "kind.json"

PLAN_SCHEMA = pyarrow.schema(
    [
        ("n", pyarrow.int64()),
        ("id", pyarrow.string()),
        ("size_bytes", pyarrow.int64()),
        ("mtime_ns", pyarrow.int64()),
        ("file", pyarrow.binary()),
        ("sha256", pyarrow.string()),
    ]
)
RESULT_SCHEMA = pyarrow.schema(
    [
        ("n", pyarrow.int64()),
        ("size_bytes", pyarrow.int64()),
        ("mtime_ns", pyarrow.int64()),
        ("outcome", pyarrow.string()),  # one of the following
        ("reason", pyarrow.string()),  # or the warning of an embedded file
        ("sha256", pyarrow.string()),
        ("decoded_bytes", pyarrow.int64()),
        ("duration_s", pyarrow.float64()),
        ("sample_rate_hz", pyarrow.int64()),
        ("channels", pyarrow.int64()),
        ("format", pyarrow.string()),
        ("start_s", pyarrow.list_(pyarrow.float64())),
        ("end_s", pyarrow.list_(pyarrow.float64())),
        ("vectors", pyarrow.list_(pyarrow.binary())),  # little-endian float32
    ]
)
EMBEDDED, FAILED, MAY_PASS, UNREADABLE, VANISHED = "embedded", "failed", "may pass", "unreadable", "vanished"
"""Outcomes. `may pass`: it failed for lack of time or memory; `unreadable`: it could not be read to its end."""


@dataclass(frozen=True)
class BlockSettings:
    """What a `BlockEmbedder` needs. Paths are absolute, and the same on every machine."""

    folder: str  # the path or the address of the sounds
    encoder_path: Path
    encoder_sha256: str
    spec: WindowSpec
    batch_size: int = 16
    decode_timeout_s: float = 60.0
    limits: Limits = field(default_factory=Limits)
    device: str = "cpu"  # or auto: of each machine


def kind_of(encoder_sha256: str, spec: WindowSpec) -> str:
    """What vectors depend on, as text: results of another kind are of no use."""
    return json.dumps([encoder_sha256, asdict(spec)])


class BlockEmbedder:
    """Embeds blocks, with one decoding process, which `close` ends, as does the end of this process.

    Raises: ModelDirError: the encoder on this machine is not the one of the index.
    """

    def __init__(self, settings: BlockSettings) -> None:
        self._settings = settings
        path = settings.encoder_path
        if not path.is_file() or files.sha256_of(path) != settings.encoder_sha256:
            raise ModelDirError(
                f"{path} is not there, or another file: the model directory must be on storage that all machines share"
            )
        self._runtime = EncoderRuntime.load(path, resolve_device(settings.device))
        self._folder = open_folder(settings.folder)
        self._decoders = Decoders(
            1,
            timeout_s=settings.decode_timeout_s,
            limits=settings.limits,
            files_per_request=files_per_request(self._folder),
        )

    def __call__(self, block: pyarrow.Table) -> Iterator[pyarrow.Table]:
        """`PLAN_SCHEMA` to `RESULT_SCHEMA`, in pieces of some `RESULT_BYTES`. A file that another one of the block
        keeps from being tried has no row: it stays pending."""
        planned = [_pending(row) for row in block.to_pylist()]
        settings, silent = self._settings, Meter("", None, None, io.StringIO())
        with (
            tempfile.TemporaryDirectory() as folder,
            Catalog(Path(folder) / CATALOG_FILE) as catalog,
            self._runtime.parallel_embed() as embed,
        ):
            catalog.queue.put(planned)
            EmbedRun(
                catalog=catalog,
                folder=self._folder,
                embed=embed,
                decoders=self._decoders,
                spec=settings.spec,
                batch_size=settings.batch_size,
                meter=silent,
            ).run()
            rows: list[dict[str, Any]] = []
            n_bytes = 0
            for pending in planned:
                row = _result(catalog, pending)
                if row is None:
                    continue
                rows.append(row)
                n_bytes += sum(map(len, row["vectors"]))
                if n_bytes >= RESULT_BYTES:
                    yield pyarrow.Table.from_pylist(rows, RESULT_SCHEMA)
                    rows, n_bytes = [], 0
            yield pyarrow.Table.from_pylist(rows, RESULT_SCHEMA)

    def close(self) -> None:
        self._decoders.close()


def _pending(row: dict[str, Any]) -> PendingFile:
    """A row of `PLAN_SCHEMA`."""
    return PendingFile(row["n"], FoundFile(row["id"], row["size_bytes"], row["mtime_ns"], row["file"]), row["sha256"])


def _result(catalog: Catalog, pending: PendingFile) -> dict[str, Any] | None:
    """The row of `RESULT_SCHEMA` of a file after a run; None if it was not tried."""
    row: dict[str, Any] = dict.fromkeys(RESULT_SCHEMA.names)
    row |= {"n": pending.n, "size_bytes": pending.found.size_bytes, "mtime_ns": pending.found.mtime_ns, "vectors": []}
    found = catalog.queue.outcome(pending.n)
    if found is None:
        return row | {"outcome": VANISHED}
    if found.problem:
        return row | {"outcome": UNREADABLE, "reason": found.problem}
    if found.reason:
        outcome = MAY_PASS if found.tries_left else FAILED
        return row | {"outcome": outcome, "reason": found.reason, "sha256": found.sha256}
    if found.c is None:
        return None
    windows = catalog.queue.windows(found.c)
    times = {"start_s": [start_s for start_s, _, _ in windows], "end_s": [end_s for _, end_s, _ in windows]}
    of_bytes = {"sha256": found.sha256, "decoded_bytes": found.size_bytes} | asdict(found.probe)
    vectors = [vector for _, _, vector in windows]
    return row | of_bytes | times | {"outcome": EMBEDDED, "reason": found.warning, "vectors": vectors}


class BlockFolder:
    """The plan and the results of one run: `plan`, a Parquet file for each block; `results`, Parquet files; `commits`,
    a file NAME.parquet as soon as the results whose names begin with NAME are complete, as Ray Data checkpoints them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan, self.results, self.commits = path / "plan", path / "results", path / "commits"
        self._taken: set[str] = set()

    @classmethod
    def create(cls, catalog: Catalog, settings: BlockSettings) -> BlockFolder:
        """A new folder with the plan: the pending files of a catalog."""
        folder = cls(catalog.path.parent.resolve() / FOLDER / uuid.uuid4().hex)
        folder.plan.mkdir(parents=True)
        pending = iter(catalog.queue)
        for number in itertools.count():
            block = [_planned(each) for each in itertools.islice(pending, BLOCK_FILES)]
            if not block:
                break
            parquet.write_table(pyarrow.Table.from_pylist(block, PLAN_SCHEMA), folder._block(number))
        kind = kind_of(settings.encoder_sha256, settings.spec)
        (folder.path / KIND_FILE).write_text(kind, encoding="utf-8")
        return folder

    @property
    def n_blocks(self) -> int:
        """Blocks of the plan."""
        return sum(1 for _ in self.plan.iterdir())

    def read_block(self, number: int) -> pyarrow.Table:
        """A block of the plan, of `PLAN_SCHEMA`. `number`: 0 to `n_blocks` - 1."""
        return parquet.read_table(self._block(number))

    def _block(self, number: int) -> Path:
        return self.plan / f"{number:08}.parquet"

    def take_in(self, catalog: Catalog, tally: EmbedTally, shown: Meter | None = None) -> None:
        """Store what is complete and was not yet taken in, and delete it."""
        for commit in sorted(self.commits.glob("*.parquet")):
            if commit.stem in self._taken:
                continue
            # Before it is complete its name is NAME.pending.parquet, which is the beginning of none of the results.
            for path in sorted(self.results.glob(f"{commit.stem}*.parquet")):
                with catalog.transaction():
                    for row in parquet.read_table(path, schema=RESULT_SCHEMA).to_pylist():
                        if _store(catalog.queue, row, tally) and shown:
                            shown.step()
                path.unlink()  # a kill before this line: it is taken in again, which changes nothing
            self._taken.add(commit.stem)

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # another one is left
            self.path.parent.rmdir()


def take_in_leftovers(catalog: Catalog, spec: WindowSpec, tally: EmbedTally) -> None:
    """Take in what runs that were killed have finished with these windows and the encoder of the catalog, and delete
    their folders."""
    wanted = kind_of(catalog.get("encoder_sha256") or "", spec)
    for path in sorted((catalog.path.parent / FOLDER).glob("*")):
        folder = BlockFolder(path)
        with suppress(FileNotFoundError):  # killed before the plan was complete
            if (path / KIND_FILE).read_text(encoding="utf-8") == wanted:
                folder.take_in(catalog, tally)
        folder.delete()


def _planned(pending: PendingFile) -> dict[str, Any]:
    return {"n": pending.n, "sha256": pending.sha256} | asdict(pending.found)


def _store(queue: EmbedQueue, row: dict[str, Any], tally: EmbedTally) -> bool:
    """Store a row of `RESULT_SCHEMA`. Returns whether its file was pending, and is the one that it is of."""
    n, reason = row["n"], row["reason"] or ""
    pending = queue.find(n)
    if pending is None or (row["size_bytes"], row["mtime_ns"]) != (pending.found.size_bytes, pending.found.mtime_ns):
        return False
    match row["outcome"]:
        case "vanished":
            queue.delete_file(n)
            tally.vanished += 1
        case "unreadable":
            queue.set_problem(n, reason)
            tally.failed += 1
        case "failed" | "may pass":
            queue.fail(n, row["sha256"], reason, may_pass=row["outcome"] == MAY_PASS)
            tally.failed += 1
        case _ if queue.is_done(row["sha256"]):  # as in another block
            queue.set_hash(n, row["sha256"])
            tally.reused += 1
        case _:
            c, _ = queue.begin(n)
            vectors = (np.frombuffer(vector, "<f4") for vector in row["vectors"])
            queue.add_windows(zip(itertools.repeat(c), row["start_s"], row["end_s"], vectors, strict=False))
            probe = Probe(row["duration_s"], row["sample_rate_hz"], row["channels"], row["format"])
            queue.finish(n, c, row["sha256"], row["decoded_bytes"], probe, reason)
            tally.embedded += 1
            tally.windows += len(row["vectors"])
            tally.sound_s += probe.duration_s
    return True

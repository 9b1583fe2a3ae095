"""Embeds the blocks of `boiler.indexing.blocks` on a Ray cluster, by Ray Data: `boiler index DIR --on ray://HOST:PORT`.

::

    numbers of blocks > `PlanEmbedder` in actors > results and checkpoints (Parquet) > catalog

Ray starts actors that die again, on another machine if need be, and repeats their blocks. The results of a write that
was interrupted are not committed, so the catalog does not see them. The catalog, in this process alone, takes results
in while the cluster works.

Numbers are read in the actors themselves, and writing asks for no processor: if actors had all of them, as after the
loss of a machine, nothing could be read or written any more, and the work would stand still.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pyarrow

from boiler.catalog.catalog import Catalog
from boiler.errors import ClusterError, SettingsError, first_line
from boiler.indexing.blocks import BlockEmbedder, BlockFolder, BlockSettings
from boiler.indexing.embed import EmbedTally
from boiler.progress import Meter

_TAKE_IN_EVERY_S = 1.0
_CONNECT_S = 10.0
_ADDRESS = re.compile(r"ray(?:://(?P<address>[^/\s]+:\d+))?")


def parse_address(on: str) -> str | None:
    """The address of the cluster that `--on` names: `ray://HOST:PORT`, or None for `ray`, a new one.

    >>> parse_address("ray://10.0.0.1:6379"), parse_address("ray")
    ('10.0.0.1:6379', None)

    Raises: SettingsError.
    """
    found = _ADDRESS.fullmatch(on)
    if found is None:
        raise SettingsError(f"--on is {on!r}: it must be ray, or ray://HOST:PORT, as ray start --head prints it")
    return found["address"]


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster at this address, or to a new one of the processors of this machine, which ends with
    the block.

    Raises: SettingsError: Ray is not installed. ClusterError: no cluster there.
    """
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--on ray needs Ray: pip install 'boiler[ray]'") from error
    with redirect_stdout(sys.stderr):  # Ray prints what has died to stdout, which is for the report
        try:
            if address is not None:  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), _CONNECT_S).close()
            # "local" instead of nothing, with which Ray looks for the last cluster of this machine, even if it is dead.
            dashboard = False if address is None else None
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"no Ray cluster at {address} ({first_line(error)}): is it running?") from error
        try:
            yield
        finally:
            ray.shutdown()


def embed_on_ray(catalog: Catalog, settings: BlockSettings, tally: EmbedTally, shown: Meter) -> None:
    """Embed the pending files of a catalog on the cluster that this process is `connected` to.

    Raises: ClusterError: the cluster failed. What it had finished is in the catalog.
    """
    folder = BlockFolder.create(catalog, settings)
    failures: list[Exception] = []
    work = threading.Thread(target=_run, args=(folder, settings, failures), daemon=True)
    work.start()
    while work.is_alive():
        work.join(_TAKE_IN_EVERY_S)
        folder.take_in(catalog, tally, shown)
    folder.take_in(catalog, tally, shown)
    folder.delete()
    if failures:
        raise ClusterError(
            f"the Ray cluster failed ({first_line(failures[0])}): {tally.embedded} files were embedded, and the same"
            " command continues with the others"
        ) from failures[0]


class PlanEmbedder:
    """The actor: embeds the blocks of a plan by their numbers."""

    def __init__(self, folder: Path, settings: BlockSettings) -> None:
        self._folder = BlockFolder(folder)
        self._embed = BlockEmbedder(settings)

    def __call__(self, numbers: pyarrow.Table) -> Iterator[pyarrow.Table]:
        for number in numbers["id"].to_pylist():
            yield from self._embed(self._folder.read_block(number))


def _run(folder: BlockFolder, settings: BlockSettings, failures: list[Exception]) -> None:
    """Embed all blocks of the plan. An error is added to `failures`."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.data.checkpoint import CheckpointConfig

    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        n_gpus = int(has.get("GPU", 0)) if settings.device in ("auto", "cuda") else 0
        n_actors = max(1, min(n_gpus or int(has.get("CPU", 0)), folder.n_blocks))
        # Numbers of blocks, a task for each. read_parquet would read small files of a plan as one block, for one actor.
        numbers = ray.data.range(folder.n_blocks, override_num_blocks=folder.n_blocks)
        numbers.context.checkpoint_config = CheckpointConfig(
            id_column="n", checkpoint_path=str(folder.commits), delete_checkpoint_on_success=False
        )
        embedded = numbers.map_batches(
            PlanEmbedder,
            fn_constructor_args=(folder.path, settings),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=n_actors),
            num_cpus=1,
            num_gpus=1 if n_gpus else None,
        )
        embedded.write_parquet(str(folder.results), ray_remote_args={"num_cpus": 0})
    except Exception as error:
        failures.append(error)

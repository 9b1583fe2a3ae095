"""A Ray cluster of two nodes embeds as this machine does; what is killed loses nothing and doubles nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ray_cluster import ENVIRONMENT, Cluster
from sounds import tone, write

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError, ClusterError, SettingsError
from boiler.indexing import ray as ray_module
from boiler.indexing.pipeline import IndexSettings, index

N_FILES, BLOCK_FILES = 16, 2
INDEX = f"""
import sys
import slow_blocks
from boiler import index
from boiler.indexing import blocks, ray
blocks.BLOCK_FILES = {BLOCK_FILES}
ray.PlanEmbedder = slow_blocks.SlowPlanEmbedder
sys.exit(index.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ray") as temporary:  # a short path, for the names of sockets
        cluster = Cluster(Path(temporary))
        yield cluster
        cluster.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for n in range(N_FILES - 1):
        write(folder / f"{n}.wav", tone(200 + 30 * n, 0.3 + n / 20, 8_000), 8_000)
    (folder / "bad.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("local") / "m"
    index(IndexSettings(folder, "MFCCStats", model_dir=model_dir, device="cpu", workers=1))
    return model_dir


def start(folder: Path, model_dir: Path, cluster: Cluster) -> subprocess.Popen[str]:
    words = (str(folder), "MFCCStats", "--model_dir", str(model_dir), "--workers", "1", "--device", "cpu", "--json")
    return subprocess.Popen(
        [sys.executable, "-c", INDEX, *words, "--on", f"ray://{cluster.address}"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it writes until it ends, on a busy machine after minutes. It is killed if it does not."""
    try:
        return process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it did not end: {process.communicate()}")


def n_embedded(model_dir: Path) -> int:
    """Files that the catalog of a running indexer has taken in."""
    if not (model_dir / CATALOG_FILE).is_file():
        return 0
    with contextlib.suppress(CatalogError), Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        (count,) = catalog.db.execute("SELECT COUNT(*) FROM heard").fetchone()
        return int(count)
    return 0  # its tables are about to be created


def wait_until_some_are_embedded(model_dir: Path, process: subprocess.Popen[str], n: int) -> None:
    while n_embedded(model_dir) < n:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def assert_same(model_dir: Path, local: Path) -> None:
    """The same files, hashes, failures and rows, each once, and vectors to 1e-6."""
    contents = []
    for each in (model_dir, local):
        with Catalog(each / CATALOG_FILE, read_only=True) as catalog:
            files = catalog.db.execute("SELECT n, id, sha256 FROM files ORDER BY n").fetchall()
            rows = list(catalog.rows())
            contents.append((files, catalog.failures(), [row[:3] for row in rows], [row[3] for row in rows]))
    assert contents[0][:3] == contents[1][:3]
    found, expected = (np.frombuffer(b"".join(each[3]), "<f4") for each in contents)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_actors_and_nodes_lose_nothing_and_double_nothing(
    folder: Path, local: Path, tmp_path: Path, cluster: Cluster
) -> None:
    cluster.add_node()
    process = start(folder, tmp_path / "m", cluster)
    wait_until_some_are_embedded(tmp_path / "m", process, 2)
    os.kill(cluster.pids(r"^ray::MapWorker", 0)[0], signal.SIGKILL)
    wait_until_some_are_embedded(tmp_path / "m", process, 6)
    os.kill(*cluster.pids("raylet/raylet", 1), signal.SIGKILL)
    out, err = finish(process)
    assert (process.returncode, out[:1]) == (1, "{"), f"{out}\n{err}"  # because of the bad file
    report = json.loads(out)
    assert (report["tally"]["embedded"], report["tally"]["failed"]) == (N_FILES - 1, 1)
    assert [failure["id"] for failure in report["failures"]] == ["bad.wav"]
    assert_same(tmp_path / "m", local)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_driver_is_continued(folder: Path, local: Path, tmp_path: Path, cluster: Cluster) -> None:
    first = start(folder, tmp_path / "m", cluster)
    wait_until_some_are_embedded(tmp_path / "m", first, 2)
    first.kill()
    first.communicate()
    left = N_FILES - n_embedded(tmp_path / "m")
    assert 0 < left < N_FILES
    second = start(folder, tmp_path / "m", cluster)
    out, err = finish(second)
    assert second.returncode == 1, err
    tally = json.loads(out)["tally"]
    assert tally["embedded"] + tally["failed"] == left
    assert_same(tmp_path / "m", local)


def test_an_address_is_that_of_a_head_node() -> None:
    for wrong in ("rays", "ray://", "ray://host", "spark://host:1", "ray://host:port"):
        with pytest.raises(SettingsError, match="it must be ray, or ray://HOST:PORT"):
            ray_module.parse_address(wrong)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'boiler\[ray\]'"), ray_module.connected(None):
        pass


@pytest.mark.slow  # imports Ray
def test_no_cluster_at_an_address_is_an_error() -> None:
    with (
        pytest.raises(ClusterError, match=r"no Ray cluster at 127\.0\.0\.1:1 .*refused"),
        ray_module.connected("127.0.0.1:1"),
    ):
        pass

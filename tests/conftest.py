"""Fixtures of several test files. Sounds are synthesised (`sounds.write`); nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sounds import tone, write

from boiler.audio import worker_process

if TYPE_CHECKING:
    from postgres import PostgresServer

    # torch takes seconds to import: only for the tests that need it
    from boiler.model.vqvae import NetworkSettings

# Generating inputs can be slow on a busy machine; that is no failure of the code under test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

collect_ignore = ["fixtures"]  # scripts for older versions import names that no longer exist

LONGEST_FILES = (
    "cli/test_help_examples.py",
    "exp/test_stress.py",
    "audio/test_decoder_pool.py",
    "encoder/test_onnx_export.py",
    "browser/test_chromium.py",
    "cli/test_demo.py",
    "test_index.py",
    "search/test_locate.py",
    "indexing/test_ray.py",
    "engine/test_milvus.py",
    "store/test_generation.py",
)
"""Their slow tests take minutes. They run first, the longest before others: at the end one process would work alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(LONGEST_FILES)}
    assert all(path.is_file() for path in places)
    items.sort(key=lambda item: places.get(item.path, len(places)))


# Patched into worker processes by the fixture `hostile`: opening a sound with such a name crashes, hangs and so on.
HOSTILE = """
import os, signal, time
import boiler.audio.decode_worker as worker
def misbehave(source):
    name = '' if isinstance(source, bytes) else os.path.basename(worker.source_name(source))
    if name.startswith('crash'): os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith('killed'): os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith('exit'): os._exit(7)
    if name.startswith('hang'): time.sleep(1000)
    if name.startswith('spin'):
        while True: pass
    if name.startswith('lie'): os.write(int(__import__('sys').argv[2]), b'nonsense' * 1000); os._exit(0)
    if name.startswith('hungry'): bytearray(10**12)
def misbehave_first(read):
    def hostile(source, *more, **named):
        misbehave(source)
        return read(source, *more, **named)
    return hostile
for verb in ('open_source', 'load', 'stream'):
    setattr(worker, verb, misbehave_first(getattr(worker, verb)))
"""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes crash, hang and so on when they open a sound of a certain name."""
    begin, end = worker_process.PROGRAM.split("from importlib")
    assert begin.rstrip().endswith(";")
    monkeypatch.setattr(worker_process, "PROGRAM", f"{begin}\nexec({HOSTILE!r}); from importlib{end}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. A test takes `new_database()`, and starts the server again if it kills it."""
    from postgres import PostgresServer

    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with `esc10` and `fsdd`, named by BOILER_TEST_DATA."""
    named = os.environ.get("BOILER_TEST_DATA")
    if not named:
        pytest.skip("BOILER_TEST_DATA does not name a folder with real sounds (esc10, fsdd)")
    folder = Path(named)
    missing = [name for name in ("esc10", "fsdd") if not (folder / name).is_dir()]
    if missing:
        pytest.skip(f"BOILER_TEST_DATA has no {' and no '.join(missing)}")
    return folder


@pytest.fixture(scope="session")
def labelled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 short WAV files of 3 kinds, six each, easy to tell apart: `<kind>/<kind>-<n>.wav`. Do not write there.

    Lengths 0.4 to 1.4 s, 22.05 kHz, mono; levels and pitches vary within a kind.
    """
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(20_26)
    for n in range(6):
        seconds = float(rng.uniform(0.4, 1.4))
        level = float(rng.uniform(0.2, 0.8))
        t = np.arange(round(seconds * 22_050)) / 22_050
        kinds = {
            "whistle": tone(float(rng.uniform(1800, 2200)), seconds, 22_050),
            "hum": sum(tone(h * float(rng.uniform(95, 105)), seconds, 22_050, 0.3 / h) for h in range(1, 8)),
            "clap": rng.standard_normal(len(t)) * np.exp(-30 * (t % 0.2)) * 0.2,
        }
        for kind, sound in kinds.items():
            (folder / kind).mkdir(exist_ok=True)
            write(folder / kind / f"{kind}-{n}.wav", np.clip(level * sound, -1, 1), 22_050)
    return folder


@pytest.fixture(scope="session")
def small_network() -> NetworkSettings:
    """A network that trains in moments."""
    from boiler.model.vqvae import NetworkSettings

    return NetworkSettings(
        n_top_codes=8, n_bottom_codes=16, code_dim=8, fine_channels=8, coarse_channels=12, projection_dim=8
    )


@pytest.fixture(scope="module")
def short_fits() -> Iterator[None]:
    """Fitting `JoinedDescriptors` takes seconds: 10 steps are enough where the quality does not matter."""
    from boiler.encoder import general_descriptors, joined_descriptors

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(joined_descriptors, "STEPS", 10)
        patched.setattr(general_descriptors, "MIN_STEPS", 10)
        yield


@pytest.fixture(scope="session")
def checkpoint_path(
    labelled_folder: Path, small_network: NetworkSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A training checkpoint of a small network after a few steps on `labelled_folder`. Do not write beside it."""
    return _trained(labelled_folder, tmp_path_factory.mktemp("run"), small_network)


@pytest.fixture(scope="session")
def general_checkpoint_path(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the default network, whose trunk is the general one. Do not write beside it."""
    return _trained(labelled_folder, tmp_path_factory.mktemp("general_run"), None)


def _trained(folder: Path, save_path: Path, network: NetworkSettings | None) -> Path:
    from boiler.encoder import general_descriptors, joined_descriptors
    from boiler.train_vqvae import TrainSettings, train

    settings = TrainSettings(folder, save_path, epoch=1, steps_per_epoch=4, batch_size=8, device="cpu", network=network)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(joined_descriptors, "STEPS", 10)
        patched.setattr(general_descriptors, "MIN_STEPS", 10)
        return train(settings)

"""A folder of ten sounds, its catalog, and samples of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sounds import tone, write

from boiler.audio import stream
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import DEFAULT_WINDOWS
from boiler.catalog import diff, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.folder import LocalFolder
from boiler.indexing import embed as embed_module
from boiler.indexing.fit_sample import FitSample


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for n in range(10):
        write(tmp_path / "sounds" / f"{n}.wav", tone(150 * (n + 1), 0.5 + n, 8_000), 8_000)
    return tmp_path / "sounds"


@pytest.fixture
def store(root: Path, tmp_path: Path):
    with Catalog(tmp_path / CATALOG_FILE) as store:
        unreadable = scan.Unreadable()
        found = scan.walk(root, stream.SUFFIXES, unreadable=unreadable)
        changes = diff.compare(store, found, unreadable, embed_module.file_hashes(LocalFolder(root), root))
        diff.apply(store, changes, lambda id: None, "now")
        yield store


@pytest.fixture(scope="module")
def decoders():
    with Decoders(workers=1) as decoders:
        yield decoders


Sample = Callable[..., FitSample]


@pytest.fixture
def sample(store: Catalog, root: Path, decoders: Decoders) -> Iterator[Sample]:
    with contextlib.ExitStack() as opened:

        def draw(seed: int = 0, n_windows: int = 1000) -> FitSample:
            spec = DEFAULT_WINDOWS
            folder = LocalFolder(root)
            return opened.enter_context(
                FitSample(store, folder, decoders, spec=spec, batch_size=4, n_windows=n_windows, seed=seed)
            )

        yield draw

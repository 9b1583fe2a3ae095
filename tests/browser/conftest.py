"""Fixtures of the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import collection, new_page
from streamlit import config
from streamlit.testing.v1 import AppTest

from boiler.browser import indexes, options
from boiler.browser.indexes import OpenIndex


@pytest.fixture
def index() -> OpenIndex:
    """The index of `browsing.collection`; not to be written to."""
    return indexes.open_index(collection()[1])


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The browser, started with that index."""
    monkeypatch.setenv(options.MODEL_DIR, str(collection()[1]))
    monkeypatch.delenv(options.WAV_DIR, raising=False)
    return new_page()


@pytest.fixture
def writable_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenIndex:
    """A copy of that index which may be written to, and the browser started with it."""
    shutil.copytree(collection()[1], tmp_path / "own", symlinks=True)
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "own"))
    monkeypatch.setenv(options.WAV_DIR, str(collection()[0]))
    return indexes.open_index(tmp_path / "own", collection()[0])


@pytest.fixture
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A working directory without any index, and the browser started with none."""
    monkeypatch.delenv(options.MODEL_DIR, raising=False)
    monkeypatch.delenv(options.WAV_DIR, raising=False)
    monkeypatch.chdir(tmp_path)
    before = config.get_option("server.address")
    config.set_option("server.address", "127.0.0.1")
    yield tmp_path
    config.set_option("server.address", before)

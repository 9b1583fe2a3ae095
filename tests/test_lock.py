"""One writer at a time; the lock ends with its holder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boiler import files
from boiler.errors import CatalogError


def test_a_second_writer_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    with files.lock_for_writing(tmp_path / "m"):
        with (
            pytest.raises(CatalogError, match=f"process {os.getpid()}, at work since"),
            files.lock_for_writing(tmp_path / "m"),
        ):
            pass
        with files.lock_for_writing(tmp_path / "other"):
            pass
    with files.lock_for_writing(tmp_path / "m"):
        pass


def test_an_error_inside_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.lock_for_writing(tmp_path):
        raise RuntimeError
    with files.lock_for_writing(tmp_path):
        pass

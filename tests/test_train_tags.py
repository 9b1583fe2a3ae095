"""`python -m boiler.train_tags`: from TFRecord files or an index to one model file, with a report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import browsing
import numpy as np
import pytest
from generations import publish
from tags import skewed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boiler import cli, train_tags
from boiler.store import generation
from boiler.tagging.model import TagModel
from boiler.tagging.tfrecord import encode_example, write_records
from boiler.tagging.vocabulary import Vocabulary

DIM, N_TAGS = 6, 5


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 examples in two files, and their vocabulary."""
    folder = tmp_path_factory.mktemp("records")
    source = skewed(600, DIM, N_TAGS, seed=0)
    encoded = [
        encode_example({"id": [one.id.encode()], "labels": one.labels, "x": one.features}) for one in source.examples()
    ]
    write_records(folder / "a.tfrecord", encoded[:300])
    write_records(folder / "b.tfrecord", encoded[300:])
    Vocabulary(tuple("abcde")).write(folder / "vocabulary.csv")
    return folder


def arguments(records: Path, save_path: Path, *more: str) -> list[str]:
    source = ["--tfrecord", str(records / "*.tfrecord"), "--vocabulary", str(records / "vocabulary.csv")]
    return [*source, "--features", f"x:{DIM}", "--save_path", str(save_path), "--batch_size", "64", *more]


def test_records_become_a_model_with_a_report(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tags.main(arguments(records, tmp_path, "--epoch", "6")) == 0
    model = TagModel.load(tmp_path / "tags.safetensors")
    assert model.tags == tuple("abcde")
    assert model.features == ("x:6",)
    assert model.encoder_sha256 == ""
    assert model.settings is not None
    assert model.settings["epoch"] == 6
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["test"]["hit_at_1"] > 0.5
    n_held = report["test"]["n_examples"]
    assert 400 < report["train_examples"] < 560
    assert 30 < n_held < 100
    assert (tmp_path / "reliability.png").stat().st_size > 1_000
    assert "hit_at_1" in capsys.readouterr().out
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("tags/tune_loss")] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.glob("tags_*.pt")) == ["tags_005.pt", "tags_006.pt"]
    assert train_tags.main(arguments(records, tmp_path)) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_damaged_records_are_named_counted_and_exit_1(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = tmp_path / "hostile.tfrecord"
    good = encode_example({"id": [b"z"], "labels": np.array([1]), "x": np.zeros(DIM, np.float32)})
    wrong = encode_example({"id": [b"y"], "labels": np.array([1.5]), "x": np.zeros(DIM, np.float32)})
    write_records(hostile, [good, wrong, good])
    hostile.write_bytes(hostile.read_bytes()[:-2])
    assert train_tags.main(arguments(records, tmp_path / "run", "--epoch", "2", "--tfrecord", str(hostile))) == 1
    said = capsys.readouterr().err
    assert "hostile.tfrecord: record 1 at byte" in said
    assert "labels are not a list of int64" in said
    assert "hostile.tfrecord: record 2 at byte" in said
    assert said.count("hostile.tfrecord: record") == 2
    assert "2 damaged records were left out" in said
    assert json.loads((tmp_path / "run" / "report.json").read_text())["damaged_records"] == 2


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_model(records: Path, tmp_path: Path) -> None:
    settings = ["--epoch", "60", "--patience", "99"]
    assert train_tags.main(arguments(records, tmp_path / "whole", *settings)) == 0
    command = [sys.executable, "-m", "boiler.train_tags", *arguments(records, tmp_path / "part", *settings)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list((tmp_path / "part").glob("tags_*.pt")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    last = sorted((tmp_path / "part").glob("tags_*.pt"))[-1]
    assert f"--load_path {last}" in said
    assert train_tags.main(arguments(records, tmp_path / "part", *settings, "--load_path", str(last))) == 0
    whole, part = (TagModel.load(tmp_path / name / "tags.safetensors") for name in ("whole", "part"))
    assert np.array_equal(whole.weights["weight"], part.weights["weight"])
    assert np.array_equal(whole.thresholds, part.thresholds)


@pytest.mark.slow
def test_the_labels_of_an_index_are_learned(tmp_path: Path) -> None:
    few = ["--epoch", "3"]
    opened = publish(tmp_path / "model", n_items=60)
    assert train_tags.main(["--model_dir", str(tmp_path / "model"), "--save_path", str(tmp_path / "run"), *few]) == 0
    model = TagModel.load(tmp_path / "run" / "tags.safetensors")
    assert model.tags == ("kind0", "kind1", "kind2")
    assert model.encoder_sha256 == opened.header.encoder_sha256
    assert model.dim == opened.header.dim
    (tmp_path / "labels.csv").write_text(
        "id,labels\n" + "".join(f"{item.id},{'x;y' if item.n % 2 else 'y'}\n" for item in items_of(tmp_path / "model"))
    )
    again = ["--labels", str(tmp_path / "labels.csv"), "--save_path", str(tmp_path / "two")]
    assert train_tags.main(["--model_dir", str(tmp_path / "model"), *again, *few]) == 0
    assert TagModel.load(tmp_path / "two" / "tags.safetensors").tags == ("x", "y")


@pytest.mark.slow
def test_a_model_of_exported_vectors_is_bound_to_their_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_dir = browsing.collection()[1]
    assert cli.main(["export", str(model_dir), "--tfrecord", str(tmp_path / "v.tfrecord")]) == 0
    header = generation.open(model_dir).header
    source = ["--tfrecord", str(tmp_path / "v.tfrecord"), "--vocabulary", str(tmp_path / "v.csv")]
    common = [*source, "--encoder_of", str(model_dir), "--save_path", str(tmp_path / "run"), "--epoch", "1"]
    assert train_tags.main([*common, "--features", f"embedding:{header.dim}"]) == 0
    model = TagModel.load(tmp_path / "run" / "tags.safetensors")
    model.check_encoder(header.encoder_sha256, "the index")
    (tmp_path / "other").mkdir()
    other = [*source, "--encoder_of", str(model_dir), "--save_path", str(tmp_path / "other")]
    assert train_tags.main([*other, "--features", "embedding:7"]) == 2
    assert f"give --features embedding:{header.dim}" in capsys.readouterr().err


def items_of(model_dir: Path) -> list[generation.Item]:
    with generation.open(model_dir).items() as database:
        return list(database.items())


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--features", "x"], "does not state a feature"),
        (["--tfrecord", "/nowhere/*"], "no file matches"),
        (["--held_share", "2"], "--held_share is 2"),
        (["--load_path", "none.pt"], "none.pt: no such file"),
    ],
)
def test_wrong_arguments_are_refused(
    records: Path, tmp_path: Path, more: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tags.main(arguments(records, tmp_path / "run", *more)) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

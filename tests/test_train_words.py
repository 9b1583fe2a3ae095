"""`python -m boiler.train_words`: from labelled sounds to a search in words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sentence_files import write_sentence_model

from boiler import cli, train_words
from boiler.crossmodal.common_space import WordSpace

FEW = ["--steps", "40", "--steps_per_checkpoint", "20", "--lr", "0.01"]


@pytest.fixture(scope="module")
def run(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training on the folder writes, its index included. Do not write there."""
    save_path = tmp_path_factory.mktemp("words") / "run"
    source = ["--wav_dir", str(labelled_folder), "--encoder", "MFCCStats", "--labels", "folder"]
    assert train_words.main([*source, "--save_path", str(save_path), *FEW]) == 0
    return save_path


def search(run: Path, words: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[list[dict], str]:
    capsys.readouterr()
    model = ["--words_model", str(run / "words.safetensors"), "--json"]
    assert cli.main(["search", str(run / "index"), words, "-k", "6", *model, *more]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_labels_and_words_near_them_find_sounds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, said = search(run, "whistle", capsys)
    assert {one["label"] for one in found} == {"whistle"}
    assert "words: whistle (sounds of: whistle" in said
    assert found[0]["words"][0]["name"] == "whistle"
    assert found[0]["similarity"] > found[-1]["similarity"]
    near, _ = search(run, "whistles", capsys)  # no label has this word
    assert {one["label"] for one in near} == {"whistle"}


def test_words_with_a_minus_filters_and_sounds_combine(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away, _ = search(run, "hum -clap", capsys)
    assert away[0]["label"] == "hum"
    filtered, _ = search(run, "whistle", capsys, "--where", "label != 'whistle'")
    assert "whistle" not in {one["label"] for one in filtered}
    mixed, _ = search(run, "clap", capsys, "--less", "whistle/whistle-0.wav")
    assert "whistle" not in {one["label"] for one in mixed}


def test_an_index_of_another_encoder_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = WordSpace.load(run / "words.safetensors")
    WordSpace(space.weights, "abc", space.labels).save(tmp_path / "other.safetensors")
    command = ["search", str(run / "index"), "hum", "--words_model"]
    assert cli.main([*command, str(tmp_path / "other.safetensors")]) == 2
    assert f"python -m boiler.train_words --model_dir {run / 'index'}" in capsys.readouterr().err
    assert cli.main([*command, str(tmp_path / "none.safetensors")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_labels_are_of_files_or_of_a_table(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ["--model_dir", str(run / "index"), *FEW]
    assert train_words.main([*source, "--labels", "filename", "--save_path", str(tmp_path / "one")]) == 0
    labels = WordSpace.load(tmp_path / "one" / "words.safetensors").labels
    assert {"whistle-0", "hum-5"} <= {*labels}
    table = tmp_path / "labels.csv"
    table.write_text(
        "id,labels\nwhistle/whistle-0.wav,kettle;steam\nhum/hum-0.wav,engine\nclap/clap-0.wav,x17;y18\n", "utf-8"
    )
    assert train_words.main([*source, "--labels", str(table), "--save_path", str(tmp_path / "two")]) == 0
    assert WordSpace.load(tmp_path / "two" / "words.safetensors").labels == ("engine", "kettle", "steam")
    assert "labels without a known English word were left out: x17, y18" in capsys.readouterr().err
    assert train_words.main([*source, "--labels", "none.csv", "--save_path", str(tmp_path / "three")]) == 2
    assert train_words.main([*source, "--labels", "filename", "--save_path", str(tmp_path / "one")]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model_dir", "m", "--audio", "cnn"], "give --wav_dir"),
        (["--wav_dir", "w", "--audio", "cnn", "--encoder", "MFCCStats"], "leave out --encoder"),
        (["--wav_dir", "w", "--audio", "cnn", "--pt_path", "a.pt"], "leave out --encoder"),
        (["--wav_dir", "w", "--sentence_model", "s"], "is of --words sentences"),
        (["--wav_dir", "w", "--words", "sentences", "--sentence_model", "s"], "s: no such directory"),
        (["--model_dir", "m", "--encoder", "MFCCStats"], "has its own encoder"),
    ],
)
def test_flags_without_effect_and_missing_models_are_refused_first(
    flags: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_words.main([*flags, "--labels", "folder", "--save_path", str(tmp_path / "run")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_labels_and_queries_may_be_sentences(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sentence_model(tmp_path / "model")
    source = ["--model_dir", str(run / "index"), "--labels", "folder", "--save_path", str(tmp_path / "run"), *FEW]
    assert train_words.main([*source, "--words", "sentences", "--sentence_model", str(folder)]) == 0
    assert f"--sentence_model {folder}" in capsys.readouterr().err
    command = ["search", str(run / "index"), "qwrtz whistle", "-k", "6", "--json"]
    command += ["--words_model", str(tmp_path / "run" / "words.safetensors")]
    assert cli.main([*command, "--sentence_model", str(folder)]) == 0
    said = capsys.readouterr().err
    assert "words: qwrtz, whistle (sounds of:" in said  # no word is unknown
    assert cli.main([*command, "--sentence_model", str(tmp_path / "none")]) == 2
    assert "no such directory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_over_spectrograms_is_an_encoder_to_search_with(
    labelled_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--labels", "folder", "--save_path", str(tmp_path), "--audio", "cnn"]
    few = ["--steps", "30", "--batch_size", "15", "--lr", "0.01"]
    assert train_words.main([*source, *few, "--wav_dir", str(labelled_folder)]) == 0
    found, _ = search(tmp_path, "whistle", capsys)
    assert {one["label"] for one in found} == {"whistle"}
    near, _ = search(tmp_path, "hum", capsys)
    assert near[0]["label"] == "hum"
    assert not [*tmp_path.glob("*.f16")]  # gigabytes, of many sounds


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_continues_to_the_same_model(run: Path, tmp_path: Path, number: signal.Signals) -> None:
    source = ["--model_dir", str(run / "index"), "--labels", "folder", "--steps_per_checkpoint", "50"]
    first = [*source, "--steps", "600", "--loss", "triplet"]
    assert train_words.main([*first, "--save_path", str(tmp_path / "whole")]) == 0
    part = tmp_path / "part"
    command = [sys.executable, "-m", "boiler.train_words", *first, "--save_path", str(part)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(part.glob("words_*.pt")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    last = sorted(part.glob("words_*.pt"))[-1]
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert f"--load_path {last}" in said
    else:
        assert process.returncode == -signal.SIGKILL
    assert train_words.main([*source, "--save_path", str(part), "--load_path", str(last)]) == 0  # its own settings
    whole, continued = (WordSpace.load(folder / "words.safetensors") for folder in (tmp_path / "whole", part))
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(weight, continued.weights[name])

"""Checkpoints and scripts are read as they were saved, invalid files are refused, and scripts run without boiler."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from boiler import encoder
from boiler.errors import CheckpointError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.mel import LogMel, MelSettings


def contents() -> Checkpoint:
    return Checkpoint(
        network={"n_top_codes": 4},
        mel=asdict(MelSettings()),
        weights={"a": torch.arange(3.0)},
        learned={"pooled.mean": torch.ones(2), "pooled.matrix": torch.eye(2), "other.mean": torch.zeros(1)},
        epoch=3,
        step=17,
        seed=5,
        settings={"lr": 1e-3, "load_path": None},
        optimizer={"state": {0: {"exp_avg": torch.ones(3)}}},
        elapsed_s=1.5,
        metrics={"reconstruction": 0.5},
    )


def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "vqvae_003.pt"
    checkpoint.save(contents(), path)
    again = checkpoint.load(path)
    assert torch.equal(again.weights["a"], torch.arange(3.0))
    assert torch.equal(again.optimizer["state"][0]["exp_avg"], torch.ones(3))
    for name in ("network", "mel", "epoch", "step", "seed", "settings", "elapsed_s", "metrics"):
        assert getattr(again, name) == getattr(contents(), name)
    assert [each.name for each in tmp_path.iterdir()] == ["vqvae_003.pt"]


def test_learned_tensors_are_found_by_name() -> None:
    assert set(contents().learned_by("pooled")) == {"mean", "matrix"}
    with pytest.raises(CheckpointError, match="nothing fitted by 'poole'"):
        contents().learned_by("poole")


def test_a_checkpoint_of_format_1_is_read_under_the_new_names(tmp_path: Path) -> None:
    plain = {
        name: value for name, value in vars(contents()).items() if name not in ("optimizer", "elapsed_s", "metrics")
    }
    network = {"top_words": 4, "word_length": 3, "low_channels": 2, "contrast_length": 5, "bottom_drop": 0.5}
    old = plain | {
        "format": checkpoint.FORMAT,
        "format_version": 1,
        "boiler_version": "0.1",
        "network": network,
        "weights": {"draw.0.weight": torch.zeros(1), "trunk.row": torch.ones(1)},
        "settings": {"lr": 1e-3, "network": network},
        "optimiser": {"state": {}},
        "scheduler": {"spent_s": 2.5, "last_step": 9},
        "measured": {"total": 1.0},
    }
    torch.save(old, tmp_path / "vqvae_001.pt")
    found = checkpoint.load(tmp_path / "vqvae_001.pt")
    new = {"n_top_codes": 4, "code_dim": 3, "fine_channels": 2, "projection_dim": 5, "bottom_dropout": 0.5}
    assert found.network == found.settings["network"] == new
    assert set(found.weights) == {"decoder.0.weight", "trunk.row"}
    assert (found.optimizer, found.elapsed_s, found.metrics) == ({"state": {}}, 2.5, {"total": 1.0})


def write_nothing(path: Path) -> None:
    path.touch()


def write_text(path: Path) -> None:
    path.write_text("hello")


def write_other(path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, path)


def write_code(path: Path) -> None:
    torch.save(Path, path)


def write_newer(path: Path) -> None:
    checkpoint.save(contents(), path)
    data = torch.load(path, weights_only=True)
    torch.save(data | {"format_version": 99}, path)


def write_incomplete(path: Path) -> None:
    checkpoint.save(contents(), path)
    data = torch.load(path, weights_only=True)
    del data["mel"]
    torch.save(data, path)


def write_cut(path: Path) -> None:
    checkpoint.save(contents(), path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "write",
    [write_nothing, write_text, write_other, write_code, write_newer, write_incomplete, write_cut],
    ids=lambda write: write.__name__,
)
def test_an_invalid_checkpoint_is_refused_by_name(tmp_path: Path, write) -> None:
    path = tmp_path / "vqvae_001.pt"
    write(path)
    with pytest.raises(CheckpointError, match=r"vqvae_001\.pt"):
        checkpoint.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load_script(tmp_path / "encoder.pt")


def test_a_script_is_loaded_with_its_header(tmp_path: Path) -> None:
    mel = LogMel(MelSettings()).eval()
    path = tmp_path / "encoder.pt"
    checkpoint.save_script(mel, path, {"encoder": "Mel", "dim": 80, "name": "Käfer"})
    again, header = checkpoint.load_script(path)
    assert header == {"encoder": "Mel", "dim": 80, "name": "Käfer"}
    sound = torch.randn(2, 1, 2**14, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(sound), mel(sound))


SAVE = """
import sys
from pathlib import Path
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.model import checkpoint
checkpoint.save_script(MFCCStats().saved_module(), Path(sys.argv[1]), {"encoder": "MFCCStats", "dim": 80})
"""


@pytest.mark.slow
def test_the_same_encoder_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.pt" for seed in (1, 2)]
    processes = [
        subprocess.Popen([sys.executable, "-c", SAVE, path], env={**os.environ, "PYTHONHASHSEED": path.stem})
        for path in paths
    ]
    assert [process.wait(240) for process in processes] == [0, 0]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
    assert code.count(b" : Final[") > 1  # what differs without care is in it


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"encoder\.pt"):
        checkpoint.load_script(path)


def test_a_script_without_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.jit.save(torch.jit.script(LogMel(MelSettings())), str(path))
    with pytest.raises(CheckpointError, match="no boiler header"):
        checkpoint.load_script(path)


def test_a_script_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    for dim in (1, 2):
        checkpoint.save_script(LogMel(MelSettings()), path, {"dim": dim})
        assert checkpoint.load_script(path)[1] == {"dim": dim}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_script_loads_where_boiler_cannot_be_imported(tmp_path: Path) -> None:
    checkpoint.save_script(LogMel(MelSettings()), tmp_path / "encoder.pt", {"dim": 80})
    torch.save(LogMel(MelSettings())(torch.ones(1, 1, 2**14)), tmp_path / "expected.pt")
    code = """
import sys, torch
sys.modules["boiler"] = None  # an import of it fails
module = torch.jit.load("encoder.pt")
assert torch.equal(module(torch.ones(1, 1, 2**14)), torch.load("expected.pt", weights_only=True))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr if done.returncode else "") == (0, "")


class RunsCode:
    """Its pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["archive", "old archive", "pickle"])
def test_a_checkpoint_whose_pickle_runs_code_is_refused_and_runs_none(form: str, tmp_path: Path) -> None:
    path, made = tmp_path / "vqvae_001.pt", tmp_path / "made"
    if form == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(made)))
    else:
        torch.save({"weights": RunsCode(made)}, path, _use_new_zipfile_serialization=form == "archive")
    for open_it in (checkpoint.load, lambda path: encoder.create("BagTopVQVAE", path)):
        with pytest.raises(CheckpointError):
            open_it(path)
        assert not made.exists()
    with suppress(Exception):  # it is a checkpoint that would have
        torch.load(path, weights_only=False)
    assert made.exists()


def test_an_invalid_checkpoint_is_refused_without_advice_to_unpickle_it(tmp_path: Path) -> None:
    (tmp_path / "note.pt").write_text("this is no checkpoint")
    with pytest.raises(CheckpointError, match="not a checkpoint, or damaged") as refused:
        checkpoint.load(tmp_path / "note.pt")
    assert "weights_only" not in str(refused.value)

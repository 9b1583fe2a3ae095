"""AISFX: the network written anew gives what that of the package gives, and its weights are taken out of the wheel."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from boiler.cli import main
from boiler.encoder import aisfx, published
from boiler.encoder.aisfx import AISFXEncoder, AISFXMel, AISFXNetwork
from boiler.errors import CheckpointError
from boiler.files import sha256_of


def unfolded() -> dict[str, Tensor]:
    """Random weights under the names of the package's checkpoint."""
    random = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {"projection.weight": torch.zeros(3)}
    for n, (before, after) in enumerate(aisfx.CONVOLUTIONS):
        block, layer = f"embedding_net.conv_block{n // 2 + 1}", n % 2 + 1
        found[f"{block}.conv{layer}.weight"] = torch.randn(after, before, 3, 3, generator=random) / (3 * before**0.5)
        for name in ("running_mean", "bias"):
            found[f"{block}.bn{layer}.{name}"] = 0.1 * torch.randn(after, generator=random)
        for name in ("running_var", "weight"):
            found[f"{block}.bn{layer}.{name}"] = 0.5 + torch.rand(after, generator=random)
    return found


def plain(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network as its authors describe it: normalised after each convolution, halved after three blocks."""
    x = x[:, None]
    for block in range(1, 5):
        for layer in (1, 2):
            at = f"embedding_net.conv_block{block}"
            x = functional.conv2d(x, weights[f"{at}.conv{layer}.weight"], padding=1)
            norm = [weights[f"{at}.bn{layer}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
            x = functional.relu(functional.batch_norm(x, *norm))
        if block < 4:
            x = functional.max_pool2d(x, 2)
    return x.mean(dim=3).amax(dim=2)


def test_folded_weights_give_what_the_normalised_network_gives() -> None:
    weights, network = unfolded(), AISFXNetwork().eval()
    network.load(aisfx.folded(weights))
    x = torch.rand(2, aisfx.BLOCK_FRAMES, aisfx.N_MELS, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x), plain(weights, x), atol=1e-4, rtol=1e-4)


def test_the_bands_are_of_unit_sum_and_the_loudest_is_at_the_top_of_the_range() -> None:
    mel = AISFXMel()
    torch.testing.assert_close(mel.spectrogram.mel_scale.fb.sum(dim=0), torch.ones(aisfx.N_MELS))
    seconds = torch.arange(44_100) / 44_100
    found = mel(torch.sin(2 * torch.pi * 5_000 * seconds))
    assert found.shape == (44, aisfx.N_MELS)
    assert 0.8 < float(found.max()) <= 1.0
    torch.testing.assert_close(
        mel(torch.sin(2 * torch.pi * 5_000 * seconds) + 0.5)[3:-3], found[3:-3], atol=1e-3, rtol=0
    )


def test_blocks_begin_and_end_with_the_clip() -> None:
    for frames, n in ((1, 1), (99, 1), (100, 1), (149, 1), (150, 2), (215, 2), (256, 3)):
        ramp = torch.arange(frames, dtype=torch.float32)[:, None] + 1
        found = aisfx.blocks(ramp)
        assert found.shape == (n, 100, 1)
        assert float(found[0, 0]) == 1
        assert n == 1 or float(found[-1, -1]) == frames
        assert frames >= 100 or float(found[0, frames:].abs().sum()) == 0


def test_blocks_of_silence_behind_a_sound_do_not_count() -> None:
    sound = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    found = aisfx.blocks(AISFXMel()(torch.cat([sound, torch.zeros(200_000)])))
    assert len(found) == 2
    torch.testing.assert_close(aisfx.audible_blocks(found), found[:1])
    assert len(aisfx.audible_blocks(torch.zeros(3, 100, 96))) == 3
    quiet = aisfx.blocks(AISFXMel()(torch.cat([sound, torch.zeros(180_000), 0.03 * sound])))
    assert len(aisfx.audible_blocks(quiet)) == 2


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel as the package is published: its checkpoint also holds a NumPy number."""
    path = tmp_path_factory.mktemp("wheel") / "aisfx-0.1.2-py2.py3-none-any.whl"
    buffer = io.BytesIO()
    torch.save((unfolded(), np.int64(7)), buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("aisfx/models/checkpoint.pth", buffer.getvalue())
    return path


@pytest.fixture
def pinned(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That wheel is the one that boiler knows."""
    known = replace(published.PUBLISHED["aisfx"], sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setitem(published.PUBLISHED, "aisfx", known)


@pytest.mark.usefixtures("pinned")
def test_add_writes_weights_that_the_encoder_takes(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["encoders", "add", "aisfx", "--wheel", str(wheel)]) == 0
    path = tmp_path / "boiler/encoders/aisfx.safetensors"
    said = capsys.readouterr().out
    assert str(path) in said
    assert "CC BY 4.0" in said
    made = AISFXEncoder(path)
    block = torch.rand(1, aisfx.BLOCK_FRAMES, aisfx.N_MELS, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(made.network(block), plain(unfolded(), block), atol=1e-4, rtol=1e-4)
    assert AISFXEncoder.sha256_of(path) == sha256_of(path)


def test_another_wheel_is_refused(wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "add", "aisfx", "--wheel", str(wheel), "--to", str(tmp_path / "to")]) == 2
    assert "is not aisfx 0.1.2 as it was published" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


class Dangerous:
    def __reduce__(self) -> Any:
        return print, ("code of the checkpoint was run",)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, buffer = tmp_path / "bad.whl", io.BytesIO()
    torch.save((Dangerous(), 0), buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("aisfx/models/checkpoint.pth", buffer.getvalue())
    known = replace(published.PUBLISHED["aisfx"], sha256=sha256_of(path))
    with pytest.raises(CheckpointError, match="cannot be read"):
        published.read_tensors(known, path)
    assert "code of the checkpoint" not in capsys.readouterr().out


def test_a_download_that_fails_says_why_and_what_else_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip finds no index: nothing is sent
    with pytest.raises(CheckpointError, match=r"aisfx==0\.1\.2 cannot be fetched: .*--wheel FILE"):
        published.download(published.PUBLISHED["aisfx"], tmp_path)


def test_the_list_names_every_encoder_and_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    said = capsys.readouterr().out
    assert "MFCCStats" in said
    assert "boiler encoders add aisfx" in said
    assert main(["encoders", "add", "yamnet"]) == 2
    assert main(["encoders", "add"]) == 2

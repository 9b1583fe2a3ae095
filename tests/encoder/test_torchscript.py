"""TorchScript models as encoders: run only with a matching hash, with inputs of the shape that they accept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from boiler import encoder, files
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint

T = 400


class Flat(nn.Module):
    """[N, T] to [N, 3]; another number of axes is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(T, 3)

    def forward(self, samples: Tensor) -> Tensor:
        assert samples.dim() == 2
        out: Tensor = self.linear(samples)
        return out


class Framed(nn.Module):
    """[N, 1, T] to [N, F, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 50, 50)

    def forward(self, samples: Tensor) -> Tensor:
        out: Tensor = self.conv(samples).transpose(1, 2)
        return out


def saved(module: nn.Module, path: Path) -> tuple[Path, str]:
    torch.jit.save(torch.jit.script(module), str(path))
    return path, files.sha256_of(path)


def windows() -> Tensor:
    return torch.randn(3, 1, T, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("module", [Flat(), Framed()])
def test_the_input_has_the_shape_that_the_model_accepts(tmp_path: Path, module: nn.Module) -> None:
    path, sha256 = saved(module, tmp_path / "a.pt")
    made = encoder.create("TorchScriptEncoder", path, sha256=sha256, sample_rate_hz=4_000, window_s=0.1)
    with torch.no_grad():
        by_hand = module(windows()[:, 0]) if isinstance(module, Flat) else module(windows()).mean(dim=1)
    assert torch.allclose(made(windows()), nn.functional.normalize(by_hand, dim=1), atol=1e-6)
    assert (made.dim, made.sample_rate_hz, made.window_samples) == (by_hand.shape[1], 4_000, T)
    checkpoint.save_script(made.saved_module(), tmp_path / "encoder.pt", {"encoder": "TorchScriptEncoder"})
    again = EncoderRuntime.load(tmp_path / "encoder.pt").embed(windows()[:, 0].numpy())
    assert torch.allclose(torch.from_numpy(again), made(windows()), atol=1e-6)


def test_a_file_is_not_run_without_a_matching_hash(tmp_path: Path) -> None:
    path, sha256 = saved(Flat(), tmp_path / "a.pt")
    with pytest.raises(SettingsError, match="sha256"):
        encoder.create("TorchScriptEncoder", path, sample_rate_hz=4_000, window_s=0.1)
    with pytest.raises(CheckpointError, match="not run"):
        encoder.create("TorchScriptEncoder", path, sha256="0" * 64, sample_rate_hz=4_000, window_s=0.1)
    made = encoder.create("TorchScriptEncoder", path, sha256=sha256.upper(), sample_rate_hz=4_000, window_s=0.1)
    assert made.dim == 3


def test_a_file_written_by_boiler_states_its_rate_and_window(tmp_path: Path) -> None:
    header = {"encoder": "x", "sample_rate_hz": 4_000, "window_samples": T}
    checkpoint.save_script(Flat(), tmp_path / "encoder.pt", header)
    sha256 = files.sha256_of(tmp_path / "encoder.pt")
    spec = encoder.find_encoder("TorchScriptEncoder").window_spec(tmp_path / "encoder.pt", sha256=sha256)
    assert (spec.sample_rate_hz, spec.window_samples) == (4_000, T)


def test_a_model_without_vectors_is_refused(tmp_path: Path) -> None:
    path, sha256 = saved(nn.Flatten(0), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"returns no vectors .*800"):
        encoder.create("TorchScriptEncoder", path, sha256=sha256, sample_rate_hz=4_000, window_s=0.1)
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(CheckpointError, match="not TorchScript"):
        encoder.create("TorchScriptEncoder", tmp_path / "text.pt", sha256=files.sha256_of(tmp_path / "text.pt"))
    with pytest.raises(CheckpointError, match="no such file"):
        encoder.create("TorchScriptEncoder", tmp_path / "missing.pt", sha256=sha256)

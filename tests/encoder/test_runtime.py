"""`EncoderRuntime`: arrays in and out, in batches and threads, from files of this version and of 0.1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boiler.audio.windows import WindowSpec
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError
from boiler.model import checkpoint


class Spectrum(nn.Module):
    """A bag of 4 codes: the energy shares of four bands."""

    def forward(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).mean(dim=2).sqrt()

    @torch.jit.export
    def activations(self, waveform: Tensor) -> Tensor:
        power = torch.fft.rfft(waveform.reshape(len(waveform), 8, -1)).abs().square()[:, :, 1:]
        bands = power.reshape(len(waveform), 8, 4, -1).sum(dim=3)
        return (bands / bands.sum(dim=2, keepdim=True)).transpose(1, 2)

    @torch.jit.export
    def codes(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).argmax(dim=1)


class OldSpectrum(nn.Module):
    """The same, under the name that version 0.1 exported."""

    def forward(self, waveform: Tensor) -> Tensor:
        return self.presence(waveform).mean(dim=2).sqrt()

    @torch.jit.export
    def presence(self, waveform: Tensor) -> Tensor:
        power = torch.fft.rfft(waveform.reshape(len(waveform), 8, -1)).abs().square()[:, :, 1:]
        bands = power.reshape(len(waveform), 8, 4, -1).sum(dim=3)
        return (bands / bands.sum(dim=2, keepdim=True)).transpose(1, 2)


class Plain(nn.Module):
    def forward(self, waveform: Tensor) -> Tensor:
        return waveform[:, 0, :4]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., EncoderRuntime]:
    def load(module: nn.Module, **header: object) -> EncoderRuntime:
        checkpoint.save_script(module, tmp_path / "encoder.pt", {"encoder": "X", **header})
        return EncoderRuntime.load(tmp_path / "encoder.pt")

    return load


@pytest.fixture
def windows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 1024)).astype(np.float32)


def test_it_returns_the_output_of_the_module(load: Callable[..., EncoderRuntime], windows: np.ndarray) -> None:
    runtime, module, waveform = load(Spectrum()), Spectrum(), torch.from_numpy(windows)[:, None]
    np.testing.assert_allclose(runtime.embed(windows), module(waveform), rtol=1e-5)
    np.testing.assert_allclose(runtime.activations(windows), module.activations(waveform), rtol=1e-5)
    codes = runtime.codes(windows)
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(codes, module.codes(waveform))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_parallel_embedding_is_bit_identical(load: Callable[..., EncoderRuntime], windows: np.ndarray, n: int) -> None:
    runtime, before = load(Spectrum()), torch.get_num_threads()
    with runtime.parallel_embed() as embed:
        np.testing.assert_array_equal(embed(windows[:n]), runtime.embed(windows[:n]))
    assert torch.get_num_threads() == before


def test_a_file_of_version_0_1_has_activations(load: Callable[..., EncoderRuntime], windows: np.ndarray) -> None:
    old, new = load(OldSpectrum()), EncoderRuntime(Spectrum())
    assert old.has_activations
    assert not old.has_codes
    np.testing.assert_allclose(old.activations(windows), new.activations(windows), rtol=1e-5)


def test_an_encoder_without_codes_raises(load: Callable[..., EncoderRuntime], windows: np.ndarray) -> None:
    plain = load(Plain())
    assert not plain.has_activations
    with pytest.raises(AttributeError, match="X has no activations"):
        plain.activations(windows)
    with pytest.raises(AttributeError, match="X has no codes"):
        plain.codes(windows)


def test_the_windows_are_those_of_the_header_or_the_defaults(load: Callable[..., EncoderRuntime]) -> None:
    assert load(Plain()).window_spec == WindowSpec()
    stated = load(Plain(), sample_rate_hz=48_000, window_samples=48_000, hop_s=0.25)
    assert stated.window_spec == WindowSpec(48_000, 48_000, 0.25)
    # Version 0.1 wrote no hop.
    assert load(Plain(), sample_rate_hz=16_000, window_samples=2**17).window_spec == WindowSpec()


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.pt").write_bytes(b"no encoder")
    with pytest.raises(CheckpointError):
        EncoderRuntime.load(tmp_path / "encoder.pt")


class Noting(nn.Module):
    """Notes the size of each batch, and whether cuDNN may use TF32 meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, bool]] = []

    def forward(self, waveform: Tensor) -> Tensor:
        self.noted.append((len(waveform), torch.backends.cudnn.allow_tf32))
        return waveform[:, 0, :4]


def test_another_device_gets_whole_batches_without_tf32_and_a_cpu_small_ones_as_it_is(windows: np.ndarray) -> None:
    assert torch.backends.cudnn.allow_tf32  # the default, which is not changed for good
    for device, noted in (("cpu:0", [(7, False)]), ("cpu", [(1, True), (2, True), (2, True), (2, True)])):
        module = Noting()
        runtime = EncoderRuntime(module, device=device)
        np.testing.assert_array_equal(runtime.embed(windows), windows[:, :4])
        assert sorted(module.noted) == noted
        module.noted.clear()
        with runtime.parallel_embed() as embed:
            np.testing.assert_array_equal(embed(windows), windows[:, :4])
        assert sorted(module.noted) == noted
        assert torch.backends.cudnn.allow_tf32

"""Exported tag models return the probabilities of the model, for batches of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tags import model_of, trained

from boiler.cli import main
from boiler.model import checkpoint
from boiler.tagging.model import NETWORKS, TagModel


def saved(folder: Path, network: str) -> TagModel:
    model = model_of(trained(network), network)
    model.save(folder / "tags.safetensors")
    return model


@pytest.mark.parametrize("network", NETWORKS)
def test_torchscript_returns_the_same(tmp_path: Path, network: str) -> None:
    model = saved(tmp_path, network)
    assert main(["export", str(tmp_path / "tags.safetensors"), "--torchscript", str(tmp_path / "a.pt")]) == 0
    module, header = checkpoint.load_script(tmp_path / "a.pt")
    assert header["tags"] == list(model.tags)
    assert header["thresholds"] == pytest.approx(model.thresholds.tolist(), abs=1e-6)
    for n in (1, 5):
        vectors = np.random.default_rng(n).normal(5, 2, (n, model.dim)).astype(np.float32)
        found = module(torch.from_numpy(vectors)).detach().numpy()
        np.testing.assert_allclose(found, model.probabilities(vectors), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_onnx_returns_the_same(tmp_path: Path, network: str) -> None:
    model = saved(tmp_path, network)
    assert main(["export", str(tmp_path / "tags.safetensors"), "--onnx", str(tmp_path / "a.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["tags"]) == list(model.tags)
    for n in (1, 5):
        vectors = np.random.default_rng(n).normal(5, 2, (n, model.dim)).astype(np.float32)
        (found,) = session.run(None, {"vectors": vectors})
        np.testing.assert_allclose(found, model.probabilities(vectors), atol=1e-5)


def test_what_is_not_a_tag_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    assert main(["export", str(tmp_path / "a.safetensors"), "--torchscript", str(tmp_path / "a.pt")]) == 2
    assert "not a tag model" in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()

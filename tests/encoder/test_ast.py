"""The Audio Spectrogram Transformer: a small one, saved and run by `transformers` itself, against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from boiler import encoder
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError, SettingsError
from boiler.indexing.pipeline import IndexSettings, index
from boiler.model import checkpoint

pytestmark = pytest.mark.slow  # importing transformers takes 20 s


@pytest.fixture(scope="module")
def model_path(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("ast")
    torch.manual_seed(0)
    library.ASTModel(
        library.ASTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_length=128
        )
    ).save_pretrained(where)
    library.ASTFeatureExtractor(max_length=128, mean=-3.0, std=2.0).save_pretrained(where)
    return where


def windows(n: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(n, 1, samples, generator=torch.Generator().manual_seed(1))


def test_vectors_equal_those_of_the_librarys_pipeline(library: Any, model_path: Path) -> None:
    extractor = library.ASTFeatureExtractor.from_pretrained(model_path)
    model = library.ASTModel.from_pretrained(model_path).eval()
    samples = windows(3, 20_480)
    with torch.no_grad():
        inputs = extractor([one[0].numpy() for one in samples], sampling_rate=16_000, return_tensors="pt")
        hidden = model(**inputs).last_hidden_state
    expected = {"mean": (hidden[:, 0] + hidden[:, 1]) / 2, "class": hidden[:, 0], "distillation": hidden[:, 1]}
    for tokens, vectors in expected.items():
        made = encoder.create("ASTEncoder", model_path, tokens=tokens)
        assert (made.dim, made.sample_rate_hz, made.window_samples) == (32, 16_000, 20_480)
        assert torch.allclose(made(samples), normalize(vectors, dim=1), atol=1e-4)
    with pytest.raises(SettingsError, match="distillation"):
        encoder.create("ASTEncoder", model_path, tokens="last")


def test_the_traced_encoder_accepts_any_batch_size(model_path: Path, tmp_path: Path) -> None:
    made = encoder.create("ASTEncoder", model_path)
    example = torch.rand(2, 1, made.window_samples)
    checkpoint.save_script(made, tmp_path / "encoder.pt", {"encoder": "ASTEncoder"}, example=example)
    module, _ = checkpoint.load_script(tmp_path / "encoder.pt")
    for n in (1, 2, 3):
        samples = windows(n, made.window_samples)
        assert torch.allclose(module(samples), made(samples), atol=1e-5)


def test_a_folder_is_indexed_at_the_models_own_window(model_path: Path, labelled_folder: Path, tmp_path: Path) -> None:
    report = index(
        IndexSettings(
            labelled_folder, "ASTEncoder", pt_path=model_path, model_dir=tmp_path, device="cpu", workers=1,
            encoder_options={"tokens": "class"},
        )
    )  # fmt: skip
    assert report.n_items == 18
    assert report.n_rows >= 18
    embed = EncoderRuntime.load(tmp_path / "encoder.pt").embed
    made = encoder.create("ASTEncoder", model_path, tokens="class")
    samples = windows(2, 20_480)
    assert torch.allclose(torch.from_numpy(embed(samples[:, 0].numpy())), made(samples), atol=1e-5)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        encoder.create("ASTEncoder", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="ASTModel"):
        encoder.create("ASTEncoder", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="not a directory, not in the local cache"):
        encoder.create("ASTEncoder", "nobody/has-this")

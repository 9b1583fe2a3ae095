"""Pretrained encoders, alone and joined with what the folder teaches: one contract for all five."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrained_files import RATES_HZ, write_for
from torch import Tensor

from boiler import encoder
from boiler.encoder import Encoder, Fitted, contrastive_head, joined_descriptors, joined_pretrained, mean_shift
from boiler.encoder.general import PooledViews
from boiler.encoder.joined_general import HEAD_WEIGHT, JoinedGeneral
from boiler.encoder.joined_pretrained import JoinedPretrained
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.errors import BoilerError, CheckpointError
from boiler.model import checkpoint


def clips(rate_hz: int) -> list[Tensor]:
    """A hiss, a tone, a click that dies away, a rising noise: 0.05 to 1.5 s."""
    random = torch.Generator().manual_seed(0)

    def noise(seconds: float) -> Tensor:
        return torch.randn(int(seconds * rate_hz), generator=random)

    second = torch.arange(rate_hz) / rate_hz
    return [noise(0.05), torch.sin(2764 * second), noise(0.3) * torch.exp(-40 * second[: int(0.3 * rate_hz)]),
            noise(1.5) * torch.linspace(0, 1, int(1.5 * rate_hz))]  # fmt: skip


def filled(sounds: list[Tensor], samples: int) -> Tensor:
    """Windows, in which each clip is repeated."""
    return torch.stack([sound.repeat(samples // len(sound) + 1)[:samples] for sound in sounds])[:, None]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("JoinedAISFX", "GeneralVQVAE")))
        for name in sorted([*RATES_HZ, "GeneralVQVAE"])
    ],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    if request.param == "GeneralVQVAE":
        file = request.getfixturevalue("checkpoint_path")
    else:
        file = write_for(request.param, tmp_path_factory.mktemp("weights") / "weights.safetensors")
    found = encoder.create(request.param, file)
    if isinstance(found, Fitted):
        sounds = clips(found.sample_rate_hz)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(mean_shift, "MIN_REFERENCES", 4)
            found.fit([filled(sounds[:2], found.window_samples), filled(sounds[2:], found.window_samples)])
        assert not isinstance(found, JoinedPretrained) or len(found.mean_shift.references) == 4
    return found


@pytest.fixture(scope="module")
def windows(made: Encoder) -> Tensor:
    return filled(clips(made.sample_rate_hz), made.window_samples)


@pytest.fixture(scope="module")
def vectors(made: Encoder, windows: Tensor) -> Tensor:
    return made(windows)


def test_one_row_of_unit_length_per_window(made: Encoder, vectors: Tensor) -> None:
    assert vectors.shape == (4, made.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4), atol=1e-5, rtol=0)
    assert (vectors @ vectors.T - torch.eye(4)).max() < 0.99999
    assert made(torch.zeros(1, 1, made.window_samples)).isfinite().all()


def test_level_does_not_matter_and_alone_is_as_in_a_batch(made: Encoder, windows: Tensor, vectors: Tensor) -> None:
    for row, gain in enumerate((1e-4, 0.37, 250.0, 1.0)):
        alone = made(windows[row : row + 1] * gain)[0]
        assert alone @ vectors[row] > 0.9999


def test_scripted_is_eager(made: Encoder, windows: Tensor, vectors: Tensor, tmp_path: Path) -> None:
    checkpoint.save_script(made, tmp_path / "encoder.pt", {})
    scripted, _ = checkpoint.load_script(tmp_path / "encoder.pt")
    torch.testing.assert_close(scripted(windows), vectors, atol=1e-5, rtol=0)


def test_a_clip_counts_once_however_often_it_is_repeated(made: Encoder, windows: Tensor, vectors: Tensor) -> None:
    """The clip of 0.3 s fills the window 20 times, but the part that is cut off at the end must not count."""
    sound = clips(made.sample_rate_hz)[2]
    other = sound.repeat(3)  # its own length is found in this, too
    assert made(filled([other], made.window_samples))[0] @ vectors[2] > 0.9999


@pytest.mark.parametrize("made", ["JoinedGeneral"], indirect=True)
def test_references_are_the_vectors_of_what_it_was_fitted_to(made: JoinedPretrained, windows: Tensor) -> None:
    fitted, made.mean_shift = made.mean_shift, mean_shift.identity(made.dim)
    unmoved, made.mean_shift = made(windows), fitted
    torch.testing.assert_close(fitted.references, unmoved, atol=2e-3, rtol=0)  # clips are kept in half precision


def test_the_head_is_fitted_to_what_views_of_a_window_share(made_general: JoinedGeneral) -> None:
    """After it, a view is nearer to its own window than before, compared with the other windows."""
    sounds = [(0.5 + n / 8) * torch.randn(9_600, generator=torch.Generator().manual_seed(n)) for n in range(8)]
    low = torch.ones(1, 1, 9) / 9
    for n in range(0, 8, 2):  # half of them dark
        sounds[n] = torch.nn.functional.conv1d(sounds[n][None, None], low, padding=4)[0, 0]
    windows = filled(sounds, made_general.window_samples)
    general = made_general.general()
    pooled_views = PooledViews(general)
    views = torch.stack([pooled_views(window, 9_600, 2, n) for n, window in enumerate(windows)])

    @torch.no_grad()
    def margin() -> float:
        rows = made_general.head(views)  # [8, 3, D]
        same = (rows[:, 1] * rows[:, 2]).sum(dim=1).mean()
        return float(same - (rows[:, 1] @ rows[:, 2].T).mean())

    before = margin()
    made_general.fit([windows])
    assert margin() > before + 0.1


@pytest.fixture
def made_general(monkeypatch: pytest.MonkeyPatch) -> JoinedGeneral:
    monkeypatch.setattr(JoinedGeneral, "head_steps", 5)
    return JoinedGeneral()


@pytest.mark.slow
def test_a_trained_encoder_describes_only_the_references(
    checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    embed_clips = JoinedVQVAE.embed_clips
    monkeypatch.setattr(
        JoinedVQVAE, "embed_clips", lambda self, *given: (lengths.extend(given[1]), embed_clips(self, *given))[1]
    )
    monkeypatch.setattr(joined_pretrained, "MAX_WHITENED", 2)
    made = encoder.create("GeneralVQVAE", checkpoint_path)
    assert isinstance(made, Fitted)
    made.fit([filled(clips(made.sample_rate_hz), made.window_samples)])
    assert len(lengths) == 2
    with pytest.raises(BoilerError, match="at least one that is not silent"):
        made.fit([])


@pytest.mark.parametrize("name", sorted(RATES_HZ))
def test_other_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    for path in (tmp_path / "other.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            encoder.create(name, path)
    wrong = "GeneralEncoder" if "AISFX" in name else "AISFXEncoder"
    with pytest.raises(CheckpointError, match="weights of"):
        encoder.create(name, write_for(wrong, tmp_path / "wrong.safetensors"))


@pytest.mark.slow
def test_of_long_sounds_the_descriptors_are_fitted_to_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `fit_s` seconds of sound are read, and a few windows ahead."""
    monkeypatch.setattr(JoinedGeneral, "fit_s", 5.0)
    monkeypatch.setattr(JoinedGeneral, "head_steps", 2)
    monkeypatch.setattr(JoinedGeneral, "equal_at", 10)
    fitted_to: list[int] = []
    train_projection = contrastive_head.train_projection
    monkeypatch.setattr(
        contrastive_head,
        "train_projection",
        lambda views, generator, **given: (
            # Beside it the head of the general network's activations is fitted, to as many windows in fewer views.
            fitted_to.extend((len(views), given["steps"]) if views.shape[1] == 1 + joined_descriptors.N_VIEWS else ())
            or train_projection(views, generator, **given)  # type: ignore[func-returns-value]
        ),
    )
    for seconds, expected in ((1.5, [4, 2]), (0.25, [20, 5])):
        made = JoinedGeneral()
        noise = torch.randn(24, 1, int(seconds * made.sample_rate_hz), generator=torch.Generator().manual_seed(0))
        made.fit(filled([one[0]], made.window_samples) for one in noise)
        assert fitted_to == expected
        vector = made(filled([noise[0, 0]], made.window_samples))[0].detach()
        known, described, projected = (part.norm() for part in vector.split([256, joined_descriptors.DIM, 128]))
        assert float(described / known) == pytest.approx(max(1, expected[0] / 10) ** 0.2, rel=1e-4)
        assert float(projected / known) == pytest.approx(HEAD_WEIGHT, rel=1e-4)
        fitted_to.clear()

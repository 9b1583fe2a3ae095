"""Alterations do what their names say, and the rank of the original is measured correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.audio import stream, synthesis
from boiler.audio.windows import fill_window
from boiler.encoder.runtime import EncoderRuntime
from boiler.evaluation import robustness
from boiler.evaluation.ranking import Collection
from boiler.model.vqvae import NetworkSettings
from boiler.train_vqvae import TrainSettings, train

RATE = stream.SAMPLE_RATE_HZ


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Two seconds of a falling tone with intermittent noise; its spectrum reaches up to 7 kHz."""
    t = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * (3000 * t - 600 * t**2)) + np.sin(2 * np.pi * 7000 * t) * 0.3
    noise = rng(1).standard_normal(len(t)) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (0.4 * tone + 0.05 * noise).astype(np.float32)


def band(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum())


@pytest.mark.parametrize("name", robustness.ALTERATIONS)
def test_every_alteration_gives_a_sound_of_about_the_same_length(name: str, sound: np.ndarray) -> None:
    before = sound.copy()
    altered = robustness.ALTERATIONS[name](sound, rng())
    np.testing.assert_array_equal(sound, before)  # the one given is left alone
    assert altered.dtype == np.float32
    assert altered.ndim == 1
    assert np.isfinite(altered).all()
    added = {"lead-in silence of 0.5 s": RATE // 2, "trailing silence of 2 s": 2 * RATE}.get(name, 0)
    assert abs(len(altered) - len(sound) - added) <= RATE // 10


@pytest.mark.parametrize(("name", "factor"), [("gain -12 dB", 0.2512), ("gain +12 dB", 3.981)])
def test_gain(name: str, factor: float, sound: np.ndarray) -> None:
    np.testing.assert_allclose(robustness.ALTERATIONS[name](sound, rng()), sound * factor, rtol=1e-3)


def test_noise_is_20_db_below_white_and_seeded(sound: np.ndarray) -> None:
    noise = robustness.white_noise(sound, rng(3)) - sound
    ratio = 10 * np.log10(np.mean(sound.astype(float) ** 2) / np.mean(noise.astype(float) ** 2))
    assert ratio == pytest.approx(20, abs=0.1)
    assert band(noise, 0, 4000) == pytest.approx(band(noise, 4000, 8000), rel=0.1)
    np.testing.assert_array_equal(robustness.white_noise(sound, rng(3)), robustness.white_noise(sound, rng(3)))


def test_clipping_cuts_at_3_db_below_the_peak_and_nothing_else(sound: np.ndarray) -> None:
    altered = robustness.clip_peaks(sound, rng())
    limit = np.abs(sound).max() * 0.7079
    assert np.abs(altered).max() == pytest.approx(limit, rel=1e-3)
    inside = np.abs(sound) < limit * 0.999
    np.testing.assert_array_equal(altered[inside], sound[inside])


def test_shift_rotates_the_sound_and_lead_in_prepends_silence(sound: np.ndarray) -> None:
    altered = robustness.circular_shift(sound, rng())
    np.testing.assert_array_equal(altered[: len(sound) - RATE], sound[RATE:])
    np.testing.assert_array_equal(np.sort(altered), np.sort(sound))
    late = robustness.leading_silence(sound, rng())
    assert not late[: RATE // 2].any()
    np.testing.assert_array_equal(late[RATE // 2 :], sound)


def test_8_khz_removes_frequencies_above_4_khz(sound: np.ndarray) -> None:
    altered = robustness.band_limit(sound, rng())
    assert band(altered, 4200, 8000) < 1e-4 * band(sound, 4200, 8000)
    assert band(altered, 100, 3500) == pytest.approx(band(sound, 100, 3500), rel=0.02)


@pytest.mark.parametrize(("name", "kbit"), [("MP3 at 64 kbit/s", 64), ("Opus at 32 kbit/s", 32)])
def test_codecs_give_similar_but_not_equal_samples(name: str, kbit: int, sound: np.ndarray) -> None:
    altered = robustness.ALTERATIONS[name](sound, rng())[: len(sound)]
    lag = np.correlate(altered[4000:12000], sound[4000:12000], "full").argmax() - 7999
    aligned = np.roll(altered, -lag)[2000:-4000]
    original = sound[2000:-4000]
    assert np.corrcoef(aligned, original)[0, 1] > 0.9
    assert np.abs(aligned - original).max() > 1e-4


def test_codecs_have_the_stated_bit_rates() -> None:
    noise = (rng(2).standard_normal(20 * RATE) * 0.1).astype(np.float32)
    mp3 = robustness.encode_lossy(noise, "libmp3lame", "mp3", 44_100, 64_000)
    opus = robustness.encode_lossy(noise, "libopus", "ogg", 48_000, 32_000)
    assert len(mp3) * 8 / 20 == pytest.approx(64_000, rel=0.03)
    assert len(opus) * 8 / 20 == pytest.approx(32_000, rel=0.15)


def test_a_sound_above_full_scale_is_scaled_before_encoding(sound: np.ndarray) -> None:
    loud = robustness.ALTERATIONS["MP3 at 64 kbit/s"](sound * 20, rng())
    assert np.abs(loud).max() == pytest.approx(1, abs=0.2)


def test_a_sound_of_a_few_samples_passes_all_alterations() -> None:
    short = np.array([0.1, -0.2, 0.3] * 100, np.float32)
    for name, alter in robustness.ALTERATIONS.items():
        assert np.isfinite(alter(short, rng())).all(), name


def spectrum(windows: np.ndarray) -> np.ndarray:
    """An embedding for the test: the energy in 16 bands, of unit length."""
    power = np.abs(np.fft.rfft(windows, axis=1)[:, 1:]) ** 2
    bands = np.sqrt(power.reshape(len(windows), 16, -1).sum(2))
    return (bands / np.linalg.norm(bands, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.slow
def test_rank_and_cosine_of_altered_sounds() -> None:
    """Six noises in different bands: an embedding by bands must find each at any level; after resampling to 8 kHz only
    those below 4 kHz."""
    hz = np.fft.rfftfreq(RATE, 1 / RATE)
    sounds = []
    for low in (200, 1000, 2000, 3000, 5000, 6500):
        noise = np.fft.rfft(rng(low).standard_normal(RATE))
        noise[(hz < low) | (hz > low + 600)] = 0
        sounds.append(np.fft.irfft(noise).astype(np.float32))
    vectors = spectrum(np.stack([fill_window(one) for one in sounds]))
    seen: list[int] = []
    found = robustness.measure_alterations(
        Collection(vectors), range(6), vectors, sounds, spectrum, seed=1, advance=seen.append
    )
    assert list(found) == list(robustness.ALTERATIONS)
    assert sum(seen) == 6
    for name in ("as it is", "gain -12 dB", "gain +12 dB", "shift by 1 s"):
        assert (found[name].first.mean, found[name].worst_rank) == (1.0, 1), name
        assert found[name].lowest_cosine == pytest.approx(1, abs=1e-4), name
    assert found["8 kHz"].lowest_cosine < found["clipping by 3 dB"].lowest_cosine
    again = robustness.measure_alterations(Collection(vectors), range(6), vectors, sounds, spectrum, seed=1)
    assert again == found


def test_a_constant_encoder_finds_one_original_in_n() -> None:
    """Results at the same distance are in random order: they count as found by chance alone."""
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (4, 1))

    def embed(windows: np.ndarray) -> np.ndarray:
        return np.tile(vectors[0], (len(windows), 1))

    found = robustness.measure_alterations(
        Collection(vectors), range(4), vectors, [np.ones(100, np.float32)] * 4, embed
    )
    assert {one.first.mean for one in found.values()} == {0.25}
    assert {(one.median_rank, one.worst_rank) for one in found.values()} == {(2.5, 3)}


def test_the_offset_and_the_silence_are_as_they_are_called(sound: np.ndarray) -> None:
    moved = robustness.ALTERATIONS["DC offset of 0.3"](sound, rng())
    np.testing.assert_allclose(moved - sound, 0.3 * np.abs(sound).max(), rtol=1e-4)
    longer = robustness.ALTERATIONS["trailing silence of 2 s"](sound, rng())
    np.testing.assert_array_equal(longer[: len(sound)], sound)
    assert not longer[len(sound) :].any()


def test_the_click_replaces_half_a_millisecond(sound: np.ndarray) -> None:
    clicked = robustness.ALTERATIONS["click of 0.5 ms at the start"](sound, rng())
    np.testing.assert_array_equal(clicked[:8], np.ones(8))
    np.testing.assert_array_equal(clicked[8:], sound[8:])


@pytest.fixture(scope="module")
def made_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 made-up sounds of ten kinds."""
    folder = tmp_path_factory.mktemp("made")
    for path in sorted(synthesis.write_collection(folder, per_kind=4))[40:]:
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def made_checkpoint(
    made_sounds: Path, small_network: NetworkSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small network after 30 steps on `made_sounds`: what a checkpoint is fitted to are the sounds that it is for."""
    save_path = tmp_path_factory.mktemp("run")
    settings = TrainSettings(
        made_sounds, save_path, epoch=1, steps_per_epoch=30, batch_size=8, device="cpu", network=small_network
    )
    return train(settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MFCCStats", "JoinedDescriptors", "JoinedVQVAE"])
def test_neither_offset_nor_click_nor_silence_hides_the_original(
    name: str, made_sounds: Path, made_checkpoint: Path
) -> None:
    """Of 40 made-up sounds of ten kinds, at least 38 come first when they are asked for with such a fault.

    They are so short that silence in front moves nothing out of the window: what is left of a sound is another sound.
    """
    sounds = [stream.load(file)[: 2**17 - 3 * RATE] for file in sorted(made_sounds.rglob("*.wav"))]
    assert len(sounds) == 40
    windows = np.stack([fill_window(one) for one in sounds])
    made = encoder.create(name, made_checkpoint if encoder.find_encoder(name).needs_checkpoint else None)
    if isinstance(made, encoder.Fitted):
        made.fit([torch.from_numpy(windows[at : at + 8])[:, None] for at in range(0, 40, 8)])
    embed = EncoderRuntime(made.eval().requires_grad_(False)).embed
    vectors = embed(windows)
    faults = {
        "offset .1": lambda x: x + np.float32(0.1),
        "offset .3": lambda x: x + np.float32(0.3),
        "click": lambda x: robustness.click(x, rng()),
        "3 s of silence in front": lambda x: np.concatenate([np.zeros(3 * RATE, np.float32), x]),
        "3 s of silence behind": lambda x: np.concatenate([x, np.zeros(3 * RATE, np.float32)]),
    }
    first = {}
    for fault, alter in faults.items():
        queries = embed(np.stack([fill_window(alter(one)) for one in sounds]))
        first[fault] = int(((queries @ vectors.T).argmax(axis=1) == np.arange(40)).sum())
    assert min(first.values()) >= 38, first


def test_the_rank_counts_nearer_items() -> None:
    """The altered sound always equals item 2 of 3, so that the original, item 0, has rank 2."""
    vectors = np.array([[0.8, 0.6], [0, 1], [1, 0]], np.float32)

    def embed(windows: np.ndarray) -> np.ndarray:
        return np.tile(vectors[2], (len(windows), 1))

    found = robustness.measure_alterations(Collection(vectors), [0], vectors[:1], [np.ones(100, np.float32)], embed)
    assert found["8 kHz"].median_rank == 2
    assert found["8 kHz"].first.mean == 0
    assert found["8 kHz"].mean_cosine == pytest.approx(0.8)

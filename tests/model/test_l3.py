"""The L3 networks: spectrograms against librosa, layers against plain arithmetic, the layout of weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from keras_files import Layer, l3_layers
from torch import nn

from boiler.errors import CheckpointError, UnknownNameError
from boiler.model import l3
from boiler.model.l3 import AudioNetwork, ImageNetwork, Tower, TowerSettings

CHANNELS = (3, 4, 5, 6)


def sound(seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    t = np.arange(48_000) / 48_000
    chirp = np.sin(2 * np.pi * (200 + 4_000 * t) * t) * (t > 0.3)
    return (0.4 * chirp + 0.01 * rng.standard_normal(48_000)).astype(np.float32)


SHAPES = pytest.mark.parametrize(
    ("input_repr", "shape"), [("linear", (257, 197)), ("mel128", (128, 199)), ("mel256", (256, 199))]
)


def assert_same_decibel(ours: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> None:
    # Compared as magnitudes with a maximum of 1, as rounding errors in dB depend on the level.
    np.testing.assert_allclose(10 ** (ours / 10), 10 ** ((expected - expected.max()) / 10), rtol=1e-4, atol=2e-8)


@pytest.mark.slow  # importing librosa takes 20 s
@pytest.mark.parametrize("frontend", l3.FRONTENDS)
@SHAPES
def test_the_spectrogram_equals_that_of_librosa(input_repr: str, frontend: str, shape: tuple[int, int]) -> None:
    import librosa

    samples = sound()
    if input_repr == "linear":
        magnitude = np.abs(librosa.stft(samples, n_fft=512, hop_length=242, center=False))
    else:
        centred = frontend == "librosa"
        padded = samples if centred else np.pad(samples, (0, 198 * 242 + 2048 - 48_000))
        magnitude = librosa.feature.melspectrogram(
            y=padded, sr=48_000, n_fft=2048, hop_length=242, n_mels=shape[0], power=1.0, center=centred
        )
    decibel = librosa.power_to_db(magnitude, ref=1.0, amin=1e-10, top_db=80.0)
    ours = l3.Spectrogram(input_repr, frontend)(torch.from_numpy(samples)[None, None])[0, 0].numpy()
    assert ours.shape == shape
    assert_same_decibel(ours, decibel)


@pytest.mark.parametrize("frontend", l3.FRONTENDS)
@SHAPES
def test_the_spectrogram_follows_its_definition(input_repr: str, frontend: str, shape: tuple[int, int]) -> None:
    samples = sound().astype(np.float64)
    n_fft = 512 if input_repr == "linear" else 2048
    if input_repr != "linear":
        before = 1024 if frontend == "librosa" else 0
        samples = np.pad(samples, (before, 2048))
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    columns = [np.abs(np.fft.rfft(taper * samples[242 * at : 242 * at + n_fft])) for at in range(shape[1])]
    magnitude = np.array(columns).T
    if input_repr != "linear":
        magnitude = slaney(shape[0]) @ magnitude
    decibel = 10 * np.log10(np.maximum(magnitude, 1e-10))
    ours = l3.Spectrogram(input_repr, frontend)(torch.from_numpy(sound())[None, None])[0, 0].numpy()
    assert ours.shape == shape
    assert_same_decibel(ours, np.maximum(decibel, decibel.max() - 80))


def slaney(n_mels: int) -> npt.NDArray[np.float64]:
    """Triangles of equal area, corners even on Slaney's scale: 200/3 Hz a mel up to 1 kHz, then 27 to 6.4 times."""
    step = np.log(6.4) / 27
    top_mel = 15 + np.log(24_000 / 1_000) / step
    mels = np.linspace(0, top_mel, n_mels + 2)
    corners_hz = np.where(mels < 15, mels * 200 / 3, 1_000 * np.exp(step * (mels - 15)))
    low, middle, high = (corners_hz[at : at + n_mels, None] for at in range(3))
    bins_hz = np.linspace(0, 24_000, 1_025)
    rise, fall = (bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)


def test_silence_has_a_finite_spectrogram() -> None:
    for input_repr in l3.INPUT_REPRESENTATIONS:
        assert l3.Spectrogram(input_repr, "kapre")(torch.zeros(1, 1, 48_000)).abs().max() == 0


def arithmetic(layer: nn.Module, weights: Layer | None, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A layer on [H, W, C] by Keras's definitions, from the arrays of its file."""
    if isinstance(layer, nn.ReLU):
        return np.maximum(x, 0)
    if isinstance(layer, nn.MaxPool2d):
        height, width = x.shape[0] // 2, x.shape[1] // 2
        return x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).max(axis=(1, 3))
    assert weights is not None
    arrays = weights[1]
    if isinstance(layer, nn.BatchNorm2d):
        scale = arrays["gamma"] / np.sqrt(arrays["moving_variance"] + 1e-3)
        return (x - arrays["moving_mean"]) * scale + arrays["beta"]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width = x.shape[:2]
    total = sum(
        padded[row : row + height, column : column + width] @ arrays["kernel"][row, column]
        for row in range(3)
        for column in range(3)
    )
    return np.asarray(total + arrays["bias"])


@pytest.mark.parametrize("late_norm", [False, True])
def test_every_layer_follows_the_definition_of_keras(late_norm: bool) -> None:
    layers = l3_layers(1, 2, CHANNELS, "embedding_layer")
    tower = Tower(TowerSettings(2, CHANNELS, late_norm)).eval()
    tower.load_keras([weights for _, weights in layers if weights])
    given = iter([layer for layer in layers if layer[1]])
    x = np.random.default_rng(0).standard_normal((17, 26, 2))
    expected = x
    ours = torch.from_numpy(x.transpose(2, 0, 1)[None]).float()
    for layer in tower.layers:
        weights = next(given) if isinstance(layer, nn.Conv2d | nn.BatchNorm2d) else None
        expected = arithmetic(layer, weights, expected)
        ours = layer(ours)
        np.testing.assert_allclose(ours[0].detach().numpy().transpose(1, 2, 0), expected, atol=2e-4)
    assert next(given, None) is None


def test_only_the_published_image_network_has_relu_before_batch_norm() -> None:
    def order(tower: Tower) -> list[str]:
        kinds = {nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
        return [kinds[type(layer)] for layer in tower.layers]

    usual = ["conv", "norm", "relu", "conv", "norm", "relu", "pool"]
    first = ["conv", "norm", "relu", "conv", "relu", "norm", "pool"]
    end = ["conv", "norm", "relu", "conv"]
    assert order(AudioNetwork(channels=CHANNELS).tower) == ["norm", *usual * 3, *end]
    assert order(ImageNetwork(channels=CHANNELS).tower) == ["norm", *first, *usual * 2, *end]


@pytest.mark.parametrize("input_repr", l3.INPUT_REPRESENTATIONS)
@pytest.mark.parametrize("size", [512, 6144])
def test_a_second_of_sound_gives_a_vector_of_the_published_length(input_repr: str, size: int) -> None:
    network = AudioNetwork(input_repr, size, channels=(1, 1, 1, 512)).eval()
    vectors = network(torch.from_numpy(sound())[None, None])
    assert vectors.shape == (1, size)
    assert network.embedding_size == size


@pytest.mark.parametrize("size", [512, 8192])
def test_a_picture_gives_a_vector_of_the_published_length(size: int) -> None:
    network = ImageNetwork(size, channels=(1, 1, 1, 512)).eval()
    assert network(torch.zeros(2, 224, 224, 3)).shape == (2, size)
    assert network.embedding_size == size


def test_the_vector_is_flattened_in_the_order_of_keras() -> None:
    maps = torch.arange(2 * 4 * 6, dtype=torch.float32).reshape(1, 2, 4, 6)
    by_keras = maps[0].numpy().transpose(1, 2, 0).reshape(2, 2, 3, 2, 2).max(axis=(1, 3)).ravel()
    np.testing.assert_array_equal(l3.pooled(maps, (2, 2))[0].numpy(), by_keras)


def test_a_spectrogram_computed_outside_gives_the_same_vector() -> None:
    network = AudioNetwork("mel128", 512, "librosa", CHANNELS).eval()
    waveform = torch.from_numpy(sound())[None, None]
    outside = network.spectrogram(waveform).permute(0, 2, 3, 1)
    assert torch.equal(network(outside), network(waveform))


def test_weights_of_another_network_are_refused() -> None:
    tower = Tower(TowerSettings(1, CHANNELS))
    right = [weights for _, weights in l3_layers(0, 1, CHANNELS, "last") if weights]
    tower.load_keras([{"freq2mel": np.zeros(3, np.float32)}, *right])  # older files hold the spectrogram, too
    with pytest.raises(CheckpointError, match=r"15 layers .* has 16"):
        tower.load_keras(right[:-1])
    with pytest.raises(CheckpointError, match=r"gamma of its layer 0 has the shape \[3\]"):
        tower.load_keras([weights for _, weights in l3_layers(0, 3, CHANNELS, "last") if weights])
    with pytest.raises(CheckpointError, match="its layer 1 has no bias"):
        tower.load_keras([right[0], {"kernel": right[1]["kernel"]}, *right[2:]])


def test_unknown_names_are_refused() -> None:
    for wrong in ({"input_repr": "mel64"}, {"embedding_size": 100}, {"frontend": "none"}):
        with pytest.raises(UnknownNameError):
            AudioNetwork(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        ImageNetwork(6144)

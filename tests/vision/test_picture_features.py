"""The features of pictures and frames: computed once, and a file that cannot be read loses only itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import write_colours
from PIL import Image
from pretrained_files import write_efficientnet
from videos import plain_frames, write_video

from boiler.vision import image
from boiler.vision.efficientnet import PictureClassifier
from boiler.vision.image_model import ImageModelFile
from boiler.vision.picture_features import PictureSource, features_of
from boiler.vision.picture_network import open_network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PictureClassifier:
    return PictureClassifier.load(write_efficientnet(tmp_path_factory.mktemp("net") / "net.safetensors", ["dog"], 0))


@pytest.mark.slow
def test_each_picture_has_the_features_of_its_pixels_and_failures_their_reasons(
    tmp_path: Path, network: PictureClassifier
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    write_video(tmp_path / "b.mp4", plain_frames([10] * 10 + [120] * 10 + [240] * 10))  # 10 a second
    frames = [PictureSource(tmp_path / "b.mp4", at_s) for at_s in (2.5, 0.0, 1.5, 9.0)]
    given = [PictureSource(tmp_path / name) for name in ("a.png", "text.png", "none.png")]
    found, failures = features_of([*given, *frames], network, tmp_path / "cache.npz")
    assert {*found} == {given[0], *frames[:3]}
    np.testing.assert_allclose(
        found[given[0]], network.look(image.read_picture(tmp_path / "a.png")).features, atol=1e-6
    )
    for frame, level in zip(frames, (240, 10, 120), strict=False):
        expected = network.look(np.full((224, 224, 3), level, np.uint8)).features
        others = network.look(np.full((224, 224, 3), (level + 115) % 345, np.uint8)).features
        assert np.abs(found[frame] - expected).max() < np.abs(found[frame] - others).max() / 2
    assert "not a picture" in failures[given[1]]
    assert "No such file" in failures[given[2]]
    assert "ends before" in failures[frames[3]]
    assert str(frames[3]).endswith("b.mp4 at 9 s")


@pytest.mark.slow
def test_what_was_computed_is_not_computed_again(
    tmp_path: Path, network: PictureClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    look = network.look
    monkeypatch.setattr(network, "look", lambda pixels: (looked.append(pixels), look(pixels))[1])
    for name, level in (("a", 10), ("b", 200)):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / f"{name}.png")
    a, b = (PictureSource(tmp_path / f"{name}.png") for name in "ab")
    cache = tmp_path / "new" / "cache.npz"
    first, _ = features_of([a, a], network, cache)
    both, _ = features_of([b, a], network, cache)
    assert len(looked) == 2
    np.testing.assert_array_equal(first[a], both[a])
    Image.new("RGB", (9, 9)).save(a.path)  # another picture under the same name
    changed, _ = features_of([a], network, cache)
    assert len(looked) == 3
    assert not np.array_equal(changed[a], first[a])
    cache.write_bytes(cache.read_bytes()[:50])  # damaged: computed again
    assert len(features_of([a, b], network, cache)[0]) == 2
    assert len(looked) == 5


@pytest.mark.slow
def test_features_of_another_network_are_not_taken(tmp_path: Path, network: PictureClassifier) -> None:
    for name in "ab":
        Image.new("RGB", (8, 8), "orange").save(tmp_path / f"{name}.png")
    a, b = (PictureSource(tmp_path / f"{name}.png") for name in "ab")
    features_of([a], network, tmp_path / "cache.npz")
    write_colours(tmp_path / "net.onnx")
    (tmp_path / "net.txt").write_text("red\ngreen\nblue\n")
    other = open_network(ImageModelFile(tmp_path / "net.onnx"))
    found, failures = features_of([a, b], other, tmp_path / "cache.npz")
    assert not failures
    assert {len(features) for features in found.values()} == {3}

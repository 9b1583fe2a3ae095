"""The flags of a network for pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from boiler.errors import SettingsError
from boiler.vision import image_model
from boiler.vision.image_model import ImageModelFile, as_image_model


def parsed(*argv: str) -> ImageModelFile | None:
    parser = argparse.ArgumentParser()
    image_model.add_arguments(parser)
    return image_model.from_arguments(parser.parse_args(argv))


def test_flags_are_settings() -> None:
    assert parsed() is None
    assert parsed("--image_model", "net.onnx") == ImageModelFile(Path("net.onnx")) == as_image_model("net.onnx")
    given = parsed(
        "--image_model", "net.pt", "--image_classes", "a.txt", "--image_mean", "0", "0", "0", "--image_std", "1", "1",
        "1", "--image_sha256", "abc",
    )  # fmt: skip
    assert given == ImageModelFile(Path("net.pt"), Path("a.txt"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "abc")
    assert given is not None
    assert as_image_model(given) is given


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_std_that_is_not_above_zero_is_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="the std above 0"):
        ImageModelFile(Path("net.onnx"), std=(1.0, value, 1.0))


def test_flags_without_a_network_are_refused() -> None:
    for given in (("--image_classes", "a.txt"), ("--image_mean", "0", "0", "0"), ("--image_std", "1", "1", "1")):
        for network in ((), ("--image_model", "efficientnet-lite0.safetensors")):
            with pytest.raises(SettingsError, match="are of --image_model"):
                parsed(*network, *given)
    assert parsed("--image_model", "a.safetensors") == ImageModelFile(Path("a.safetensors"))

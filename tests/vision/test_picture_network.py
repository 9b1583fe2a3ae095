"""Any network that classifies pictures: ONNX, TorchScript and exported programs see the same."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import write_colours, write_product
from torch import Tensor, nn

from boiler.arrays import Float64Array, UInt8Array
from boiler.errors import BoilerError, CheckpointError, SettingsError
from boiler.vision.image_model import ImageModelFile
from boiler.vision.picture_network import open_network, read_class_names

NAMES = ("fire, flame", "frog", "sea")


class Colours(nn.Module):
    """As `onnx_files.write_colours`."""

    def forward(self, pictures: Tensor) -> Tensor:
        return 10 * pictures.mean(dim=[2, 3])


def coloured(number: int, height: int = 40, width: int = 40) -> UInt8Array:
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[..., number] = 220
    return pixels


def scaled(pixel: Float64Array) -> Float64Array:
    """As networks take it by default."""
    return (pixel - np.array(ImageModelFile.mean)) / np.array(ImageModelFile.std)


def image_model(path: Path, sha256: str = "") -> ImageModelFile:
    path.with_suffix(".txt").write_text("\n".join(NAMES), "utf-8")
    return ImageModelFile(path, sha256=sha256)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


EXPORTED = pytest.param("exported", marks=pytest.mark.slow)  # torch takes seconds to import what that needs


@pytest.fixture(scope="module", params=["NCHW", "NHWC", "softmax", "any size", "TorchScript", EXPORTED])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageModelFile:
    folder = tmp_path_factory.mktemp("network")
    match request.param:
        case "TorchScript":
            path = folder / "net.pt"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated
                torch.jit.save(torch.jit.script(Colours()), path)
        case "exported":
            path = folder / "net.pt2"
            torch.export.save(torch.export.export(Colours(), (torch.zeros(1, 3, 32, 32),)), path)
        case kind:
            path = folder / "net.onnx"
            write_colours(
                path, channels_first=kind != "NHWC", softmax=kind == "softmax", side="S" if kind == "any size" else 32
            )
    return image_model(path, "" if path.suffix == ".onnx" else sha256_of(path))


@pytest.mark.parametrize("number", range(3))
def test_each_kind_of_file_sees_the_colour(model: ImageModelFile, number: int) -> None:
    network = open_network(model)
    assert network.class_names == NAMES
    found = network.look(coloured(number))
    assert found.probabilities.argmax() == number
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
    expected = 10 * scaled(coloured(number)[0, 0] / 255)
    expected = np.exp(expected - expected.max())
    np.testing.assert_allclose(found.probabilities, expected / expected.sum(), atol=1e-4)


def test_features_are_the_input_of_the_last_layer(tmp_path: Path) -> None:
    for softmax in (False, True):
        path = write_colours(tmp_path / f"{softmax}.onnx", softmax=softmax)
        features = open_network(image_model(path)).look(coloured(1)).features
        pixels = coloured(1)[0, 0] / 255
        np.testing.assert_allclose(
            features, (pixels - np.array(ImageModelFile.mean)) / np.array(ImageModelFile.std), atol=1e-4
        )


def test_the_scaling_of_pixels_is_part_of_the_network(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "net.onnx")
    plain, dark = image_model(path), ImageModelFile(path, mean=(0.0, 0.0, 0.0), std=(0.1, 0.1, 0.1))
    one, other = open_network(plain), open_network(dark)
    assert one.sha256 != other.sha256
    np.testing.assert_allclose(other.look(coloured(0)).features, coloured(0)[0, 0] / 25.5, atol=1e-3)
    with pytest.raises(SettingsError, match="the std above 0"):
        ImageModelFile(path, std=(1.0, 0.0, 1.0))


def test_the_whole_of_a_wide_picture_is_seen_on_white(tmp_path: Path) -> None:
    network = open_network(image_model(write_colours(tmp_path / "net.onnx")))
    wide = network.look(coloured(2, 10, 40)).features
    shown = 0.25 * coloured(2)[0, 0] / 255 + 0.75  # three quarters are white
    np.testing.assert_allclose(wide, scaled(shown), atol=0.05)


@pytest.mark.parametrize(
    "text", ["fire\nfrog\n\nsea\n", '["fire", ["frog"], "sea"]', '{"2": "sea", "0": "fire", "1": "frog"}']
)
def test_names_of_classes_are_lines_or_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text, "utf-8")
    assert read_class_names(tmp_path / "names") == ("fire", "frog", "sea")


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    onnx = write_colours(tmp_path / "net.onnx")
    few = tmp_path / "few.txt"
    few.write_text("fire\nfrog", "utf-8")
    (tmp_path / "bad.json").write_text('{"1": "frog"}', "utf-8")
    (tmp_path / "text.onnx").write_text("no network")
    script = tmp_path / "net.pt"
    script.write_bytes(b"no network")
    cases: list[tuple[ImageModelFile, type[BoilerError], str]] = [
        (ImageModelFile(tmp_path / "none.onnx"), CheckpointError, "no such file"),
        (ImageModelFile(onnx), CheckpointError, r"net\.txt: no such file\. A network needs the names of its classes"),
        (ImageModelFile(onnx, few), CheckpointError, "has 3 classes, and there are 2 names"),
        (ImageModelFile(onnx, tmp_path / "bad.json"), CheckpointError, "not names of classes"),
        (ImageModelFile(tmp_path / "text.onnx", few), CheckpointError, "not an ONNX model, or damaged"),
        (ImageModelFile(write_product(tmp_path / "sound.onnx", np.eye(3, dtype=np.float32)), few), CheckpointError,
         "not pictures"),
        (ImageModelFile(script, few), SettingsError, "is code. If you trust it, give its hash"),
        (ImageModelFile(script, few, sha256="abc"), CheckpointError, "its sha256 is"),
        (ImageModelFile(script, few, sha256=sha256_of(script)), CheckpointError, "not TorchScript, or damaged"),
        (ImageModelFile(tmp_path / "none.safetensors"), CheckpointError, "boiler encoders add efficientnet-lite0"),
    ]  # fmt: skip
    program = tmp_path / "net.pt2"
    program.write_bytes(b"no program")
    cases += [
        (ImageModelFile(program, few, sha256="abc"), CheckpointError, "its sha256 is"),
        (
            ImageModelFile(program, few, sha256=sha256_of(program)),
            CheckpointError,
            "not an exported program, or damaged",
        ),
    ]
    for model, error, message in cases:
        with pytest.raises(error, match=message):
            open_network(model)

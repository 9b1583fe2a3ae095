"""Which network says what pictures show: its file and settings, and their flags. `boiler.vision.picture_network` opens
it."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from boiler.errors import SettingsError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, red, green and blue from 0 to 1: what torchvision's networks expect."""


@dataclass(frozen=True)
class ImageModelFile:
    """A file with a network, and how pictures are given to it.

    classes: of another network than EfficientNet-Lite0, the names of its classes: a line each, or JSON (a list, or
        names by number); by default the file of the same name with the suffix .txt
    mean, std: of red, green and blue from 0 to 1, which are subtracted and divided by
    sha256: of a file of torch, which is code and is run only if this is its hash
    """

    path: Path
    classes: Path | None = None
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    sha256: str = ""

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise SettingsError("the mean and the std of a picture network are three numbers each, the std above 0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a network for pictures."""
    group = parser.add_argument_group("pictures", "the network that says what they show")
    group.add_argument(
        "--image_model",
        type=Path,
        metavar="FILE",
        help="what boiler encoders add efficientnet-lite0 wrote (default), or any network: .onnx, TorchScript .pt, an"
        " exported .pt2",
    )
    group.add_argument(
        "--image_classes",
        type=Path,
        metavar="FILE",
        help="the names of its classes, a line each, or JSON (default: the same name with the suffix .txt)",
    )
    for name, default, what in (
        ("mean", MEAN, "mean, subtracted from"),
        ("std", STD, "standard deviation, divisor of"),
    ):
        group.add_argument(
            f"--image_{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            default=default,
            help=f"{what} red, green, blue from 0 to 1 (default: ImageNet's)",
        )
    group.add_argument("--image_sha256", default="", metavar="HASH", help="of a file of torch, which is code")


def from_arguments(args: argparse.Namespace) -> ImageModelFile | None:
    """The network that the flags name; None: the default one.

    Raises: SettingsError: a std that is not above 0, or flags without a network that they are for.
    """
    if args.image_model is None or args.image_model.suffix.lower() == ".safetensors":
        scaled = tuple(args.image_mean) != MEAN or tuple(args.image_std) != STD
        if args.image_classes is not None or args.image_sha256 or scaled:
            raise SettingsError(
                "--image_classes, --image_mean, --image_std and --image_sha256 are of --image_model with an .onnx, .pt "
                "or .pt2 file; EfficientNet-Lite0 has its own"
            )
        if args.image_model is None:
            return None
    mean, std = (tuple(one) for one in (args.image_mean, args.image_std))
    return ImageModelFile(args.image_model, args.image_classes, mean, std, args.image_sha256)


def as_image_model(given: str | os.PathLike[str] | ImageModelFile) -> ImageModelFile:
    """A path stands for a network with default settings."""
    return given if isinstance(given, ImageModelFile) else ImageModelFile(Path(given))

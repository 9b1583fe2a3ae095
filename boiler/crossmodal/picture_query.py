"""What a picture is, in words: the classes of ImageNet that a network sees in it, and the classes of sounds they go to.

No pairs of pictures and sounds are needed: a class of the picture goes to the classes of sounds whose names are nearest
by word vectors (`boiler.crossmodal.word_model`), as a query in words does. Names too special for that (breeds of dogs,
kinds of birds) also have the name of their group, which counts where no class of sounds
has their own name.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boiler.arrays import AnyArray, Float32Array
from boiler.crossmodal import vocabulary
from boiler.crossmodal.word_model import ClassScore, WordModel
from boiler.errors import QueryError
from boiler.vision.image_model import ImageModelFile, as_image_model

if TYPE_CHECKING:
    from boiler.vision.picture_network import PictureNetwork  # loads torch

SEEN_CLASSES = 10
"""Classes of a picture that count."""
SEEN_SHOWN = 5
SOUND_CLASSES = 5
"""Classes of sounds that a picture goes to."""
SAME_NAME = 0.95
"""Similarity from which a class of sounds has the same name as the class of the picture."""
TRUST = 0.2
"""How much less similar the name of the nearest class of sounds must be to weigh e times less."""
_WORD = re.compile(r"[a-z]+")
_GROUPS = (
    (range(7), "fish"),
    (range(7, 25), "bird"),
    (range(25, 33), "amphibian"),
    (range(33, 38), "turtle"),
    (range(38, 52), "reptile"),
    (range(52, 69), "snake"),
    (range(69, 80), "spider"),
    (range(80, 101), "bird"),
    (range(127, 147), "bird"),
    (range(151, 269), "dog"),
    (range(269, 274), "wolf"),
    (range(281, 286), "cat"),
    (range(286, 294), "wildcat"),
    (range(294, 298), "bear"),
    (range(300, 327), "insect"),
    (range(330, 333), "rabbit"),
    (range(348, 354), "sheep"),
    (range(365, 385), "monkey"),
    (range(389, 398), "fish"),
)
"""Groups of ImageNet's 1,000 classes, by their numbers."""


@dataclass(frozen=True)
class SeenClass:
    """A class that is seen in a picture. number: among ImageNet's, None of another list; name: its names, with commas
    between them"""

    number: int | None
    name: str
    probability: float

    @property
    def title(self) -> str:
        """The first name."""
        return self.name.split(",")[0].strip()

    @property
    def words(self) -> list[list[str]]:
        """The known words of each name."""
        return [words for name in self.name.split(",") if (words := known_words(name))]

    @property
    def group(self) -> str | None:
        return next((name for numbers, name in _GROUPS if self.number is not None and self.number in numbers), None)


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """What a network makes of a picture.

    classes: the most probable ones, most probable first; features: [E]; image_sha256: of the network
    """

    classes: Sequence[SeenClass]
    features: Float32Array
    image_sha256: str


def seen_classes(class_names: Sequence[str], probabilities: Float32Array) -> list[SeenClass]:
    """The `SEEN_CLASSES` most probable ones, most probable first. Shape: probabilities [classes]"""
    order = np.argsort(-probabilities, kind="stable")[:SEEN_CLASSES].tolist()
    is_imagenet = len(class_names) == 1_000 and "tench" in class_names[0].lower()
    return [SeenClass(n if is_imagenet else None, class_names[n], float(probabilities[n])) for n in order]


def sound_classes(model: WordModel, seen: Sequence[SeenClass]) -> list[ClassScore]:
    """The classes of sounds that a picture goes to, with weights that add up to 1. Empty if no name is known."""
    total: dict[str, float] = {}
    for one in seen:
        classes, similarity = model.nearest_to_names(one.words)
        if similarity < SAME_NAME and one.group is not None:
            classes, similarity = model.nearest_to_names([*one.words, [one.group]])
        weight = one.probability * math.exp((similarity - 1) / TRUST)
        for found in classes:
            total[found.name] = total.get(found.name, 0.0) + weight * found.score
    best = sorted(total.items(), key=lambda pair: -pair[1])[:SOUND_CLASSES]
    whole = sum(weight for _, weight in best)
    return [ClassScore(name, weight / whole) for name, weight in best]


def open_network(image_model: str | os.PathLike[str] | ImageModelFile | None = None) -> PictureNetwork:
    """The network that says what pictures show; by default the one that `boiler encoders add efficientnet-lite0` wrote.

    Raises: CheckpointError: it is missing, damaged or something else.
    """
    # Only here, as they load torch and Pillow, and a search in words needs neither.
    from boiler.encoder import published
    from boiler.vision import picture_network

    return picture_network.open_network(as_image_model(image_model or published.weights_path("efficientnet-lite0")))


def see(picture: Any, image_model: str | os.PathLike[str] | ImageModelFile | None = None) -> SeenPicture:
    """What a picture shows: a path, the bytes of a file, a picture of Pillow, or pixels, uint8 [H, W, 3].

    image_model: the network, as for `open_network`

    Raises: QueryError: something else than a picture; EmbeddingError: it cannot be read; CheckpointError: as
    `open_network`.
    """
    from PIL import Image

    from boiler.vision import image

    if isinstance(picture, str | os.PathLike | bytes):
        pixels: AnyArray = image.read_picture(picture, on_white=True)
    elif isinstance(picture, Image.Image):
        pixels = image.pixels_of(picture, on_white=True)
    else:
        pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise QueryError(f"a picture is uint8 [H, W, 3], not {pixels.dtype} of shape {list(pixels.shape)}")
    network = open_network(image_model)
    found = network.look(pixels)
    return SeenPicture(seen_classes(network.class_names, found.probabilities), found.features, network.sha256)


def known_words(name: str) -> list[str]:
    """Those of a name, in lower case, without words that say nothing of a sound."""
    known = vocabulary.load()
    return [word for word in _WORD.findall(name.lower()) if word in known and word not in vocabulary.STOP_WORDS]

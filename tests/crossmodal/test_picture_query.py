"""From the classes that are seen in a picture to classes of sounds."""

from __future__ import annotations

import numpy as np
from wording import word_model

from boiler.crossmodal import picture_query
from boiler.crossmodal.picture_query import SeenClass

MODEL = word_model(("Dog", "Bird", "Chicken, rooster", "Rain", "Clock", "Violin, fiddle"))


def sounds_of(*seen: tuple[int, str, float]) -> dict[str, float]:
    return {one.name: one.score for one in picture_query.sound_classes(MODEL, [SeenClass(*one) for one in seen])}


def best(*seen: tuple[int, str, float]) -> str:
    found = sounds_of(*seen)
    return max(found, key=lambda name: found[name])


def test_a_name_that_is_not_known_goes_by_its_group() -> None:
    assert best((250, "Qwrtz husky, Canis qwrtz", 0.5)) == "dog"
    assert best((999, "rain", 0.5)) == "rain"
    assert sounds_of((999, "qwrtz", 0.9)) == {}


def test_a_sound_that_is_called_as_the_class_goes_before_the_group() -> None:
    assert best((7, "rooster, cock", 0.6)) == "chicken"
    assert best((10, "brambling", 0.6)) == "bird"


def test_classes_with_a_sound_of_their_name_weigh_more() -> None:
    found = sounds_of((879, "umbrella", 0.8), (409, "clock", 0.2))
    assert found["clock"] > 0.7
    assert abs(sum(found.values()) - 1) < 1e-6


def test_the_most_probable_classes_come_first() -> None:
    names = [f"class {n}" for n in range(20)]
    seen = picture_query.seen_classes(names, np.arange(20, dtype=np.float32) / 190)
    assert [one.title for one in seen] == [f"class {n}" for n in range(19, 9, -1)]


def test_groups_are_of_the_classes_of_imagenet_alone() -> None:
    names = [f"class {n}" for n in range(1_000)]
    probabilities = np.eye(1_000, dtype=np.float32)[250]
    assert picture_query.seen_classes(names, probabilities)[0].group is None
    assert picture_query.seen_classes(["tench", *names[1:]], probabilities)[0].group == "dog"

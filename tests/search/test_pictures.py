"""Search with a picture, by what it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_colours
from PIL import Image
from pretrained_files import write_efficientnet
from wording import common_space, publish_with_words

from boiler import cli
from boiler.api.nearest import ByItem, ByPicture, ByText, Nearest, Options
from boiler.errors import CheckpointError, EmbeddingError, QueryError
from boiler.search import filters
from boiler.vision.image_model import ImageModelFile

NAMES = ["violin, fiddle", "hound, dog", "qwrtz"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of which item n is of the class n % 6, a picture, and a network that sees a dog in it."""
    folder = tmp_path_factory.mktemp("pictures")
    publish_with_words(folder / "index", np.eye(6, dtype=np.float32)[np.arange(60) % 6])
    write_efficientnet(folder / "net.safetensors", NAMES, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def nearest(folder: Path) -> Iterator[Nearest]:
    with Nearest(folder / "index", image_model=folder / "net.safetensors") as nearest:
        yield nearest


def test_what_a_picture_shows_finds_sounds_however_it_is_given(folder: Path, nearest: Nearest) -> None:
    path = folder / "photo.png"
    with Image.open(path) as picture:
        given = [path, str(path), path.read_bytes(), picture, np.asarray(picture)]
        results = [nearest.query(ByPicture(one), 10) for one in given]
    assert [match.n % 6 for match in results[0].matches] == [0] * 10
    assert results[0].understood[0].seen[0].name == "hound"
    assert results[0].understood[0].wanted[0].name == "dog"
    assert results[0].matches[0].words[0].name == "dog"
    assert all(one.matches == results[0].matches for one in results[1:])
    assert nearest.by_picture(path, 10) == [*results[0].matches]


def test_pictures_are_mixed_with_words_sounds_and_filters(folder: Path, nearest: Nearest) -> None:
    picture = ByPicture(folder / "photo.png")
    result = nearest.query([picture, ByItem(6)], 4, Options(where=filters.field("n") > 20))
    assert all(match.n % 6 == 0 and match.n > 20 for match in result.matches)
    away = nearest.query([ByText("rain"), ByPicture(folder / "photo.png", weight=-1.0)], 60).matches
    assert away[0].n % 6 == 2
    assert all(match.n % 6 == 0 for match in away[-10:])


def test_what_cannot_be_searched_with_is_said(folder: Path, nearest: Nearest, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(EmbeddingError, match="not a picture"):
        nearest.by_picture(tmp_path / "text.png")
    with pytest.raises(EmbeddingError, match="no such file"):
        nearest.by_picture(tmp_path / "none.png")
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), 7):
        with pytest.raises(QueryError, match="a picture is uint8"):
            nearest.by_picture(wrong)
    with pytest.raises(QueryError, match="words and pictures have no sound"):
        nearest.explain(ByPicture(folder / "photo.png"), 1)
    unknown = write_efficientnet(tmp_path / "unknown.safetensors", ["qwrtz"], 0)
    with (
        Nearest(folder / "index", image_model=unknown) as other,
        pytest.raises(QueryError, match=r"no.* known: qwrtz|has a name that is known: qwrtz"),
    ):
        other.by_picture(folder / "photo.png")


def test_without_a_network_the_error_says_how_to_get_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with (
        Nearest(folder / "index") as nearest,
        pytest.raises(CheckpointError, match="boiler encoders add efficientnet-lite0"),
    ):
        nearest.by_picture(folder / "photo.png")


def test_a_common_space_takes_pictures_too(folder: Path, tmp_path: Path) -> None:
    common_space(["dog", "train", "rain", "bell", "violin", "sneeze"]).save(tmp_path / "words.safetensors")
    model = tmp_path / "words.safetensors"
    with Nearest(folder / "index", words_model=model, image_model=folder / "net.safetensors") as nearest:
        result = nearest.query(ByPicture(folder / "photo.png"), 10)
    assert [match.n % 6 for match in result.matches] == [0] * 10
    assert result.understood[0].wanted[0].name == "dog"


def test_the_command_takes_a_picture_and_says_what_it_saw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--image_model", str(folder / "net.safetensors")]
    command = ["search", str(folder / "index"), str(folder / "photo.png"), *model]
    assert cli.main([*command, "-k", "3", "--json"]) == 0
    printed = capsys.readouterr()
    assert [row["n"] % 6 for row in json.loads(printed.out)] == [0] * 3
    assert "picture: hound 1.00" in printed.err
    assert "sounds of: dog" in printed.err
    assert cli.main([*command, "--explain"]) == 2
    assert "words and pictures have none" in capsys.readouterr().err


def test_any_onnx_network_names_what_is_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_colours(folder / "colours.onnx")
    (folder / "names.txt").write_text("rain\nhound\nviolin", "utf-8")
    Image.new("RGB", (30, 30), (10, 250, 10)).save(folder / "green.png")
    model = ["--image_model", str(folder / "colours.onnx"), "--image_classes", str(folder / "names.txt")]
    assert cli.main(["search", str(folder / "index"), str(folder / "green.png"), *model, "-k", "3", "--json"]) == 0
    printed = capsys.readouterr()
    assert [row["n"] % 6 for row in json.loads(printed.out)] == [0] * 3
    assert "picture: hound 1.00" in printed.err
    image_model = ImageModelFile(folder / "colours.onnx", folder / "names.txt")
    with Nearest(folder / "index", image_model=image_model) as nearest:
        assert nearest.by_picture(folder / "green.png", 1)[0].n % 6 == 0

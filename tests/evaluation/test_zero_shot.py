"""Zero-shot evaluation: the bridge against a linear map and chance, over random halves of the classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_colours
from PIL import Image
from wording import publish_with_words

from boiler.cli import evaluate as command
from boiler.errors import CorpusError, QueryError
from boiler.evaluation.evaluate import EvaluateSettings, open_index
from boiler.evaluation.zero_shot import HALVES, ZeroShot, evaluate_zero_shot
from boiler.vision.image_model import ImageModelFile

LABELS = ("dog", "rain", "fiddle", "sneezing")
COLUMNS = (0, 2, 4, 5)  # of wording.CLASSES


def publish(folder: Path, labels: tuple[str, ...] = LABELS, noise: float = 0.3) -> Path:
    rng = np.random.default_rng(0)
    kinds = np.arange(80) % 4
    vectors = np.eye(6, dtype=np.float32)[np.array(COLUMNS)[kinds]]
    vectors = vectors + noise * rng.normal(size=vectors.shape).astype(np.float32)
    publish_with_words(folder, vectors, labels=[labels[kind] for kind in kinds])
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("zero") / "index")


def result(model_dir: Path, unseen: int | None = None) -> ZeroShot:
    return evaluate_zero_shot(open_index(EvaluateSettings(model_dir)), unseen=unseen)


def test_a_bridge_knows_unseen_classes_and_a_map_of_the_seen_ones_does_not(model_dir: Path) -> None:
    found = result(model_dir)
    assert found.chance["accuracy"] == 0.5
    assert found.chance["P@10"] == pytest.approx(0.5)
    bridge, baseline = found.measures["bridge"], found.measures["linear map"]
    assert bridge["accuracy"].low > 0.9
    assert bridge["mAP"].mean > 0.95
    assert baseline["accuracy"].mean < bridge["accuracy"].low
    assert (len(found.halves), {len(half) for half in found.halves}) == (HALVES, {2})
    assert found == result(model_dir)


def test_names_that_belong_to_other_sounds_are_at_chance_or_below(tmp_path: Path) -> None:
    wrong = ("rain", "dog", "sneezing", "fiddle")
    found = result(publish(tmp_path / "index", wrong)).measures["bridge"]
    assert found["accuracy"].mean < 0.5


def test_one_split_is_one_of_all(model_dir: Path) -> None:
    one, every = result(model_dir, 3), result(model_dir)
    assert one.halves == (every.halves[3],)
    with pytest.raises(QueryError, match="--unseen is from 0 to 9, not 10"):
        result(model_dir, 10)


def test_labels_without_known_words_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least 4 labels of known words, not 3"):
        result(publish(tmp_path / "index", ("dog", "rain", "qwrtz", "sneezing")))


COLOURS = {"dog": "red", "rain": "lime", "fiddle": "blue", "sneezing": "yellow"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ImageModelFile:
    """It calls a colour as in `COLOURS`."""
    folder = tmp_path_factory.mktemp("network")
    weights = 20 * np.array([[1, 0, 0, 0.8], [0, 1, 0, 0.8], [0, 0, 1, -1]], np.float32)
    (folder / "net.txt").write_text("\n".join(COLOURS), "utf-8")
    return ImageModelFile(write_colours(folder / "net.onnx", weights=weights), mean=(0, 0, 0), std=(1, 1, 1))


def write_pictures(folder: Path, colours: dict[str, str]) -> Path:
    for n, (label, colour) in enumerate(colours.items()):
        for number in range(2):
            name = f"{label}/{number}.png" if n % 2 else f"{label.capitalize()}-{number}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), colour).save(folder / name)
    return folder


def test_pictures_of_the_classes_find_their_sounds(model_dir: Path, network: ImageModelFile, tmp_path: Path) -> None:
    index = open_index(EvaluateSettings(model_dir))
    pictures = write_pictures(tmp_path / "pictures", COLOURS)
    found = evaluate_zero_shot(index, pictures=pictures, image_model=network)
    assert (found.n_pictures, len(found.names), len(found.halves)) == (8, 4, HALVES)
    assert found.measures["bridge"]["accuracy"].low > 0.9
    assert found.measures["bridge"]["P@10"].mean > 0.95
    assert found.measures["linear map"]["accuracy"].mean < found.measures["bridge"]["accuracy"].low
    assert found.chance["accuracy"] == 0.5
    assert "80 sounds, 8 pictures |" in found.to_markdown()
    wrong = dict(zip(COLOURS, [*COLOURS.values()][::-1], strict=True))
    swapped = evaluate_zero_shot(index, pictures=write_pictures(tmp_path / "wrong", wrong), image_model=network)
    assert swapped.measures["bridge"]["accuracy"].mean < 0.6


def test_labels_without_a_picture_are_left_out(network: ImageModelFile, tmp_path: Path) -> None:
    index = open_index(EvaluateSettings(publish(tmp_path / "index")))
    three = {label: colour for label, colour in COLOURS.items() if label != "dog"}
    with pytest.raises(CorpusError, match=r"pictures of at least 4 labels: .* has those of fiddle, rain, sneezing"):
        evaluate_zero_shot(index, pictures=write_pictures(tmp_path / "few", three), image_model=network)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="has no picture"):
        evaluate_zero_shot(index, pictures=tmp_path / "empty", image_model=network)


def test_the_command_takes_pictures(
    model_dir: Path, network: ImageModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_pictures(tmp_path / "pictures", COLOURS)
    command_line = [str(model_dir), "--zero_shot", "pictures", "--unseen", "2", "--out", str(tmp_path)]
    image_model = ["--image_model", str(network.path), "--image_mean", "0", "0", "0", "--image_std", "1", "1", "1"]
    assert command.main([*command_line, "--pictures", str(pictures), *image_model]) == 0
    assert "| chance | 0.500 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "zero_shot.json").read_text())["n_pictures"] == 8
    assert command.main(command_line) == 2
    assert "--zero_shot pictures and --pictures DIR belong together" in capsys.readouterr().err


def test_the_command_prints_a_table_and_writes_json(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(model_dir), "--zero_shot", "words", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| bridge | 1.000" in printed or "| bridge | 0.9" in printed
    assert "| chance | 0.500 | 0.500 |" in printed
    assert json.loads((tmp_path / "zero_shot.json").read_text())["n_sounds"] == 80
    assert command.main([str(model_dir), "--unseen", "1"]) == 2
    assert "--unseen is an option of --zero_shot" in capsys.readouterr().err

"""`python -m boiler.train_pictures`: from pairs of a picture and a sound to a search by pictures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretrained_files import write_efficientnet
from videos import plain_frames, write_video

from boiler import cli, engine, train_pictures
from boiler.api.nearest import ByItem, ByPicture, Nearest
from boiler.catalog.items import Item
from boiler.crossmodal.common_space import PictureSpace
from boiler.errors import CheckpointError, WrongEncoderError
from boiler.store import generation
from boiler.store.header import Header, rows_of

COLOURS = {"whistle": (250, 20, 20), "hum": (20, 240, 20), "clap": (20, 20, 240)}
FEW = ["--steps", "60", "--steps_per_checkpoint", "30", "--lr", "0.01"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three kinds of sounds, a network for pictures, and for each sound a picture of the colour of its
    kind."""
    home = tmp_path_factory.mktemp("pictures")
    kinds = [kind for kind in COLOURS for _ in range(4)]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 12))[np.arange(12) // 4] + 0.2 * rng.normal(size=(12, 12))
    items = [Item(n, f"{kind}/{kind}-{n % 4}.wav", label=kind) for n, kind in enumerate(kinds)]
    header = Header("Own", 12, encoder_sha256="abc")
    generation.publish(home / "index", header, engine.normalize(vectors), rows_of(range(12)), items)
    write_efficientnet(home / "net.safetensors", ["dog", "rain"], 0)
    lines = ["picture,sound"]
    for item in items:
        pixels = np.clip(np.array(COLOURS[item.label or ""]) + rng.integers(-20, 20, (30, 30, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(home / f"{Path(item.id).stem}.png")
        lines.append(f"{Path(item.id).stem}.png,{item.id}")
    (home / "pairs.csv").write_text("\n".join(lines), "utf-8")
    return home


def train(home: Path, save_path: Path, *more: str) -> int:
    source = ["--model_dir", str(home / "index"), "--image_model", str(home / "net.safetensors"), *FEW]
    return train_pictures.main([*source, "--pairs", str(home / "pairs.csv"), "--save_path", str(save_path), *more])


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    assert train(home, home / "run") == 0
    return home / "run" / "pictures.safetensors"


@pytest.mark.parametrize("kind", COLOURS)
def test_a_picture_that_was_not_trained_on_finds_sounds_of_its_like(home: Path, model: Path, kind: str) -> None:
    pixels = np.full((40, 40, 3), COLOURS[kind], np.uint8)
    with Nearest(home / "index", pictures_model=model, image_model=home / "net.safetensors") as nearest:
        result = nearest.query(ByPicture(pixels), 4)
        assert {match.label for match in result.matches} == {kind}
        assert result.understood[0].seen[0].name == "dog"  # what the network calls it; nothing follows from it here
        assert result.matches[0].words == ()  # this index knows none
        assert 1 >= result.matches[0].similarity > result.matches[-1].similarity
        other = next(one for one in COLOURS if one != kind)
        away = nearest.query([ByItem(f"{other}/{other}-0.wav"), ByPicture(pixels, weight=-1.0)], 12).matches
        assert (away[0].label, away[-1].label) == (other, kind)


def test_the_command_searches_with_it(home: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--pictures_model", str(model), "--image_model", str(home / "net.safetensors")]
    assert cli.main(["search", str(home / "index"), str(home / "hum-1.png"), "-k", "4", "--json", *models]) == 0
    printed = capsys.readouterr()
    assert {row["label"] for row in json.loads(printed.out)} == {"hum"}
    assert "picture: dog" in printed.err
    assert "(sounds of: similar pictures of the training)" in printed.err


def test_models_of_another_encoder_or_network_are_refused(home: Path, model: Path, tmp_path: Path) -> None:
    space = PictureSpace.load(model)
    PictureSpace(space.weights, "def", space.image_sha256).save(tmp_path / "other.safetensors")
    with pytest.raises(WrongEncoderError, match=r"train one with python -m boiler.train_pictures"):
        Nearest(home / "index", pictures_model=tmp_path / "other.safetensors")
    other = write_efficientnet(tmp_path / "net.safetensors", ["dog", "rain"], 1)
    with (
        Nearest(home / "index", pictures_model=model, image_model=other) as nearest,
        pytest.raises(CheckpointError, match="features of the network"),
    ):
        nearest.by_picture(home / "hum-1.png")
    with pytest.raises(CheckpointError, match=r"python -m boiler.train_pictures writes pictures.safetensors"):
        Nearest(home / "index", pictures_model=tmp_path / "none.safetensors")


@pytest.mark.slow
def test_what_cannot_be_used_is_said_and_the_rest_is_trained_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(home / "film.mp4", plain_frames([20] * 20))
    (home / "text.png").write_text("no picture")
    lines = ["film.mp4,whistle/whistle-0.wav,1", "hum-0.png,hum/hum-0.wav,", "clap-0.png,clap/clap-0.wav,"]
    wrong = ["none.png,hum/hum-1.wav,", "hum-1.png,none.wav,", "text.png,clap/clap-1.wav,", "film.mp4,hum/hum-2.wav,7"]
    (home / "mixed.csv").write_text("\n".join(["picture,sound,picture_s", *lines, *wrong]), "utf-8")
    assert train(home, tmp_path / "run", "--pairs", str(home / "mixed.csv")) == 1
    printed = capsys.readouterr()
    assert "3 pictures, 3 sounds, 60 steps" in printed.out
    for text in (
        "none.png was not used: there is no such file in",
        "none.wav was not used: it is no sound of",
        "text.png was not used: it is not a picture",
        "film.mp4 at 7 s was not used: the video ends",
    ):
        assert text in printed.err
    (home / "useless.csv").write_text("\n".join(["picture,sound", "none.png,hum/hum-1.wav"]), "utf-8")
    assert train(home, tmp_path / "none", "--pairs", str(home / "useless.csv")) == 2
    assert "has no pair of a picture and a sound that can be used, of 1" in capsys.readouterr().err
    assert train(home, tmp_path / "run") == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_model(home: Path, tmp_path: Path) -> None:
    assert train(home, tmp_path / "whole", "--steps", "150") == 0
    part = tmp_path / "part"
    command = [sys.executable, "-m", "boiler.train_pictures", "--model_dir", str(home / "index"), *FEW]
    command += ["--image_model", str(home / "net.safetensors"), "--pairs", str(home / "pairs.csv")]
    process = subprocess.Popen([*command, "--save_path", str(part), "--steps", "150"], stderr=subprocess.DEVNULL)
    while not (part / "pictures_001.pt").is_file():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    last = sorted(part.glob("pictures_*.pt"))[-1]
    continued = ["--steps", "150", "--load_path", str(last)]
    assert train(home, part, *continued) == 0
    whole, again = (PictureSpace.load(folder / "pictures.safetensors") for folder in (tmp_path / "whole", part))
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(weight, again.weights[name])


@pytest.mark.slow
def test_frames_of_a_video_are_paired_with_their_seconds(tmp_path: Path, home: Path) -> None:
    """A video that is picture and sound: each frame belongs to the window around its second."""
    rate = 22_050
    t = np.arange(20 * rate) / rate
    sound = np.where(t < 10, np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 3_000 * t))
    folder = tmp_path / "videos"
    frames = plain_frames([30] * 20 + [220] * 20, 64, 64)
    write_video(folder / "film.mkv", frames, sound, rate_hz=2, sample_rate_hz=rate)
    lines = [f"film.mkv,film.mkv,{second}" for second in (1, 3, 5, 14, 16, 18)]
    (tmp_path / "frames.csv").write_text("\n".join(["picture,sound,picture_s", *lines]), "utf-8")
    save_path = tmp_path / "run"
    source = ["--wav_dir", str(folder), "--encoder", "MFCCStats", "--image_model", str(home / "net.safetensors"), *FEW]
    assert train_pictures.main([*source, "--pairs", str(tmp_path / "frames.csv"), "--save_path", str(save_path)]) == 0
    model = save_path / "pictures.safetensors"
    with Nearest(save_path / "index", pictures_model=model, image_model=home / "net.safetensors") as nearest:
        dark, light = (nearest.by_picture(np.full((64, 64, 3), level, np.uint8), 1)[0] for level in (30, 220))
    assert dark.end_s < 14
    assert light.start_s > 6

"""Every example that a `--help` shows runs as printed, in a home folder with the files that it names."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from keras_files import l3_layers, write_layers
from PIL import Image
from pretrained_files import write_aisfx, write_efficientnet
from sounds import tone, write
from tags import tag_model
from wording import publish_with_words

from boiler import cli, train_pictures, train_words
from boiler.indexing.pipeline import IndexSettings, index
from boiler.model import l3
from boiler.search.nearest import ByItem, Nearest
from boiler.store import generation
from boiler.tagging.tfrecord import encode_example, write_records
from boiler.tagging.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

SHORTER = {
    "exp/mine --max_minutes 20": "exp/new --max_minutes 0.3",
    **{f"--pairs {table}": f"--pairs {table} --steps 20" for table in ("pairs.csv", "frames.csv", "loop_pairs.csv")},
}
"""Replaced in the examples: training time, on which only the quality depends, and a folder that holds a run."""
DOWNLOADS = ("boiler encoders add", "boiler index s3://")
"""Not run here: tests/encoder add from wheels that they make, tests/indexing/test_remote.py has a server of S3."""
DEMOS = ("boiler demo", "boiler demo --max_minutes 3")
"""Not run here: tests/cli/test_demo.py runs both, in a folder of its own. They take as long as forty others."""
SERVERS = ("boiler serve", "boiler browse", "streamlit run")
READY = ("Uvicorn running", "You can now view", "URL:", "http://")


def examples() -> list[str]:
    """The commands after `$` in the help of every command. Three blanks begin a remark."""
    texts = []
    for name in cli.COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "boiler", name, "--help"], capture_output=True, text=True, check=True, timeout=120
        )
        texts.append(done.stdout)
    overview = subprocess.run(
        [sys.executable, "-m", "boiler", "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    lines = re.findall(r"^ +\$ (.+)$", "\n".join([*texts, overview.stdout]), flags=re.MULTILINE)
    return list(dict.fromkeys(re.split(r" {3,}", line)[0].strip() for line in lines))


@pytest.fixture(scope="module")
def home(labelled_folder: Path, checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files and indexes that the examples name, relative to this folder."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(3)
    jingle = tone(660.0, 2.5, 22_050) * np.linspace(1, 0.2, 55_125)
    show = np.concatenate([0.1 * rng.standard_normal(61 * 22_050), jingle, 0.1 * rng.standard_normal(22_050)])
    shutil.copytree(labelled_folder, home / "sounds")
    write(home / "sounds" / "jingle.wav", jingle, 22_050)
    write(home / "sounds" / "show.wav", show, 22_050)
    for path in ("sounds/dog.wav", "dog.wav", "bird.ogg", "walk.wav", "clips/dog/1-100032-A-0.ogg", "clips/rain/a.ogg",
                 "clips/rain/b.ogg", "clips/wind/c.ogg", "radio/jingles/a.ogg", "radio/monday.mp3", "radio/tuesday.mp3",
                 *(f"esc10/{kind}/{fold}-{fold}0032-A.ogg" for fold in (1, 2, 3) for kind in ("dog_bark", "rain")),
                 *(f"fsdd/{digit}_{who}_{n}.wav" for digit in "01" for who in ("theo", "jackson") for n in "01"),
                 *(f"takes/{kind}/{kind}{n % 2}_take{n}.wav" for kind in "ab" for n in range(4))):  # fmt: skip
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        seconds = 66.0 if path.startswith(("walk", "radio/mon", "radio/tue")) else 0.8
        sound = tone(float(rng.uniform(200, 2_000)), seconds, 22_050) + 0.1 * rng.standard_normal(
            round(seconds * 22_050)
        )
        form = {".wav": "wav-s16", ".ogg": "ogg-vorbis", ".mp3": "mp3"}[Path(path).suffix]
        write(home / path, np.stack([0.5 * sound / np.abs(sound).max()] * 2), 22_050, form)
    write(home / "clip.mp4", tone(440.0, 1.5, 48_000), 48_000, "mp4-aac", video=True)
    (home / "weights").mkdir()
    for modality, channels, last in (("audio", 1, "audio_embedding_layer"), ("image", 3, "vision_embedding_layer")):
        name = f"openl3_{modality}_mel256_music-v0_4_0.h5"
        write_layers(home / "weights" / name, l3_layers(1, channels, l3.CHANNELS, last))

    (home / ".local" / "share" / "boiler" / "encoders").mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(home / "photo.jpg")
    write_efficientnet(home / ".local" / "share" / "boiler" / "encoders" / "efficientnet-lite0.safetensors", ["dog"], 0)
    write_aisfx(home / ".local" / "share" / "boiler" / "encoders" / "aisfx.safetensors")

    (home / "exp" / "mine").mkdir(parents=True)
    checkpoint = home / "exp" / "mine" / "vqvae_012.pt"
    shutil.copy(checkpoint_path, checkpoint)
    for folder, model_dir in (("sounds", "sounds"), ("sounds", "sounds/MFCCStats"), ("sounds", "loops/MFCCStats"),
                              ("clips", "esc10/MFCCStats"), ("radio", "radio/MFCCStats"), ("fsdd", "fsdd/MFCCStats"),
                              ("takes", "takes/MFCCStats")):  # fmt: skip
        index(IndexSettings(home / folder, encoder="MFCCStats", model_dir=home / "exp" / model_dir, workers=1))
    for folder, name, model_dir in (("clips", "BagTopVQVAE", "esc10/BagTopVQVAE"),
                                    ("esc10", "BagTopVQVAE", "esc10/vqvae_012/BagTopVQVAE"),
                                    ("sounds", "BagTopVQVAE", "mine/vqvae_012/BagTopVQVAE"),
                                    ("sounds", "PooledVQVAE", "mine/vqvae_012/PooledVQVAE")):  # fmt: skip
        index(IndexSettings(
            home / folder, pt_path=checkpoint, encoder=name, model_dir=home / "exp" / model_dir, workers=1
        ))  # fmt: skip
    kinds = {"dog": 0, "rain": 2, "violin": 4, "sneeze": 5}  # of wording.CLASSES
    publish_with_words(
        home / "exp" / "esc10" / "JoinedGeneral",
        np.eye(6, dtype=np.float32)[[*kinds.values()] * 3],
        labels=[*kinds] * 3,
        ids=[f"{kind}/{name}.ogg" for name in "abc" for kind in kinds],
    )
    few = ["--model_dir", str(home / "exp" / "esc10" / "MFCCStats"), "--labels", "folder", "--steps", "1"]
    assert train_words.main([*few, "--save_path", str(home / "exp" / "few_words")]) == 0
    (home / "exp" / "words").mkdir()
    shutil.copy(home / "exp" / "few_words" / "words.safetensors", home / "exp" / "words")
    Image.new("RGB", (60, 40), "red").save(home / "drawing.png")
    (home / "videos").mkdir()
    for name in ("clip.mp4", "other.mp4"):
        shutil.copy(home / "clip.mp4", home / "videos" / name)
    for table, first, second in (
        ("pairs.csv", "photo.jpg,dog/1-100032-A-0.ogg,", "drawing.png,rain/a.ogg,"),
        ("loop_pairs.csv", "photo.jpg,dog.wav,", "drawing.png,jingle.wav,"),
        ("frames.csv", "clip.mp4,clip.mp4,1", "drawing.png,other.mp4,"),
    ):
        (home / table).write_text("\n".join(["picture,sound,picture_s", first, second]))
    (home / "class_pictures").mkdir()
    for kind in kinds:
        shutil.copy(home / "photo.jpg", home / "class_pictures" / f"{kind}.jpg")
    few = ["--model_dir", str(home / "exp" / "esc10" / "MFCCStats"), "--pairs", str(home / "pairs.csv")]
    few += ["--image_model", str(home / ".local/share/boiler/encoders/efficientnet-lite0.safetensors"), "--steps", "1"]
    assert train_pictures.main([*few, "--save_path", str(home / "exp" / "few_pictures")]) == 0
    (home / "exp" / "pictures").mkdir()
    shutil.copy(home / "exp" / "few_pictures" / "pictures.safetensors", home / "exp" / "pictures")
    (home / "sounds" / "new.wav").write_bytes((home / "sounds" / "dog.wav").read_bytes())
    index(IndexSettings(home / "sounds", model_dir=home / "exp" / "sounds", workers=1))  # a second generation

    records = [
        encode_example({
            "id": [b"%d" % n], "labels": np.array([n % 2]), "mean_rgb": rng.normal(n % 2, 1, 1024),
            "mean_audio": rng.normal(size=128),
        }) for n in range(60)
    ]  # fmt: skip
    write_records(home / "records.tfrecord", records)
    Vocabulary(("dog", "cat")).write(home / "records.csv")
    header = generation.open(home / "exp" / "loops" / "MFCCStats").header
    tag_model(header.dim, ("dog", "cat"), header.encoder_sha256).save(home / "tags.safetensors")
    (home / "MODEL_DIR").symlink_to("exp/loops/MFCCStats")
    with Nearest(home / "exp" / "loops" / "MFCCStats") as nearest, (home / "loops.csv").open("w", newline="") as file:
        ids = [item.id for item in nearest.items(limit=len(nearest))]
        table = csv.writer(file)
        table.writerows([("id", "label", "album"), *((id, Path(id).parent.name or "none", id[-5]) for id in ids)])
        for id in ids[1:]:
            nearest.add_feedback(ByItem(ids[0]), id, like=Path(id).parent == Path(ids[0]).parent)
    return home


def environment(home: Path) -> dict[str, str]:
    """`boiler` is the command of this interpreter; settings of the person who runs the tests do not reach it."""
    (home / "bin").mkdir(exist_ok=True)
    script = home / "bin" / "boiler"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m boiler "$@"\n')
    script.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    path = f"{home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return own | {"HOME": str(home), "PATH": path, "STREAMLIT_SERVER_HEADLESS": "true"}


def shortened(command: str) -> str:
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    return command


def run_server(command: str, home: Path, log: Path) -> None:
    """Start it, wait until it says where it answers, and stop it by Ctrl-C."""
    with log.open("w") as output:
        server = subprocess.Popen(
            # A shell's background job ignores Ctrl-C, and so would all that it starts.
            ["bash", "-c", f"exec env --default-signal=INT {command}"],
            cwd=home, env=environment(home), stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not any(sign in log.read_text() for sign in READY):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(60) in (0, 1, 130, -signal.SIGINT), log.read_text()  # 1: Streamlit's "Aborted!"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.timeout(2400)
def test_every_example_of_every_help_runs(home: Path, tmp_path: Path) -> None:
    commands = examples()
    assert {command.split()[1] for command in commands if command.startswith("boiler")} == set(cli.COMMANDS)
    failed = []
    for number, command in enumerate(map(shortened, commands)):
        log = tmp_path / f"{number}.log"
        if command.startswith(DOWNLOADS) or command in DEMOS:
            continue
        if command.startswith(SERVERS):
            run_server(command, home, log)
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=environment(home), capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        if done.returncode != 0 or "Traceback" in done.stderr:
            failed.append(f"{command}: {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    assert not failed, "\n\n".join(failed)

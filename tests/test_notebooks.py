"""The notebooks run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretrained_files import write_efficientnet
from wording import publish_with_words

from boiler.audio.synthesis import write_collection
from boiler.encoder import published
from boiler.indexing.pipeline import IndexSettings, index

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.slow
def test_tags_are_served_from_records(tmp_path: Path) -> None:
    write_collection(tmp_path / "sounds", per_kind=6)
    index(IndexSettings(wav_dir=tmp_path / "sounds", encoder="MFCCStats", model_dir=tmp_path / "model", device="cpu"))
    command = [sys.executable, str(NOTEBOOKS / "tags_from_records.py"), str(tmp_path / "model"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-3_000:]
    example = re.search(r"GET /items/\d+/tags \((.*?)/", done.stdout)
    likeliest = re.findall(r"POST /tags: (\w+) ", done.stdout)
    assert example is not None
    assert example[1] in likeliest  # the name of the folder is the label
    assert len(likeliest) == 3
    assert not (tmp_path / "model" / "labels.sqlite").exists()


@pytest.mark.slow
def test_words_and_pictures_are_searched_with_and_failures_are_shown(tmp_path: Path) -> None:
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(60) % 6])
    Image.new("RGB", (30, 20), "orange").save(tmp_path / "photo.png")
    queries = ["hound", "rain -violin", str(tmp_path / "photo.png")]
    command = [sys.executable, str(NOTEBOOKS / "search_in_words.py"), str(tmp_path / "index"), *queries]

    def output() -> str:
        environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-3_000:]
        return done.stdout

    text = output()
    assert "hound:\n  understands hound\n  goes to dog " in text
    assert "rain -violin:\n  understands rain, not violin" in text
    assert "xyzzyx:\n  nothing: no word is known" in text
    assert "dog after rain: the same answers: True" in text
    assert "most frequent kinds: dog 10" in text
    assert "words on the map: dog (" in text
    assert text.count("boiler encoders add efficientnet-lite0") == 3  # there is no network yet
    network = published.weights_path("efficientnet-lite0", tmp_path / "boiler" / "encoders")
    network.parent.mkdir(parents=True)
    write_efficientnet(network, ["violin", "hound, dog"], 1)
    text = output()
    assert f"{tmp_path / 'photo.png'}:\n  sees hound 1.00" in text
    assert "the drawing of a clock:\n  sees hound" in text

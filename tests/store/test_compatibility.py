"""Files written by version 0.1.0 still open and give the same answers: see fixtures/version_0_1_0."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import tone, write

from boiler import encoder
from boiler.audio import stream
from boiler.cli.status import status
from boiler.indexing.pipeline import IndexSettings, index
from boiler.model import checkpoint
from boiler.search.feedback import FeedbackStore, FeedbackSummary
from boiler.search.nearest import Nearest
from boiler.search.seeds import BySound
from boiler.store import generation

SAVED = Path(__file__).parents[1] / "fixtures" / "version_0_1_0" / "saved.tar.xz"
# Float arithmetic differs in the last digits between processors and library versions.
DISTANCE = {"rel": 1e-3, "abs": 1e-5}
KINDS = ("bag_top", "mfcc")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with tarfile.open(SAVED) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(saved: Path) -> dict[str, Any]:
    return json.loads((saved / "expected.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_generation_passes_its_check(saved: Path, expected: dict[str, Any], kind: str) -> None:
    opened = generation.check(saved / kind)
    assert opened.header.encoder == expected[kind]["encoder"]
    assert opened.header.n_items == len(expected[kind]["items"]) == 10
    assert opened.header.n_rows == 12
    assert opened.map_points is not None


@pytest.mark.parametrize("kind", KINDS)
def test_items_have_all_their_fields(saved: Path, expected: dict[str, Any], kind: str) -> None:
    with Nearest(saved / kind) as nearest:
        for old in expected[kind]["items"]:
            old, now = dict(old), asdict(nearest.item(old["id"]))
            assert now.pop("metadata") == old.pop("metadata")
            assert {name: now[name] for name in old} == pytest.approx(old)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_answers_the_same(saved: Path, expected: dict[str, Any], kind: str) -> None:
    with Nearest(saved / kind) as nearest:
        assert nearest.engine_name == expected[kind]["engine"]
        for asked, answers in expected[kind]["answers"].items():
            matches = nearest.by_item(asked, k=5)
            assert [match.id for match in matches] == [id for id, _ in answers]
            assert [match.distance for match in matches] == pytest.approx([d for _, d in answers], **DISTANCE)


def test_annoy_of_the_version_before_answers_too(saved: Path, expected: dict[str, Any]) -> None:
    with Nearest(saved / "bag_top", engine="annoy") as nearest:
        for asked, answers in expected["bag_top"]["answers"].items():
            assert [match.id for match in nearest.by_item(asked, k=5)] == [id for id, _ in answers]


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_encoder_embeds_the_same(saved: Path, expected: dict[str, Any], kind: str) -> None:
    with Nearest(saved / kind) as nearest:
        embedded = nearest.embed(saved / "sounds" / expected["sound"])
    vectors = np.array([one.vector for one in embedded])
    assert vectors == pytest.approx(np.array(expected[kind]["vectors"]), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_explained_the_same(saved: Path, expected: dict[str, Any], kind: str) -> None:
    old = expected[kind]["explanation"]
    with Nearest(saved / kind, wav_dir=saved / "sounds") as nearest:
        now = nearest.explain(BySound(saved / "sounds" / expected["sound"]), "rain/rain_2.wav")
    assert now.similarity == pytest.approx(old["similarity"], abs=1e-3)
    assert [one.similarity for one in now.windows] == pytest.approx([one["similarity"] for one in old["windows"]], 1e-3)
    assert [one.similarity for one in now.query_curve] == pytest.approx(
        [one["similarity"] for one in old["query_course"]], abs=1e-2
    )
    assert [one.share for one in now.codes] == pytest.approx([one["share"] for one in old["words"]], abs=1e-3)


@pytest.mark.parametrize("name", ["BagTopVQVAE", "BagBottomVQVAE", "PooledVQVAE", "JoinedVQVAE"])
def test_a_checkpoint_gives_the_same_encoders(saved: Path, expected: dict[str, Any], name: str) -> None:
    samples = stream.load(saved / "sounds" / expected["sound"])[: 2**17]
    with torch.inference_mode():
        vector = encoder.create(name, saved / "checkpoint.pt")(torch.from_numpy(samples)[None, None])[0]
    assert vector.numpy() == pytest.approx(np.array(expected[name]), abs=1e-4)


def test_a_checkpoint_loads(saved: Path) -> None:
    loaded = checkpoint.load(saved / "checkpoint.pt")
    assert (loaded.epoch, loaded.step) == (1, 3)


def test_stored_feedback_is_read(saved: Path) -> None:
    feedback = FeedbackStore(saved / "bag_top")
    assert feedback.summary("item:organ/organ_3.wav") == FeedbackSummary(("bell/bell_4.wav",), ("rain/rain_2.wav",))
    assert feedback.summary("item:organ/organ_3.wav", user="somebody") == FeedbackSummary(("bell/bell_4.wav",), ())


@pytest.mark.parametrize("kind", KINDS)
def test_status_reads_it(saved: Path, kind: str) -> None:
    found = status(saved / kind, check=True)
    assert (found.n_items, found.n_rows, found.n_silent) == (10, 12, 0)
    assert list(found.failures) == ["broken.wav"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_embeds_nothing_again(saved: Path, tmp_path: Path, kind: str) -> None:
    sounds = Path(shutil.copytree(saved / "sounds", tmp_path / "sounds"))
    model_dir = Path(shutil.copytree(saved / kind, tmp_path / kind, symlinks=True))
    settings = IndexSettings(sounds, model_dir=model_dir, device="cpu", workers=1)
    report = index(settings)
    assert report.changes.unchanged == 11
    assert (report.tally.embedded, report.tally.failed, report.n_items) == (0, 0, 10)
    write(sounds / "new.wav", tone(500.0, 1.0, 16_000), 16_000)
    report = index(settings)
    assert report.changes.new == ["new.wav"]
    assert (report.tally.embedded, report.published, report.n_items) == (1, True, 11)
    with Nearest(model_dir) as nearest:
        assert len(nearest.by_item("new.wav", k=3)) == 3

"""`boiler tag`: tags reach the catalog and the published index, stay when it is rebuilt, and people override them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generations import publish
from tags import tag_model

from boiler import cli
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError, CheckpointError, ModelDirError, WrongEncoderError
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings, index
from boiler.indexing.repair import repair
from boiler.indexing.tag import MIN_PROBABILITY, MODEL_FILE
from boiler.search.filter_parser import parse
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.tagging.model import TagModel

TAGS = ("clap", "hum", "whistle", "never")


@pytest.fixture(scope="module")
def indexed(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sounds (two files of the same bytes, one that is silent) and their index."""
    folder = tmp_path_factory.mktemp("tagged")
    for kind in ("clap", "hum"):
        (folder / "sounds" / kind).mkdir(parents=True)
        for n in range(3):
            shutil.copy(labelled_folder / kind / f"{kind}-{n}.wav", folder / "sounds" / kind)
    shutil.copy(labelled_folder / "hum" / "hum-0.wav", folder / "sounds" / "copy.wav")
    index(IndexSettings(folder / "sounds", "MFCCStats", model_dir=folder / "model", device="cpu", workers=1))
    return folder


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    shutil.copytree(indexed, tmp_path / "place", symlinks=True)
    with Catalog(tmp_path / "place" / "model" / CATALOG_FILE) as catalog:
        catalog.put(wav_dir=str(tmp_path / "place" / "sounds"))
    return tmp_path / "place"


def saved_model(place: Path, seed: int = 0) -> Path:
    header = generation.open(place / "model").header
    path = place / f"tags-{seed}.safetensors"
    tag_model(header.dim, TAGS, header.encoder_sha256, seed).save(path)
    return path


def tags_of(place: Path) -> dict[str, dict[str, float]]:
    with Nearest(place / "model") as nearest:
        return {item.id: dict(item.tags) for item in nearest.items(limit=100)}


def expected(place: Path, path: Path) -> dict[str, dict[str, float]]:
    opened, model = generation.open(place / "model"), TagModel.load(path)
    probabilities = model.probabilities(np.asarray(opened.item_vectors))
    with opened.items() as database:
        ids = database.column("id")
    return {
        id: {
            tag: pytest.approx(float(value), abs=2e-4)
            for tag, value in zip(TAGS, row, strict=True)
            if value >= MIN_PROBABILITY
        }
        for id, row in zip(ids, probabilities, strict=True)
    }


def run(place: Path, **more: object) -> pipeline.Report:
    return index(IndexSettings(place / "sounds", model_dir=place / "model", device="cpu", workers=1, **more))


def test_every_item_gets_the_probabilities_of_the_model(place: Path) -> None:
    before = generation.current_name(place / "model")
    path = saved_model(place)
    opened, n_tagged = pipeline.tag(place / "model", path)
    assert n_tagged == 6  # seven files of six different contents
    assert opened.name != before
    assert tags_of(place) == expected(place, path)
    assert (opened.path / "tags.safetensors").read_bytes() == path.read_bytes()
    generation.check(place / "model")
    assert pipeline.tag(place / "model", path)[1] == 0
    with Catalog(place / "model" / CATALOG_FILE) as catalog:
        catalog.check()


def test_new_sounds_are_tagged_as_they_are_indexed(place: Path, labelled_folder: Path) -> None:
    path = saved_model(place)
    pipeline.tag(place / "model", path)
    shutil.copy(labelled_folder / "whistle" / "whistle-0.wav", place / "sounds" / "new.wav")
    report = run(place)
    assert report.n_tagged == 1
    assert "  1 tagged" in list(report.lines())
    assert "new.wav" in tags_of(place)
    assert tags_of(place) == expected(place, path)
    assert not run(place).published


def test_another_model_replaces_the_tags(place: Path) -> None:
    pipeline.tag(place / "model", saved_model(place, 0))
    second = saved_model(place, 1)
    assert pipeline.tag(place / "model", second)[1] == 6
    assert tags_of(place) == expected(place, second)
    pipeline.tag(place / "model", None)
    assert set(map(str, tags_of(place).values())) == {"{}"}
    assert not (generation.open(place / "model").path / "tags.safetensors").exists()
    assert not (place / "model" / MODEL_FILE).exists()


def test_a_tag_by_hand_counts_and_is_kept_apart(place: Path) -> None:
    pipeline.tag(place / "model", saved_model(place))
    with Nearest(place / "model") as nearest:
        item = nearest.items()[0]
        said = {one.tag: one.has for one in nearest.tags(item.n)}
        tag = max(item.tags, key=lambda name: item.tags[name])
        nearest.add_tag(item.n, tag, not said[tag])
        found = {one.tag: one for one in nearest.tags(item.n)}
        assert (found[tag].has, found[tag].by_hand) == (not said[tag], not said[tag])
        assert found[tag].probability == item.tags[tag]
    assert run(place).published
    with Nearest(place / "model") as nearest:
        again = nearest.item(item.n)
        assert again.tags == item.tags
        assert again.tags_by_hand == {tag: not said[tag]}
        where = parse(f"tag:{tag} == {int(not said[tag])}")
        assert item.n in [one.n for one in nearest.items(where=where)]
    assert not run(place).published
    pipeline.tag(place / "model", None)
    with Nearest(place / "model") as nearest:
        assert nearest.item(item.n).tags_by_hand == {tag: not said[tag]}


def test_a_model_of_another_encoder_is_refused(place: Path) -> None:
    other = place / "other.safetensors"
    replace(TagModel.load(saved_model(place)), encoder_sha256="0" * 64).save(other)
    before = generation.current_name(place / "model")
    with pytest.raises(WrongEncoderError, match="the encoder 000000000000"):
        pipeline.tag(place / "model", other)
    with pytest.raises(CheckpointError, match="no such file"):
        pipeline.tag(place / "model", place / "none")
    assert generation.current_name(place / "model") == before


def test_a_lost_model_is_restored_from_the_index(place: Path, labelled_folder: Path) -> None:
    path = saved_model(place)
    pipeline.tag(place / "model", path)
    (place / "model" / MODEL_FILE).write_bytes(b"damaged")
    shutil.copy(labelled_folder / "whistle" / "whistle-0.wav", place / "sounds" / "new.wav")
    assert run(place).n_tagged == 1
    assert (place / "model" / MODEL_FILE).read_bytes() == path.read_bytes()
    for copy in (place / "model").glob("versions/*/tags.safetensors"):
        copy.unlink()
    (place / "model" / MODEL_FILE).unlink()
    with pytest.raises(ModelDirError, match="boiler tag"):
        run(place)


def test_a_rebuilt_catalog_keeps_the_tags(place: Path) -> None:
    path = saved_model(place)
    pipeline.tag(place / "model", path)
    before = tags_of(place)
    (place / "model" / CATALOG_FILE).write_bytes(b"damaged" * 1000)
    repair(place / "model")
    assert run(place).n_tagged == 0
    assert tags_of(place) == before


def test_another_encoder_drops_the_tags(place: Path) -> None:
    pipeline.tag(place / "model", saved_model(place))
    run(place, hop_s=2.0, force=True)
    if generation.open(place / "model").header.encoder_sha256 == TagModel.load(saved_model(place)).encoder_sha256:
        assert tags_of(place) != {}
    else:
        assert set(map(str, tags_of(place).values())) == {"{}"}


def test_an_index_without_a_catalog_cannot_be_tagged(tmp_path: Path) -> None:
    publish(tmp_path / "model")
    with pytest.raises(CatalogError, match="where tags are stored"):
        pipeline.tag(tmp_path / "model", None)
    with pytest.raises(ModelDirError):
        pipeline.tag(tmp_path / "none", None)
    assert not (tmp_path / "none").exists()


def test_the_command_tags_and_counts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tag", str(place / "model"), "--tags", str(saved_model(place))]) == 0
    said = capsys.readouterr().out
    assert said.startswith("6 sounds tagged\n")
    with Nearest(place / "model") as nearest:
        counts = nearest.tag_counts()
        assert counts
        for one in counts:
            assert f"{one.n_items:>8}  {one.tag}\n" in said
            has = [item.n for item in nearest.items(limit=99) if item.tags.get(one.tag, 0) >= one.threshold]
            assert len(has) == one.n_items
    assert cli.main(["tag", str(place / "model"), "--limit", "1"]) == 0
    assert f"and {len(counts) - 1} more" in capsys.readouterr().out or len(counts) == 1
    assert cli.main(["tag", str(place / "model"), "--remove"]) == 0

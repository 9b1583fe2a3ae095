"""`boiler export`: other libraries read the exported vectors, sounds and weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
import torch
from safetensors import safe_open

from boiler.cli import main
from boiler.encoder.runtime import EncoderRuntime
from boiler.indexing.pipeline import IndexSettings, index
from boiler.model import checkpoint
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.tagging.examples import TFRecordExamples
from boiler.tagging.tfrecord import FeatureSpec
from boiler.tagging.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # an index is made, a network trained


@pytest.fixture(scope="module")
def model_dir(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("index")
    index(IndexSettings(labelled_folder, "MFCCStats", model_dir=where, device="cpu", workers=1))
    return where


def test_the_onnx_file_is_the_fitted_encoder_of_the_index(model_dir: Path, tmp_path: Path) -> None:
    assert main(["export", str(model_dir), "--onnx", str(tmp_path / "a.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    windows = 0.1 * torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0))
    (vectors,) = session.run(None, {"waveform": windows.numpy()})
    expected = EncoderRuntime.load(model_dir / "encoder.pt").embed(windows[:, 0].numpy())
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_parquet_has_every_vector_beside_its_sound(model_dir: Path, tmp_path: Path) -> None:
    assert main(["export", str(model_dir), "--parquet", str(tmp_path / "a.parquet")]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    opened = generation.open(model_dir)
    assert table.num_rows == len(opened.rows) == 18
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), opened.vectors)
    first = table.slice(0, 1).to_pylist()[0]
    assert first["label"] == first["id"].split("/")[0]
    assert first["start_s"] == 0
    assert first["end_s"] == pytest.approx(float(opened.rows[0]["end_s"]))


def test_an_audiofolder_can_be_indexed_again(
    model_dir: Path, labelled_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(model_dir), "--audiofolder", str(out)]) == 0
    with (out / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 18
    for row in rows:
        assert (out / row["file_name"]).read_bytes() == (labelled_folder / row["file_name"]).read_bytes()
        assert row["label"] == row["file_name"].split("/")[0]
    metadata = ["--metadata", str(out / "metadata.csv"), "--model_dir", str(tmp_path / "again"), "--workers", "1"]
    assert main(["index", str(out), "MFCCStats", *metadata]) == 0


def test_safetensors_hold_the_weights_and_how_to_build_the_network(checkpoint_path: Path, tmp_path: Path) -> None:
    assert main(["export", str(checkpoint_path), "--safetensors", str(tmp_path / "a.safetensors")]) == 0
    loaded = checkpoint.load(checkpoint_path)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["network"]) == json.loads(json.dumps(loaded.network))
        for name, tensor in loaded.weights.items():
            assert torch.equal(file.get_tensor(name), tensor)
        assert set(file.keys()) == set(loaded.weights) | {f"learned.{name}" for name in loaded.learned}


def test_tfrecords_hold_the_vector_and_the_label_of_each_sound(model_dir: Path, tmp_path: Path) -> None:
    assert main(["export", str(model_dir), "--tfrecord", str(tmp_path / "a.tfrecord")]) == 0
    opened = generation.open(model_dir)
    source = TFRecordExamples([tmp_path / "a.tfrecord"], [FeatureSpec("embedding", opened.header.dim)], 3, pytest.fail)
    names = Vocabulary.read(tmp_path / "a.csv")
    assert names == Vocabulary(("clap", "hum", "whistle"), (6, 6, 6))
    found = list(source.examples())
    assert np.array_equal(np.stack([one.features for one in found]), opened.item_vectors)
    assert [names.names[one.labels[0]] for one in found] == [one.id.split("/")[0] for one in found]
    assert main(["export", str(model_dir), "--tfrecord", str(tmp_path / "b.csv")]) == 2


def test_tfrecords_hold_the_tags_where_there_are_any(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model", symlinks=True)
    with Nearest(tmp_path / "model") as nearest:
        first, second = nearest.items(limit=2)
        for tag in ("loud", "dog"):
            nearest.add_tag(first.n, tag)
        nearest.add_tag(second.n, "dog", False)
    assert main(["export", str(tmp_path / "model"), "--tfrecord", str(tmp_path / "a.tfrecord")]) == 0
    assert Vocabulary.read(tmp_path / "a.csv") == Vocabulary(("dog", "loud"), (1, 1))
    source = TFRecordExamples([tmp_path / "a.tfrecord"], [FeatureSpec("embedding", 80)], 2, pytest.fail)
    assert {one.id: one.labels.tolist() for one in source.examples() if len(one.labels)} == {first.id: [0, 1]}


def test_an_impossible_export_is_refused_with_the_reason(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model_dir)]) == 2
    assert "--onnx" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--parquet", str(tmp_path / "a.parquet")]) == 2
    assert main(["export", str(tmp_path / "none.pt"), "--safetensors", str(tmp_path / "a")]) == 2
    assert not list(tmp_path.iterdir())

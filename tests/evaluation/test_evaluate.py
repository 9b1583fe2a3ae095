"""An index is evaluated from its command line to its files; the figures agree with a computation of another kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluating import indexed
from sounds import write

from boiler.cli import evaluate as command
from boiler.errors import CorpusError, UnknownNameError
from boiler.evaluation import evaluate
from boiler.evaluation.evaluate import EvaluateSettings
from boiler.store import generation


@pytest.fixture(scope="module")
def model_dir(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands")


def test_the_command_writes_figures_tables_and_pictures(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(model_dir), "--robustness", "4", "--group", "none", "--group", "take"]) == 0
    told = capsys.readouterr().out
    folder = model_dir / "evaluation" / generation.current_name(model_dir)
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion.png",
        "evaluation.json",
        "evaluation.md",
        "map.png",
        "per_class.png",
    ]
    assert (folder / "evaluation.md").read_text(encoding="utf-8") in told
    read = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert [table["group"] for table in read["tables"]] == ["none", "take"]
    assert read["encoder"] == "Bands"
    assert read["floor_hubness"] is not None
    assert read["robustness"]["as it is"]["first"]["mean"] == 1.0
    assert read["robustness"]["gain +12 dB"]["lowest_cosine"] == pytest.approx(1, abs=1e-4)
    assert read["robustness"]["8 kHz"]["n_sounds"] == 4
    assert read["words"]["size"] == 32
    assert 1 < read["words"]["perplexity"] <= read["words"]["used"] <= 32
    assert read["engine"]["annoy"] > 0.95
    # nothing of the machine's own goes into a file that people pass on
    assert str(model_dir) not in json.dumps(read)
    # an index stays as it was, and can be opened and replaced
    generation.check(model_dir)


def test_figures_agree_with_a_plain_computation(model_dir: Path) -> None:
    scorecard = evaluate.evaluate(EvaluateSettings(model_dir, robustness=0, floor="never"))
    opened = generation.open(model_dir)
    vectors = np.asarray(opened.vectors, np.float64)
    with opened.connect() as connection:
        named = [row["label"] for row in connection.execute("SELECT label FROM items ORDER BY n")]
    connection.close()
    p1, p5, ap = [], [], []
    for query, label in enumerate(named):
        others = [item for item in range(len(named)) if item != query]
        order = sorted(others, key=lambda item: -float(vectors[item] @ vectors[query]))
        right = [named[item] == label for item in order]
        p1.append(right[0])
        p5.append(sum(right[:5]) / 5)
        ap.append(np.mean([sum(right[: rank + 1]) / (rank + 1) for rank in range(len(right)) if right[rank]]))
    found = {line.measure: line.encoder.mean for line in scorecard.tables[0].lines}
    assert found["P@1"] == pytest.approx(np.mean(p1))
    assert found["P@5"] == pytest.approx(np.mean(p5))
    assert found["mAP"] == pytest.approx(np.mean(ap))
    chance = {line.measure: line.chance for line in scorecard.tables[0].lines}
    assert chance["P@1"] == pytest.approx(5 / 17)


def test_without_the_sounds_the_rest_is_measured_and_told(model_dir: Path, tmp_path: Path) -> None:
    """As where a model directory was copied to another machine."""
    settings = EvaluateSettings(model_dir, wav_dir=tmp_path, robustness=5)
    scorecard = evaluate.evaluate(settings)
    assert scorecard.robustness == {}
    assert scorecard.floor_hubness is None
    assert "No floor" in " ".join(scorecard.notes)
    assert "No altered sounds" in " ".join(scorecard.notes)
    assert scorecard.tables[0].lines[0].encoder.mean > 0.9


def test_an_index_of_vectors_alone_is_measured(labelled_folder: Path, tmp_path: Path) -> None:
    scorecard = evaluate.evaluate(
        EvaluateSettings(indexed(labelled_folder, tmp_path / "m", embedder=False), floor="never")
    )
    assert scorecard.words is None
    assert scorecard.robustness == {}
    assert "the encoder is not here" in " ".join(scorecard.notes)


def test_labels_from_a_table_of_several(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["id,labels,album"]
    for kind, tags in (("whistle", "high;tonal"), ("hum", "low;tonal"), ("clap", "noise")):
        lines += [f"{kind}-{n}.wav,{tags},{n % 3}" for n in range(5)]
    (tmp_path / "tags.csv").write_text("\n".join(lines), encoding="utf-8")
    command = [str(model_dir), "--labels", str(tmp_path / "tags.csv"), "--group", "album", "--floor", "never"]
    command += ["--robustness", "0", "--k", "1", "3", "--out", str(tmp_path / "out")]
    assert command.main(command) == 0
    read = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert read["several"]
    assert (read["n_evaluated"], read["n_without_label"]) == (15, 3)
    assert read["tables"][0]["confusion"] is None
    assert {line["label"] for line in read["tables"][0]["classes"]} == {"high", "low", "noise", "tonal"}
    measures = {line["measure"]: line["encoder"]["mean"] for line in read["tables"][0]["lines"]}
    assert "P@3" in measures
    assert "P@5" not in measures
    assert measures["P@1"] > 0.8  # the same kind, so the same tags: a gain of 1
    assert not (tmp_path / "out" / "confusion.png").exists()
    assert "15 sounds of 4 tags" in capsys.readouterr().out


def test_a_long_sound_answers_with_its_best_window(tmp_path: Path) -> None:
    """One file is noise first and a tone later; the tones must find it, though its mean is far from theirs."""
    rng = np.random.default_rng(0)
    t = np.arange(9 * 8000) / 8000
    tone = np.sin(2 * np.pi * 440 * t)
    sounds = tmp_path / "sounds"
    for name, sound in {
        "tone/short.wav": tone,
        "tone/long.wav": np.concatenate([rng.standard_normal(3 * len(t)) * 0.1, tone, tone]),
        "noise/one.wav": rng.standard_normal(len(t)) * 0.1 + 0.02 * tone,
        "noise/two.wav": np.cumsum(rng.standard_normal(len(t))) * 0.001,
    }.items():
        (sounds / name).parent.mkdir(parents=True, exist_ok=True)
        write(sounds / name, np.clip(sound, -1, 1), 8000)
    settings = EvaluateSettings(indexed(sounds, tmp_path / "m"), robustness=0, floor="never", ks=(1,))
    scorecard = evaluate.evaluate(settings)
    assert scorecard.n_rows > 4
    by_label = {line.label: line.encoder["P@1"] for line in scorecard.tables[0].classes}
    assert by_label["tone"] >= 0.5  # the short one asked: the long one's last window is it


def test_what_cannot_be_measured_is_refused_with_advice(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownNameError, match="take"):
        evaluate.evaluate(EvaluateSettings(model_dir, groups=("speaker",)))
    with pytest.raises(CorpusError, match="nothing to measure"):
        evaluate.evaluate(EvaluateSettings(model_dir, groups=("folder",), floor="never", robustness=0))
    for wrong in (["--corpus", "esc-11"], ["--robustness", "-1"], ["--k", "0"], ["--labels", str(tmp_path / "no.csv")]):
        assert command.main([str(model_dir), *wrong]) == 2
        assert "boiler: " in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing")]) == 2


def test_a_place_that_cannot_be_written_is_told(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    command = [str(model_dir), "--robustness", "0", "--floor", "never", "--out", str(tmp_path / "file" / "below")]
    assert command.main(command) == 2
    assert "--out" in capsys.readouterr().err


def test_dashes_and_underscores_are_the_same_flag(model_dir: Path, tmp_path: Path) -> None:
    command = [str(model_dir), "--robustness", "0", "--floor", "never", "--top-labels", "2", "--out", str(tmp_path)]
    assert command.main(command) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["n_labels"] == 2


def test_the_same_index_gives_the_same_figures(model_dir: Path) -> None:
    settings = EvaluateSettings(model_dir, robustness=3)
    one, other = (json.loads(evaluate.evaluate(settings).to_json()) for _ in range(2))
    for read in (one, other):
        del read["seconds"]
    assert one == other


def test_a_copied_model_directory_is_evaluated(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    settings = EvaluateSettings(tmp_path / "copy", robustness=0, floor="never")
    assert evaluate.evaluate(settings).tables[0].n_queries == 18


@pytest.mark.slow
def test_esc10_with_recordings_left_out(test_data: Path, tmp_path: Path) -> None:
    from boiler.index import IndexSettings, index

    index(IndexSettings(test_data / "esc10", "MFCCStats", model_dir=tmp_path / "m"))
    scorecard = evaluate.evaluate(EvaluateSettings(tmp_path / "m", corpus="esc10", robustness=20))
    (table,) = scorecard.tables
    found = {line.measure: line.encoder.mean for line in table.lines}
    assert table.group == "recording"
    assert 0.67 <= found["P@1"] <= 0.85
    assert found["mAP"] == pytest.approx(0.5, abs=0.05)
    assert {line.measure: line.chance for line in table.lines}["P@1"] == pytest.approx(0.096, abs=0.002)
    assert scorecard.robustness["as it is"].first.mean == 1
    assert scorecard.robustness["gain -12 dB"].first.mean == 1
    assert scorecard.knn is not None
    assert scorecard.context.deviation < 0.01

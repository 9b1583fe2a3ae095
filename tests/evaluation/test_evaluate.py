"""An evaluation agrees with an independent computation, and reports what it could not measure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluating import indexed
from sounds import write

from boiler.errors import CorpusError, UnknownNameError
from boiler.evaluation.evaluate import EvaluateSettings, evaluate
from boiler.store import generation


@pytest.fixture(scope="module")
def model_dir(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands")


def test_figures_agree_with_a_plain_computation(model_dir: Path) -> None:
    scorecard = evaluate(EvaluateSettings(model_dir, robustness=0, baseline="never")).scorecard
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


def test_without_the_sounds_the_rest_is_measured_and_the_reason_reported(model_dir: Path, tmp_path: Path) -> None:
    """As for a model directory copied to another machine."""
    settings = EvaluateSettings(model_dir, wav_dir=tmp_path, robustness=5)
    scorecard = evaluate(settings).scorecard
    assert scorecard.robustness == {}
    assert scorecard.baseline_hubness is None
    assert "No baseline" in " ".join(scorecard.notes)
    assert "No robustness" in " ".join(scorecard.notes)
    assert scorecard.tables[0].lines[0].encoder.mean > 0.9


def test_an_index_of_vectors_only_is_evaluated(labelled_folder: Path, tmp_path: Path) -> None:
    scorecard = evaluate(
        EvaluateSettings(indexed(labelled_folder, tmp_path / "m", embedder=False), baseline="never")
    ).scorecard
    assert scorecard.codebook is None
    assert scorecard.robustness == {}
    assert "the index has no encoder" in " ".join(scorecard.notes)


def test_a_long_sound_is_ranked_by_its_best_window(tmp_path: Path) -> None:
    """One file is noise first and a tone later: the tones must find it, although its mean vector is far from theirs."""
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
    settings = EvaluateSettings(indexed(sounds, tmp_path / "m"), robustness=0, baseline="never", ks=(1,))
    scorecard = evaluate(settings).scorecard
    assert scorecard.n_rows > 4
    by_label = {line.label: line.encoder["P@1"] for line in scorecard.tables[0].classes}
    assert by_label["tone"] >= 0.5  # the query is the short tone, which is the last window of the long sound


@pytest.mark.slow
def test_the_same_index_gives_the_same_figures(model_dir: Path) -> None:
    settings = EvaluateSettings(model_dir, robustness=3)
    one, other = (json.loads(evaluate(settings).scorecard.to_json()) for _ in range(2))
    for read in (one, other):
        del read["seconds"]
    assert one == other


def test_a_copied_model_directory_is_evaluated(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    settings = EvaluateSettings(tmp_path / "copy", robustness=0, baseline="never")
    assert evaluate(settings).scorecard.tables[0].n_queries == 18


@pytest.mark.slow
def test_esc10_with_recordings_excluded(test_data: Path, tmp_path: Path) -> None:
    from boiler.index import IndexSettings, index

    index(IndexSettings(test_data / "esc10", "MFCCStats", model_dir=tmp_path / "m"))
    scorecard = evaluate(EvaluateSettings(tmp_path / "m", dataset="esc10", robustness=20)).scorecard
    (table,) = scorecard.tables
    found = {line.measure: line.encoder.mean for line in table.lines}
    assert table.group == "recording"
    assert 0.67 <= found["P@1"] <= 0.85
    assert found["mAP"] == pytest.approx(0.5, abs=0.05)
    assert {line.measure: line.chance for line in table.lines}["P@1"] == pytest.approx(0.096, abs=0.002)
    assert scorecard.robustness["as it is"].first.mean == 1
    assert scorecard.robustness["gain -12 dB"].first.mean == 1
    assert scorecard.knn is not None
    assert scorecard.calibration.deviation < 0.01


def test_deprecated_settings_are_accepted(model_dir: Path) -> None:
    with pytest.warns(DeprecationWarning, match="dataset"):
        settings = EvaluateSettings(model_dir, corpus="esc10")  # type: ignore[call-arg]
    assert settings.dataset == "esc10"
    with pytest.warns(DeprecationWarning, match="baseline"):
        assert EvaluateSettings(model_dir, floor="never").baseline == "never"  # type: ignore[call-arg]


def test_an_index_that_cannot_be_evaluated_is_refused(model_dir: Path) -> None:
    with pytest.raises(UnknownNameError, match="take"):
        evaluate(EvaluateSettings(model_dir, groups=("speaker",)))
    with pytest.raises(CorpusError, match="nothing to measure"):
        evaluate(EvaluateSettings(model_dir, groups=("folder",), baseline="never", robustness=0))

"""`boiler evaluate`: its flags, what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluating import indexed

from boiler.cli import evaluate as command
from boiler.store import generation


@pytest.fixture(scope="module")
def model_dir(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands")


def test_the_command_prints_tables_and_writes_a_report(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(model_dir), "--robustness", "4", "--group", "none", "--group", "take"]) == 0
    printed = capsys.readouterr().out
    folder = model_dir / "evaluation" / generation.current_name(model_dir)
    names = ["confusion.png", "evaluation.json", "evaluation.md", "map.png", "per_class.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(name in printed.splitlines()[-1] for name in names)
    assert (folder / "evaluation.md").read_text(encoding="utf-8") in printed
    read = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert [table["group"] for table in read["tables"]] == ["none", "take"]
    assert read["encoder"] == "Bands"
    assert read["baseline_hubness"] is not None
    assert read["robustness"]["as it is"]["first"]["mean"] == 1.0
    assert read["robustness"]["gain +12 dB"]["lowest_cosine"] == pytest.approx(1, abs=1e-4)
    assert read["robustness"]["8 kHz"]["n_sounds"] == 4
    assert read["codebook"]["size"] == 32
    assert 1 < read["codebook"]["perplexity"] <= read["codebook"]["used"] <= 32
    assert read["engine"]["annoy"] > 0.95
    # A report is passed on, so it must not contain paths of this machine.
    assert str(model_dir) not in json.dumps(read)
    # The index is unchanged.
    generation.check(model_dir)


def test_a_table_of_several_labels(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["id,labels,album"]
    for kind, tags in (("whistle", "high;tonal"), ("hum", "low;tonal"), ("clap", "noise")):
        lines += [f"{kind}-{n}.wav,{tags},{n % 3}" for n in range(5)]
    (tmp_path / "tags.csv").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--labels", str(tmp_path / "tags.csv"), "--group", "album", "--baseline", "never", "--robustness", "0"]
    assert command.main([str(model_dir), *flags, "--k", "1", "3", "--out", str(tmp_path / "out")]) == 0
    read = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert read["multilabel"]
    assert (read["n_evaluated"], read["n_without_label"]) == (15, 3)
    assert read["tables"][0]["confusion"] is None
    assert {row["label"] for row in read["tables"][0]["classes"]} == {"high", "low", "noise", "tonal"}
    measures = {line["measure"]: line["encoder"]["mean"] for line in read["tables"][0]["lines"]}
    assert "P@3" in measures
    assert "P@5" not in measures
    assert measures["P@1"] > 0.8  # sounds of one kind have the same tags: a gain of 1
    assert not (tmp_path / "out" / "confusion.png").exists()
    assert "15 sounds of 4 tags" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        (["--dataset", "esc-11"], "no data set is called 'esc-11'; did you mean 'esc10'?"),
        (["--robustness", "-1"], "--robustness is -1"),
        (["--k", "0"], "--k is 0"),
        (["--labels", "no.csv"], "no.csv cannot be read as a table"),
    ],
    ids=str,
)
def test_wrong_flags_are_refused_with_advice(
    model_dir: Path, flags: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(model_dir), *flags]) == 2
    assert f"boiler: {advice}" in capsys.readouterr().err


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    assert command.main([str(tmp_path / "nothing")]) == 2


def test_an_output_folder_that_cannot_be_written_is_refused(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    flags = ["--robustness", "0", "--baseline", "never", "--out", str(tmp_path / "file" / "below")]
    assert command.main([str(model_dir), *flags]) == 2
    assert "--out" in capsys.readouterr().err


def test_dashes_and_underscores_in_flags_are_equivalent(model_dir: Path, tmp_path: Path) -> None:
    flags = ["--robustness", "0", "--baseline", "never", "--top-labels", "2", "--out", str(tmp_path)]
    assert command.main([str(model_dir), *flags]) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["n_labels"] == 2


def test_deprecated_flags_work_with_a_notice(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(model_dir), "--robustness", "0", "--floor", "never", "--out", str(tmp_path)]) == 0
    assert "--floor is deprecated: use --baseline" in capsys.readouterr().err
    assert command.main([str(model_dir), "--corpus", "esc-11", "--corpus_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "--corpus is deprecated: use --dataset" in said
    assert "--corpus_dir is deprecated: use --dataset_dir" in said
    with pytest.raises(SystemExit, match="2"):
        command.main([str(model_dir), "--floor", "sometimes"])

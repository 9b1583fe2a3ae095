"""The report of an indexing run."""

from __future__ import annotations

import json
from pathlib import Path

from boiler.catalog.diff import Changes
from boiler.catalog.items import Failure
from boiler.catalog.metadata import TableMatch
from boiler.indexing.embed import EmbedTally
from boiler.indexing.report import Report, plan_lines


def report(**changes: object) -> Report:
    values: dict = {
        "model_dir": Path("exp/m"),
        "generation": "000001-ab",
        "published": True,
        "changes": Changes(new=["a.wav"]),
        "tally": EmbedTally(embedded=100, windows=400, sound_s=7200.0, decode_wait_s=5.0, embed_s=30.0),
        "failures": [],
        "n_relabelled": 0,
        "table": None,
        "warnings": [],
        "passed_over": {},
        "n_items": 100,
        "n_rows": 400,
        "scan_s": 1.0,
        "publish_s": 2.0,
        "wall_s": 40.0,
    }
    return Report(**(values | changes))


def test_the_report_has_speed_and_bottleneck() -> None:
    text = "\n".join(report().lines())
    assert "2.5 files per second, 180 hours of sound per hour; embedding was the bottleneck" in text
    assert "decoding was the bottleneck" in "\n".join(
        report(tally=EmbedTally(embedded=1, windows=1, decode_wait_s=2.0, embed_s=1.0)).lines()
    )


def test_a_run_without_work_reports_no_speed() -> None:
    text = "\n".join(report(tally=EmbedTally(), published=False).lines())
    assert "files per second" not in text
    assert "nothing changed" in text


def test_the_first_failures_are_listed_and_all_are_counted() -> None:
    lines = list(report(failures=[Failure(f"{n}.wav", "is empty") for n in range(60)]).failure_lines())
    assert lines[0] == "60 files could not be decoded:"
    assert lines[1] == "  0.wav: is empty"
    assert lines[-1] == "  and 10 more: boiler status exp/m"


def test_sounds_decoded_in_part_and_files_passed_over_are_listed() -> None:
    warnings = [Failure("b.mp3", "it ends 222.0 s before the end that it states")]
    lines = list(report(warnings=warnings, passed_over={".tak": 1, ".ape": 12}).failure_lines())
    assert lines == [
        "not looked at, because boiler does not read them: 12 .ape, 1 .tak",
        "of 1 files a part could not be decoded:",
        "  b.mp3: it ends 222.0 s before the end that it states",
    ]


def test_json_has_the_figures() -> None:
    values = json.loads(report(failures=[Failure("a.wav", "is empty")]).to_json())
    assert (values["files_per_s"], values["bottleneck"], values["model_dir"]) == (2.5, "embedding", "exp/m")
    assert values["failures"] == [{"id": "a.wav", "reason": "is empty", "sha256": ""}]


def test_json_has_the_table_that_was_read() -> None:
    assert json.loads(report().to_json())["table"] is None
    values = json.loads(report(table=TableMatch(Path("labels.csv"), 3, 4, "x.wav")).to_json())
    assert values["table"] == {"path": "labels.csv", "n_matched": 3, "n_rows": 4, "unmatched": "x.wav"}


def test_a_dry_run_lists_every_change() -> None:
    changes = Changes(new=["n.wav"], changed=["c.wav"], moved=[("a.wav", "b.wav")], gone=["g.wav"], unchanged=7)
    assert list(plan_lines(changes)) == [
        "new      n.wav",
        "changed  c.wav",
        "moved    a.wav -> b.wav",
        "gone     g.wav",
        "1 new, 1 changed, 1 moved, 1 gone, 7 unchanged",
    ]

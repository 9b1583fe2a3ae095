"""`boiler tfrecord` prints records, and names those that are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler.cli import main
from boiler.tagging.tfrecord import encode_example, write_records
from boiler.tagging.vocabulary import Vocabulary


def write(path: Path, n: int) -> None:
    frames = {"rgb": [[bytes(8)]] * 3}
    records = [
        encode_example(
            {"id": [b"v%d" % number], "labels": np.array([1, 9]), "mean_rgb": np.arange(6) / 2, "raw": [b"\xff\x00"]},
            frames if number else None,
        )
        for number in range(n)
    ]
    write_records(path, records)


def test_records_are_printed_with_names_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.tfrecord", 2)
    Vocabulary(("cat", "dog")).write(tmp_path / "v.csv")
    assert main(["tfrecord", str(tmp_path / "*.tfrecord"), "--vocabulary", str(tmp_path / "v.csv")]) == 0
    said = capsys.readouterr().out
    assert "record 0 at byte 0" in said
    assert "int64 [2]: 1, 9" in said
    assert "dog, 9 (not in the vocabulary)" in said
    assert "float32 [6]: 0, 0.5, 1, 1.5 ..." in said
    assert "bytes [1]: 'v0'" in said
    assert "bytes [1]: 2 bytes" in said
    assert "3 frames, the first: bytes [1]: '\\x00" in said or "3 frames, the first: bytes [1]: 8 bytes" in said
    assert said.endswith("2 records, 0 damaged\n")


def test_damaged_records_are_named_behind_the_limit_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tfrecord"
    write(path, 3)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x00" if content[-1] else content[:-1] + b"\x01")
    assert main(["tfrecord", str(path), "--limit", "1"]) == 1
    said = capsys.readouterr()
    assert said.out.count("record ") == 1
    assert "record 2 at byte" in said.err
    assert "do not match their checksum" in said.err
    assert said.out.endswith("2 records, 1 damaged\n")


def test_a_file_that_is_no_tfrecord_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"this is a text, and not a record at all")
    assert main(["tfrecord", str(tmp_path / "a")]) == 1
    assert "its length does not match its checksum" in capsys.readouterr().err
    assert main(["tfrecord", str(tmp_path / "none")]) == 2

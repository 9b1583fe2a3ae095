"""Labels, folds and groups from a catalog, a table and a known data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler.catalog.items import Item
from boiler.errors import CorpusError, UnknownNameError
from boiler.evaluation import ground_truth
from boiler.evaluation.ground_truth import GroundTruth

IDS = ["drums/kick_a.wav", "drums/kick_b.wav", "voices/ann_1.wav"]


def items(**metadata: list[object]) -> list[Item]:
    return [
        Item(n, id, label=id.split("/")[0], metadata={name: values[n] for name, values in metadata.items()})
        for n, id in enumerate(IDS)
    ]


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_labels_of_the_catalog_and_its_metadata() -> None:
    truth = ground_truth.from_catalog(items(artist=["x", "y", None], year=[1999, 1999, 2001]))
    assert truth.labels == (("drums",), ("drums",), ("voices",))
    assert truth.class_indices().tolist() == [0, 0, 1]
    assert truth.group_indices("artist", IDS).tolist() == [0, 1, -1]
    assert truth.group_indices("year", IDS).tolist() == [0, 0, 1]
    assert ground_truth.from_catalog(items(artist=["x", "y", None]), "artist").labels == (("x",), ("y",), ())


def test_a_catalog_without_labels_is_refused_with_advice() -> None:
    with pytest.raises(CorpusError, match="--labels CSV"):
        ground_truth.from_catalog([Item(0, "a.wav"), Item(1, "b.wav")])
    with pytest.raises(UnknownNameError, match="artist"):
        ground_truth.from_catalog(items(), "artist")


def test_groups_by_folder_pattern_and_none() -> None:
    truth = ground_truth.from_catalog(items())
    assert truth.group_indices("folder", IDS).tolist() == [0, 0, 1]
    assert truth.group_indices("none", IDS).tolist() == [-1, -1, -1]
    assert truth.group_indices(r"re:/([a-z]+)_", IDS).tolist() == [1, 1, 0]
    assert truth.group_indices(r"re:kick|ann", IDS).tolist() == [1, 1, 0]
    assert truth.group_indices(r"re:kick_(.)", IDS).tolist() == [
        0,
        1,
        -1,
    ]  # ids that do not match are groups of their own


def test_an_unknown_group_lists_the_known_and_a_bad_pattern_is_refused() -> None:
    truth = ground_truth.from_catalog(items(artist=["x", "y", "z"]))
    with pytest.raises(UnknownNameError, match="artist, folder, none"):
        truth.group_indices("speaker", IDS)
    with pytest.raises(CorpusError, match="is not a regular expression"):
        truth.group_indices("re:(", IDS)
    with pytest.raises(CorpusError, match=r"matches no id.*drums/kick_a"):
        truth.group_indices("re:flute", IDS)


def test_a_table_by_path_and_by_name(tmp_path: Path) -> None:
    truth = ground_truth.from_csv(
        table(
            tmp_path / "l.csv",
            "file_name,label,fold,album",
            "drums/kick_a.wav,low,1,X",
            "ann_1.wav,high,2,Y",
            "other.wav,high,2,Y",
        ),
        IDS,
    )
    assert truth.labels == (("low",), (), ("high",))
    assert truth.is_labelled.tolist() == [True, False, True]
    assert truth.folds == ("1", "", "2")
    assert truth.group_indices("album", IDS).tolist() == [0, -1, 1]
    assert not truth.multilabel


def test_several_labels_per_line(tmp_path: Path) -> None:
    path = table(tmp_path / "l.csv", "id,labels", "drums/kick_a.wav,low; dry;low", "drums/kick_b.wav,dry", "ann_1.wav,")
    truth = ground_truth.from_csv(path, IDS)
    assert truth.multilabel
    assert truth.labels == (("dry", "low"), ("dry",), ())
    assert truth.label_names == ("dry", "low")
    np.testing.assert_array_equal(truth.tag_matrix(), [[1, 1], [1, 0], [0, 0]])


def test_another_column_is_the_label_when_named(tmp_path: Path) -> None:
    path = table(tmp_path / "l.csv", "id,label,mood", "drums/kick_a.wav,low,sad", "ann_1.wav,high,merry")
    truth = ground_truth.from_csv(path, IDS, "mood")
    assert truth.labels[0] == ("sad",)
    assert truth.columns["label"] == ("low", "", "high")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,label", "a,b"], "it needs one called id"),
        (["id,kind", "a,b"], "one called label"),
        (["id,label", "unheard.wav,x"], "lists none of the sounds"),
        ([""], "the columns"),
    ],
)
def test_an_invalid_table_is_refused_with_the_reason(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        ground_truth.from_csv(table(tmp_path / "l.csv", *lines), IDS)


def test_a_missing_or_binary_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        ground_truth.from_csv(tmp_path / "none.csv", IDS)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        ground_truth.from_csv(tmp_path / "bytes.csv", IDS)


def test_a_known_data_set_has_its_folds_and_default_group() -> None:
    ids = ["0_george_0.wav", "0_theo_7.wav", "1_theo_1.wav", "noise.wav"]
    truth = ground_truth.from_dataset("fsdd", ids, None, None)
    assert truth.labels == (("0",), ("0",), ("1",), ())
    assert truth.folds == ("test", "train", "test", "")
    assert truth.default_group == "speaker"
    assert truth.group_indices("speaker", ids).tolist() == [0, 1, 1, -1]


def test_the_root_of_a_data_set_may_be_above_the_indexed_folder(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    table(tmp_path / "metadata" / "UrbanSound8K.csv", "slice_file_name,fsID,fold,class", "7-3-0-0.wav,7,5,dog_bark")
    (tmp_path / "audio").mkdir()
    truth = ground_truth.from_dataset("urbansound8k", ["fold5/7-3-0-0.wav"], tmp_path, tmp_path / "audio")
    assert truth.labels == (("dog_bark",),)


def test_numeric_labels_are_sorted_as_numbers() -> None:
    truth = GroundTruth("x", (("10",), ("9",), ("2",)), ("",) * 3, {})
    assert truth.label_names == ("2", "9", "10")
    assert GroundTruth("x", (("b",), ("10",), ("9",)), ("",) * 3, {}).label_names == ("9", "10", "b")


def test_keeping_the_most_frequent_labels_and_some_items() -> None:
    truth = GroundTruth("x", (("a", "b"), ("b",), ("c",)), ("1", "2", ""), {"g": ("x", "y", "z")}, multilabel=True)
    assert truth.with_top_labels(1).labels == (("b",), ("b",), ())
    part = truth.select([2, 0])
    assert part.labels == (("c",), ("a", "b"))
    assert (part.folds, part.columns["g"]) == (("", "1"), ("z", "x"))

"""The annoy file of a generation agrees with exact search; invalid vectors are refused."""

from __future__ import annotations

from pathlib import Path

import annoy
import numpy as np
import pytest
from generations import publish

from boiler.arrays import Float32Array, UInt8Array
from boiler.engine import selection
from boiler.store import build, generation
from boiler.store.generation import Header, Item, rows_of


def test_the_annoy_file_returns_k_rows_and_finds_each_row_itself(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m", n_items=300)
    index = annoy.AnnoyIndex(opened.header.dim, "angular")
    index.load(str(tmp_path / "m" / "annoy"))
    settings = opened.header.engine["annoy"]
    for row in range(0, opened.header.n_rows, 37):
        answers = index.get_nns_by_item(row, 10, settings["search_k"])
        assert len(answers) == 10
        assert answers[0] == row
    assert settings["recall_at_10"] >= selection.RECALL_WANTED


@pytest.mark.slow
def test_recall_counts_equal_rows_as_found(tmp_path: Path) -> None:
    vectors = np.tile(np.float32([1, 2, 3]), (500, 1))
    items = [Item(n, f"{n}.wav") for n in range(500)]
    opened = generation.publish(tmp_path / "m", Header("mine", 3), vectors, rows_of(range(500)), items)
    assert opened.header.engine["annoy"]["recall_at_10"] == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path, bad: float) -> None:
    vectors = np.ones((2, 3), np.float32)
    vectors[1, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        generation.publish(tmp_path / "m", Header("mine", 3), vectors, rows_of([0, 1]), [Item(0, "a"), Item(1, "b")])


def test_a_zero_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zero vectors"):
        generation.publish(
            tmp_path / "m", Header("mine", 3), np.zeros((1, 3), np.float32), rows_of([0]), [Item(0, "a")]
        )


def score_two_classes(unit: Float32Array) -> UInt8Array:
    """The first two coordinates, from -1 to 1, as 0 to 254."""
    return np.round(127 + 127 * unit[:, :2]).astype(np.uint8)


def test_every_row_has_the_scores_of_its_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SCORE_ROWS", 16)
    (tmp_path / "words").write_bytes(b"a model")
    scoring = build.WordScoring(tmp_path / "words", 2, score_two_classes)
    opened = publish(tmp_path / "m", n_items=20, words=scoring)
    assert opened.word_scores is not None
    assert opened.word_scores.shape == (3, 2, 16)  # 38 rows
    by_row = opened.word_scores.transpose(0, 2, 1).reshape(-1, 2)
    np.testing.assert_array_equal(by_row[:38], score_two_classes(opened.vectors))
    assert not by_row[38:].any()


def test_an_unchanged_model_is_linked_to_the_one_of_the_generation_before(tmp_path: Path) -> None:
    model = tmp_path / "words"
    model.write_bytes(b"a model")
    scoring = build.WordScoring(model, 2, score_two_classes)
    one, other = (publish(tmp_path / "m", words=scoring, tag_model=model) for _ in range(2))
    for name in (build.WORD_MODEL, build.TAG_MODEL):
        assert (one.path / name).samefile(other.path / name)
        assert not (one.path / name).samefile(model)
    model.write_bytes(b"another model")
    assert (publish(tmp_path / "m", words=scoring).path / build.WORD_MODEL).read_bytes() == b"another model"

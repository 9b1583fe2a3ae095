"""Search in words: ranking, minus, mixing with sounds and filters, and what is said about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from generations import publish
from wording import CLASSES, publish_with_words

from boiler.errors import QueryError
from boiler.search import filters
from boiler.search.nearest import ByItem, ByText, Nearest, Options
from boiler.store import build

DOG, BARK, RAIN, VIOLIN = CLASSES.index("Dog"), 1, CLASSES.index("Rain"), 4


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """120 sounds of one class each, n % 6; number 6 is of a dog in the rain, 12 of a dog and a violin."""
    rng = np.random.default_rng(0)
    vectors = np.eye(6, dtype=np.float32)[np.arange(120) % 6] + 0.05 * rng.normal(size=(120, 6)).astype(np.float32)
    vectors[6, [DOG, RAIN]] = 1
    vectors[12, [DOG, VIOLIN]] = 1
    model_dir = tmp_path_factory.mktemp("words") / "index"
    publish_with_words(model_dir, vectors)
    return Nearest(model_dir)


def test_words_find_sounds_of_their_class_best_first(nearest: Nearest) -> None:
    matches = nearest.by_text("hound", 18)
    assert {match.n % 6 for match in matches} == {DOG}
    assert [match.distance for match in matches] == sorted(match.distance for match in matches)
    assert matches[0].words[0].name == "dog"
    assert matches[0].closer_than is not None
    assert matches[0].closer_than > 0.8
    assert matches[0].similarity == pytest.approx(1 - matches[0].distance ** 2 / 2, abs=1e-6)


def test_the_best_of_many_rows_are_those_of_a_full_sort(nearest: Nearest) -> None:
    snapshot = nearest._context.snapshot
    similarity = np.random.default_rng(1).choice(np.linspace(0, 1, 30, dtype=np.float32), 120)  # many ties
    for k in (1, 7, 50, 119, 200):
        order = np.argsort(-similarity, kind="stable")[:k]
        assert snapshot.best_items(similarity, k).rows.tolist() == order.tolist()
        among = np.arange(3, 120, 7)
        found = snapshot.best_items(similarity, k, among=among, without=[10, 17]).rows
        left = np.array([row for row in among if row not in (10, 17)])
        assert found.tolist() == left[np.argsort(-similarity[left], kind="stable")][:k].tolist()


def test_words_with_a_minus_push_away(nearest: Nearest) -> None:
    def gap(text: str) -> float:
        """How much better a dog alone matches than a dog with a violin."""
        similarity = {match.n: match.similarity for match in nearest.by_text(text, 120)}
        return similarity[18] - similarity[12]

    assert gap("dog -violin") > gap("dog") + 0.05 > gap("dog violin") + 0.05
    both = nearest.query([ByText("dog"), ByText("violin", -0.5)], 120).matches
    apart = {match.n: match.similarity for match in both}
    assert apart[18] - apart[12] == pytest.approx(gap("dog -violin"), abs=1e-6)
    dog, violin = ({match.n: match.similarity for match in nearest.by_text(text, 120)} for text in ("dog", "violin"))
    assert apart == pytest.approx({n: (dog[n] + 0.5 * (1 - violin[n])) / 1.5 for n in dog}, abs=1e-6)


def test_words_mix_with_sounds_and_filters(nearest: Nearest) -> None:
    result = nearest.query([ByText("rain"), ByItem(0)], 5, Options(where=filters.field("n") < 60))
    assert result.matches[0].n == 6
    assert all(match.n < 60 for match in result.matches)
    assert 0 not in {match.n for match in result.matches}
    assert result.understood[0].text.wanted == ("rain",)
    assert result.understood[0].wanted[0].name == "rain"


def test_many_equal_matches_are_not_called_dissimilar(tmp_path: Path) -> None:
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(24) % 6])
    with Nearest(tmp_path / "index") as nearest:
        result = nearest.query(ByText("rain"), 3)
    assert max(match.closer_than or 0 for match in result.matches) < 0.9  # a sixth of all are the best
    assert not result.nothing_similar


def test_several_windows_of_an_item_count_by_the_best(tmp_path: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)[[RAIN, VIOLIN, VIOLIN, DOG]]
    publish_with_words(tmp_path / "index", vectors, [0, 0, 1, 1])
    with Nearest(tmp_path / "index") as nearest:
        assert [match.n for match in nearest.by_text("dog", 2)] == [1, 0]
        assert {one.name for one in nearest.words(1, 2)} == {"dog", "violin"}
        result = nearest.query(ByText("violin"), 4, Options(per_window=True))
        assert sorted(match.n for match in result.matches[:2]) == [0, 1]
        assert len(result.matches) == 4


def test_rows_beyond_a_block_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SCORE_ROWS", 16)
    vectors = np.eye(6, dtype=np.float32)[[RAIN] * (build.SCORE_ROWS + 5) + [DOG]]
    publish_with_words(tmp_path / "index", vectors)
    with Nearest(tmp_path / "index") as nearest:
        assert nearest.by_text("dog", 1)[0].n == build.SCORE_ROWS + 5
        assert nearest.words(build.SCORE_ROWS + 5, 1)[0].name == "dog"


def test_many_queries_give_what_single_ones_give(nearest: Nearest) -> None:
    many = nearest.query_many([ByText("dog"), 3], 4)
    assert many[0] == nearest.query(ByText("dog"), 4)
    assert many[1] == nearest.query(3, 4)


def test_where_words_cannot_go_is_said(nearest: Nearest, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no word is known"):
        nearest.by_text("xyzzyx")
    with pytest.raises(QueryError, match="words and pictures have no vector"):
        nearest.query_vector(ByText("dog"))
    with pytest.raises(QueryError, match="words and pictures have no sound to explain"):
        nearest.explain(ByText("dog"), 1)
    with pytest.raises(QueryError, match="can be located, not ByText"):
        nearest.locate(ByText("dog"))  # type: ignore[arg-type]
    publish(tmp_path / "index")
    with Nearest(tmp_path / "index") as other:
        assert not other.has_words
        with pytest.raises(QueryError, match="this index of mine cannot be searched in words"):
            other.by_text("dog")
        with pytest.raises(QueryError, match="cannot be searched in words"):
            other.words(1)


def test_without_words_in_the_query_matches_have_none(nearest: Nearest) -> None:
    result = nearest.query(0, 3)
    assert result.understood == ()
    assert all(match.words == () for match in result.matches)
    assert dataclasses.asdict(nearest.by_text("dog", 1)[0])["words"][0]["name"] == "dog"

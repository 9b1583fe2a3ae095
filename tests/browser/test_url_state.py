"""The state of a page survives its URL, and any URL gives a state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.browser import url_state
from boiler.browser.url_state import (
    ALIASES,
    MAX_HISTORY,
    MAX_RESULTS,
    PAGE_SIZE,
    PathState,
    Refinement,
    SearchState,
    current_params,
    invalid_params,
)

item_numbers = st.integers(0, 10**9)
NAMES = [*url_state._PARSERS, *ALIASES]
url_params = st.dictionaries(
    st.sampled_from(NAMES),
    st.text(max_size=30) | st.from_regex(r"[0-9.,\-+e]{0,20}", fullmatch=True),
)


@given(url_params)
def test_any_url_gives_a_state_that_is_written_back_unchanged(params: dict[str, str]) -> None:
    search = SearchState.from_params(params).to_params()
    assert SearchState.from_params(search).to_params() == search
    path = PathState.from_params(params).to_params()
    assert PathState.from_params(path).to_params() == path
    assert invalid_params(search) == invalid_params(path) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sound=abc&from=1&to=2&trail=1.2&library=k", "upload=abc&from=1&to=2&history=1.2&index=k"),
        ("item=7&more=1.2&less=3&why=9", "item=7&like=1.2&dislike=3&explain=9"),
        ("in=drums", "browse=drums"),
        ("item=7&short=1&long=9&vary=30", "item=7&min_s=1&max_s=9&diversity=30"),
        ("item=7&most=2&by=folder", "item=7&per_group=2&group_by=folder"),
        ("item=7&fold=0&hubs=1&heed=1", "item=7&dedup=0&csls=1&feedback=1"),
    ],
)
def test_links_of_earlier_versions_open_the_same_view(old: str, new: str) -> None:
    def params(query: str) -> dict[str, str]:
        return dict(pair.split("=") for pair in query.split("&"))

    state = SearchState.from_params(params(old))
    assert state == SearchState.from_params(params(new))
    assert not set(state.to_params()) & set(ALIASES)
    assert state != SearchState()


def test_every_deprecated_name_stands_for_a_current_one() -> None:
    assert set(ALIASES.values()) <= set(url_state._PARSERS)
    assert not set(ALIASES) & set(url_state._PARSERS)
    assert current_params({"more": "1", "like": "2"}) == {"like": "2"}


def test_values_that_cannot_be_read_are_named_as_the_url_has_them() -> None:
    url = {"item": "abc", "vary": "much", "k": "24", "find": "", "steps": "-3", "fold": "yes", "utm_source": "mail"}
    assert invalid_params(url) == {"item": "abc", "vary": "much", "steps": "-3", "fold": "yes"}


@given(st.lists(item_numbers, min_size=1, max_size=40))
def test_the_history_holds_no_item_twice_and_not_the_current_one(queried: list[int]) -> None:
    state = SearchState()
    for n in queried:
        state = state.query_item(n)
    assert state.item == queried[-1]
    assert len(set(state.history)) == len(state.history) <= MAX_HISTORY
    assert state.item not in state.history


def test_returning_to_an_earlier_query_forgets_those_after_it() -> None:
    state = SearchState().query_item(1).query_item(2).query_item(3)
    assert state.history == (1, 2)
    assert state.query_item(1) == SearchState().query_item(1)


def test_one_of_an_item_an_upload_and_a_picture_is_the_query() -> None:
    url = {"item": "1", "upload": "a", "picture": "b"}
    assert SearchState.from_params(url) == SearchState(item=1)
    assert SearchState.from_params({name: url[name] for name in ("upload", "picture")}) == SearchState(upload="a")
    state = SearchState(item=1, upload="a", start_s=0.0, end_s=1.0).query_picture("b")
    assert state == SearchState(picture="b", history=(1,)) == SearchState.from_params(state.to_params())
    assert state.has_query


def test_an_upload_joins_the_history_like_any_query() -> None:
    state = SearchState()
    for n in range(20):
        state = state.query_item(n)
    assert len(state.query_upload("abc").history) == MAX_HISTORY
    assert state.query_upload("abc").history[-1] == 19


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_no_item_is_liked_and_disliked_at_once(clicks: list[tuple[bool, int]]) -> None:
    state = SearchState(item=9)
    for like, n in clicks:
        state = state.toggle_like(n) if like else state.toggle_dislike(n)
    assert not set(state.liked) & set(state.disliked)


def test_a_second_click_takes_a_like_or_dislike_back() -> None:
    state = SearchState(item=9, liked=(1,), disliked=(2,))
    assert state.toggle_like(5).toggle_like(5) == state
    assert state.toggle_dislike(5).toggle_dislike(5) == state


def test_a_new_query_keeps_the_refinement_and_drops_likes() -> None:
    before = SearchState(item=1, liked=(2,), disliked=(3,), refinement=Refinement(label="rain"), k=48)
    after = before.query_item(7)
    assert (after.liked, after.disliked, after.refinement.label, after.k) == ((), (), "rain", PAGE_SIZE)


def test_a_part_needs_a_sound_and_a_length() -> None:
    assert SearchState.from_params({"from": "1", "to": "2"}).start_s is None
    assert SearchState.from_params({"item": "1", "from": "2", "to": "1"}).start_s is None
    assert SearchState.from_params({"item": "1", "from": "nan", "to": "1"}).start_s is None
    assert SearchState.from_params({"item": "1", "from": "0.5", "to": "2"}).end_s == 2.0


def test_the_number_of_results_is_bounded() -> None:
    state = SearchState(item=1)
    for _ in range(100):
        state = state.show_more()
    assert state.k == MAX_RESULTS
    assert SearchState.from_params({"item": "1", "k": "99999"}).k == MAX_RESULTS


def test_the_refine_form_counts_what_was_changed() -> None:
    assert Refinement().n_changed == 0
    assert Refinement(label="rain", dedup=False, diversity=5).n_changed == 3

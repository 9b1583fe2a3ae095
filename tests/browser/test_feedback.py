"""Likes and dislikes are kept in the URL and stored with the index, and undo takes both back."""

from __future__ import annotations

from browsing import RUN_S, collection, new_page, picture_bytes, run_page
from streamlit.testing.v1 import AppTest

from boiler.browser import results
from boiler.browser.indexes import OpenIndex
from boiler.browser.upload_store import upload_store
from boiler.browser.url_state import Refinement, SearchState
from boiler.search.nearest import ByItem


def search_page_after_clicks(model_dir: str, wav_dir: str, query: dict[str, str], clicks: list[list[object]]) -> None:
    from pathlib import Path

    import streamlit as st

    from boiler.browser import actions, indexes, search_page
    from boiler.browser.url_state import SearchState

    index = indexes.open_index(Path(model_dir), Path(wav_dir))
    if "clicked" not in st.session_state:
        st.session_state["clicked"] = True
        actions.set_url(SearchState.from_params(query))
        for action, n in clicks:
            actions.handle_on_search_page(index, {"action": action, "n": n})
    search_page.show_page(index)


def click(index: OpenIndex, item: int, *clicks: tuple[str, int]) -> AppTest:
    page = click_for(index, {"item": str(item)}, *clicks)
    assert not page.exception
    assert not page.error
    return page


def click_for(index: OpenIndex, query: dict[str, str], *clicks: tuple[str, int]) -> AppTest:
    args = (str(index.model_dir), str(collection()[0]), query, [list(one) for one in clicks])
    return AppTest.from_function(search_page_after_clicks, default_timeout=RUN_S, args=args).run()


def stored(index: OpenIndex, item: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    summary = index.nearest.feedback_for(ByItem(item))
    return summary.likes, summary.dislikes


def test_a_like_is_stored_with_the_index_and_kept_in_the_url(writable_index: OpenIndex) -> None:
    liked, disliked = writable_index.nearest.item(12).id, writable_index.nearest.item(7).id
    page = click(writable_index, 3, ("like", 12), ("dislike", 7))
    assert page.query_params["like"] in ("12", ["12"])
    assert stored(writable_index, 3) == ((liked,), (disliked,))


def test_a_second_click_takes_a_like_back_in_both(writable_index: OpenIndex) -> None:
    page = click(writable_index, 3, ("like", 12), ("like", 12))
    assert "like" not in page.query_params
    assert stored(writable_index, 3) == ((), ())


def test_a_like_for_a_picture_is_kept_in_the_url_alone(writable_index: OpenIndex) -> None:
    page = click_for(writable_index, {"picture": upload_store().add_picture("a.png", picture_bytes())}, ("like", 12))
    assert page.query_params["like"] in ("12", ["12"])
    assert not page.toast  # that it could not be stored


def test_a_dislike_replaces_a_like(writable_index: OpenIndex) -> None:
    click(writable_index, 3, ("like", 12), ("dislike", 12))
    assert stored(writable_index, 3) == ((), (writable_index.nearest.item(12).id,))


def test_undo_takes_back_the_last_click(writable_index: OpenIndex) -> None:
    page = click(writable_index, 3, ("like", 12), ("dislike", 7))
    page.button(key="undo").click().run()
    assert "dislike" not in page.query_params
    assert stored(writable_index, 3) == ((writable_index.nearest.item(12).id,), ())
    page.button(key="undo").click().run()
    assert set(page.query_params) == {"item"}
    assert stored(writable_index, 3) == ((), ())


def test_stored_feedback_moves_the_results_only_on_demand(writable_index: OpenIndex) -> None:
    def found(state: SearchState) -> list[int]:
        return [match.n for match in results.find_results(writable_index, state).matches]

    state = SearchState(item=3, k=20)
    plain = found(state)
    writable_index.nearest.add_feedback(ByItem(3), plain[0], like=False)
    assert found(state) == plain
    assert plain[0] not in found(state.refined(Refinement(feedback=True)))
    page = run_page(new_page(), item="3")
    page.button(key="use-stored-feedback").click().run()
    assert page.query_params["feedback"] in ("1", ["1"])

"""The search page: the search bar, and below it the view that the URL asks for."""

from __future__ import annotations

import streamlit as st

from boiler.browser import item_views, results_view, search_bar, upload_field
from boiler.browser.formatting import escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState, invalid_params


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    state = SearchState.from_params(st.query_params)
    search_bar.show_search_bar(index, state)
    _warn_of_invalid_params()
    upload_field.process_pending_upload(state)
    if state.find or ((state.refinement.label or state.refinement.tag) and not state.has_query):
        item_views.show_found_items(index, state)
    elif state.has_query:
        results_view.show_query_and_results(index, state)
    elif state.browse is not None:
        item_views.show_folder(index, state)
    else:
        item_views.show_start_view(index, state)


def _warn_of_invalid_params() -> None:
    """Show which parameters of the URL were ignored because they cannot be parsed."""
    place = st.empty()  # always on the page, like the placeholder of an upload
    if invalid := invalid_params(st.query_params):
        names = ", ".join(escape_markdown(f"{name}={text[:40]}") for name, text in invalid.items())
        place.warning(f"This link is not complete or was mistyped; ignored: {names}.", icon=":material/link_off:")

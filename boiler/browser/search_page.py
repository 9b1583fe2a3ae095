"""The search page: the search bar, and below it the view that the URL asks for."""

from __future__ import annotations

import streamlit as st

from boiler.browser import item_views, results_view, search_bar, upload_field
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState


def show_page(index: OpenIndex) -> None:
    """The whole page."""
    state = SearchState.from_params(st.query_params)
    search_bar.show_search_bar(index, state)
    upload_field.process_pending_upload(state)
    if state.find or (state.refinement.label and not state.has_query):
        item_views.show_found_items(index, state)
    elif state.has_query:
        results_view.show_query_and_results(index, state)
    elif state.browse is not None:
        item_views.show_folder(index, state)
    else:
        item_views.show_start_view(index, state)

"""The view of the search page with a query: the queries before it, the query itself, likes, and the results."""

from __future__ import annotations

import logging
from dataclasses import replace

import streamlit as st

from boiler.browser import (
    actions,
    background,
    cards,
    explanation,
    feedback,
    filter_form,
    results,
    widgets,
    words_view,
)
from boiler.browser.formatting import count_noun, escape_markdown, item_name
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import tray_numbers
from boiler.browser.upload_store import upload_store
from boiler.browser.url_state import SearchState
from boiler.catalog.items import Item
from boiler.errors import CheckpointError, SettingsError
from boiler.search.nearest import ByPicture

KEYBOARD_HELP = (
    ":material/keyboard: **J** **K** next and previous, **Space** play, **M** more like this, **L** like, "
    "**D** dislike, **Z** undo, **T** tray, **S** spectrogram, **W** why, **G** path. "
    "Drag over the large waveform to search with a part of the sound."
)


PICTURE_PX = 160
"""The longer side of a picture on the page."""
NO_NETWORK = (
    "A search with a picture needs a network that names what it shows, and there is none, or it is damaged. Fetch it "
    "with `boiler encoders add efficientnet-lite0` where this browser runs, then reload the page."
)

log = logging.getLogger("boiler.browser")


def show_query_and_results(index: OpenIndex, state: SearchState) -> None:
    """Show the view."""
    _show_history(index, state)
    query = _show_query(index, state)
    if not _is_embedded(index, state):
        return
    feedback_place = st.container()
    explanation_place = st.container()
    _show_results(index, state)
    with feedback_place:  # filled last, like the next one, so that the results are shown first
        _show_feedback(index, state)
    if query is not None:
        with explanation_place:
            explanation.show_explanation(index, state, *query)


def _show_history(index: OpenIndex, state: SearchState) -> None:
    """The queries before this one, each as a button that returns to it."""
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", key="breadcrumbs"):
        widgets.start_button(state)
        for position, item in enumerate(index.existing_items(state.history)):
            st.button(
                item_name(item),
                icon=":material/chevron_right:",
                type="tertiary",
                key=f"history-{position}",
                help=escape_markdown(item.id),
                on_click=actions.set_url,
                args=(state.query_item(item.n),),
            )


def _show_query(index: OpenIndex, state: SearchState) -> tuple[Item, str] | None:
    """Show the query as a large card. Returns its item and the base URL of its sound; None: a picture, or likes alone,
    are the query."""
    if state.picture is not None:
        picture = upload_store().picture(state.picture)
        width = max(1, round(PICTURE_PX * picture.width / max(picture.width, picture.height)))
        st.image(str(picture.path), escape_markdown(picture.name), width, alt=f"The picture {picture.name}")
        return None
    if state.upload is not None:
        item, sounds_url = upload_store().item(state.upload), upload_store().sounds_url
    elif state.item is not None:
        item, sounds_url = index.nearest.item(state.item), index.sounds_url
    else:
        return None
    cards.show_cards(
        [cards.query_card(item, sounds_url, state, tray_numbers(index))],
        "single",
        "query",
        lambda message: actions.handle_on_search_page(index, message),
        title="Query",
    )
    return item, sounds_url


def _is_embedded(index: OpenIndex, state: SearchState) -> bool:
    """Embed the query if the index does not hold its vectors; False if the visitor stopped that."""
    if not results.needs_embedding(state):
        return True
    part = f"{state.start_s}-{state.end_s}"
    key = f"embed-{index.key}-{index.nearest.generation}-{state.item or state.upload}-{part}"
    seed = background.run_with_progress(
        key, "Embedding the sound", lambda on_progress: results.query_seed(index, state, on_progress)
    )
    return seed is not None


def _show_feedback(index: OpenIndex, state: SearchState) -> None:
    """The likes and dislikes that move the results, each as a button that undoes it; if there are none, the stored
    ones."""
    if not state.liked and not state.disliked:
        if not state.refinement.feedback:
            _offer_stored_feedback(index, state)
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="feedback"):
        st.caption("Likes and dislikes", width="content")
        for title, icon, numbers, like in (
            ("Liked", "thumb_up", state.liked, True),
            ("Disliked", "thumb_down", state.disliked, False),
        ):
            for item in index.existing_items(numbers):
                st.button(
                    item_name(item),
                    icon=f":material/{icon}:",
                    key=f"{title}-{item.n}",
                    help=f"{title}. Click to undo.",
                    on_click=lambda n, like: actions.set_url(feedback.toggle_feedback(index, state, n, like=like)),
                    args=(item.n, like),
                )
        st.button(
            "Undo",
            key="undo",
            icon=":material/undo:",
            type="tertiary",
            help="Undo the last like or dislike (Z)",
            on_click=lambda: actions.set_url(feedback.undo_last(index, state)),
        )


def _offer_stored_feedback(index: OpenIndex, state: SearchState) -> None:
    """How many results of this query were liked and disliked earlier, and a button to use that."""
    query = results.query_seed(index, state)
    if query is None or isinstance(query, ByPicture) or not index.nearest.feedback.exists:
        return
    stored = index.nearest.feedback_for(query)
    if not stored.likes and not stored.dislikes:
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="stored-feedback"):
        st.caption(f"Stored earlier: {len(stored.likes)} liked, {len(stored.dislikes)} disliked.", width="content")
        st.button(
            "Use them",
            key="use-stored-feedback",
            icon=":material/history:",
            type="tertiary",
            on_click=actions.set_url,
            args=(state.refined(replace(state.refinement, feedback=True)),),
        )


def _show_results(index: OpenIndex, state: SearchState) -> None:
    """The results, nearest first."""
    with st.container(horizontal=True, vertical_alignment="center", key="list-header"):
        title = st.container(width="stretch")
        filter_form.show_filter_form(index, state)
        layout = widgets.layout_switch()
    if state.picture is None:
        answer = results.find_results(index, state)
        title.header(count_noun(len(answer.matches), "similar sound"), anchor=False)
    else:
        try:
            with st.spinner("Looking at the picture ..."):
                answer = results.find_results(index, state)
        except (CheckpointError, SettingsError) as error:  # its message has a path
            log.warning("a picture was not searched with: %s", error)
            st.error(NO_NETWORK, icon=":material/hide_image:")
            return
        title.header(f"{count_noun(len(answer.matches), 'sound')} that may sound like this", anchor=False)
        for one in answer.understood:
            st.caption(words_view.understood_text(one))
    if answer.shortfall:
        st.caption(f"{escape_markdown(answer.shortfall)}.")
    if not answer.matches:
        st.info("No sound passes the filters. Relax them.", icon=":material/filter_alt_off:")
        return
    if answer.has_no_background:
        st.caption("This collection has too few different sounds to say how similar these are.")
    tray = tray_numbers(index)
    items = {match.n: index.nearest.item(match.n) for match in answer.matches}
    shown = [cards.result_card(match, items[match.n], index.sounds_url, state, tray) for match in answer.matches]
    if answer.understood:
        shown = [words_view.with_words(card, match) for card, match in zip(shown, answer.matches, strict=True)]
    cards.show_cards(
        widgets.with_tags(index, shown),
        layout,
        "results",
        lambda message: actions.handle_on_search_page(index, message),
        title="Similar sounds",
    )
    if len(answer.matches) == state.k:
        widgets.show_more_button(state)
    st.caption(KEYBOARD_HELP)

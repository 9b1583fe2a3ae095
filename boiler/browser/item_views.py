"""Views of the search page without a query: the start view, items by name or label, and the folders."""

from __future__ import annotations

import random

import streamlit as st

from boiler.browser import actions, cards, folder_tree, widgets, words_view
from boiler.browser.formatting import count_noun, escape_markdown, format_total_duration
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import Refinement, SearchState
from boiler.catalog.items import Item
from boiler.search.query import QueryResult

N_EXAMPLES = 6
MAX_SUBFOLDERS = 120  # buttons for the subfolders of one folder
MAX_LABEL_BUTTONS = 40  # with more labels there are no buttons


def show_start_view(index: OpenIndex, state: SearchState) -> None:
    """Size and encoder of the collection, its labels, and random sounds to start from."""
    statistics = index.statistics()
    if not statistics.n_items:
        st.info("This index holds no sounds yet. Add some to its folder and run `boiler index` again.")
        return
    st.title("Find similar sounds", anchor=False)
    st.caption(
        f"{count_noun(statistics.n_items, 'sound')}, {format_total_duration(statistics.duration_s)}, compared by the "
        f"encoder {escape_markdown(statistics.header.encoder)}. Pick a sound below, find one by name"
        f"{' or in words, or drop a sound or a picture here' if index.nearest.has_words else ', or upload one'}."
    )
    if 1 < len(statistics.labels) <= MAX_LABEL_BUTTONS:
        st.pills(
            "Browse by label",
            [name for name, _ in statistics.labels],
            format_func=escape_markdown,
            key="label",
            on_change=lambda: actions.set_url(state.refined(Refinement(label=st.session_state["label"]))),
        )
    if tags := index.tag_counts()[:MAX_LABEL_BUTTONS]:
        counts = {one.tag: one.n_items for one in tags}
        st.pills(
            "Browse by tag",
            list(counts),
            format_func=lambda tag: f"{escape_markdown(tag)} · {counts[tag]:,}",
            key="tag",
            on_change=lambda: actions.set_url(state.refined(Refinement(tag=st.session_state["tag"]))),
        )
    generator = random.Random(st.session_state.setdefault("examples-seed", random.randrange(2**32)))
    total = len(index.nearest)
    offsets = sorted(generator.sample(range(total), min(N_EXAMPLES, total)))
    items = [item for offset in offsets for item in index.nearest.items(offset=offset, limit=1)]
    widgets.item_cards(index, state, items, widgets.list_header("Random sounds"))


def show_found_items(index: OpenIndex, state: SearchState) -> None:
    """The items with the search text in their name, with the chosen label, or with the chosen tag."""
    label, tag = state.refinement.label, state.refinement.tag
    where = index.has_tag(tag) if tag else None
    items = index.nearest.items(text=state.find or None, label=label, where=where, limit=state.k + 1)
    conditions = [
        f"“{escape_markdown(state.find)}” in the name" if state.find else "",
        f"the label {escape_markdown(label)}" if label else "",
        f"the tag {escape_markdown(tag)}" if tag else "",
    ]
    what = "with " + " and ".join(filter(None, conditions))
    widgets.start_button(state)
    in_words = words_view.find_in_words(index, state)
    if not items and not isinstance(in_words, QueryResult):
        why = f" In words: {escape_markdown(in_words)}." if in_words else ""
        st.info(f"There is no sound {what}. Try a shorter text or another label.{why}", icon=":material/search_off:")
        return
    layout = _show_first_items(index, state, items, what) if items else None
    if isinstance(in_words, QueryResult):
        words_view.show_words_result(index, state, in_words, layout)


def show_folder(index: OpenIndex, state: SearchState) -> None:
    """A folder: the path to it, its subfolders, and its own items."""
    folder = state.browse or ""
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", key="breadcrumbs"):
        widgets.start_button(state)
        for depth, parent in enumerate(["", *folder_tree.ancestors(folder)]):
            st.button(
                _folder_name(parent) or "All folders",
                icon=":material/chevron_right:",
                type="tertiary",
                key=f"parent-{depth}",
                on_click=actions.set_url,
                args=(state.browse_folder(parent),),
            )
    st.header(_folder_name(folder) or "Folders", anchor=False)
    subfolders = folder_tree.subfolders(index.statistics().folders, folder)
    items = index.nearest.items(folder=folder, limit=state.k + 1)
    if not subfolders and not items:
        st.info("There is no folder of that name with sounds in it.", icon=":material/folder_off:")
        return
    with st.container(horizontal=True, gap="small", key="subfolders"):
        for subfolder, n_sounds in subfolders[:MAX_SUBFOLDERS]:
            st.button(
                f"{_folder_name(subfolder)} · {n_sounds:,}",
                icon=":material/folder:",
                key=f"folder-{subfolder}",
                help=f"{count_noun(n_sounds, 'sound')} in {escape_markdown(subfolder)}",
                on_click=actions.set_url,
                args=(state.browse_folder(subfolder),),
            )
    if len(subfolders) > MAX_SUBFOLDERS:
        st.caption(f"The first {MAX_SUBFOLDERS} of {len(subfolders):,} folders. Find sounds in the others by name.")
    if items:
        _show_first_items(index, state, items, "in this folder")


def _folder_name(folder: str) -> str:
    return escape_markdown(folder.rpartition("/")[2])


def _show_first_items(index: OpenIndex, state: SearchState, items: list[Item], what: str) -> cards.CardLayout:
    """The first `state.k` of the items, under a header with their number. One item beyond `state.k` means that there
    are more. Returns the layout that the visitor chose."""
    has_more = len(items) > state.k
    count = count_noun(min(len(items), state.k), "sound")
    layout = widgets.list_header(f"First {count} {what}" if has_more else f"{count} {what}")
    widgets.item_cards(index, state, items[: state.k], layout)
    if has_more:
        widgets.show_more_button(state)
    return layout

"""The map page: the whole collection in two dimensions, where a click plays a sound or searches with it."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

from boiler.browser import actions, cards, map_data
from boiler.browser.component import load_component
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import tray_numbers
from boiler.browser.url_state import SearchState

COLOUR_BY = {"label": "Labels", "cluster": "Clusters"}


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    st.title("Map", anchor=False)
    coloured = map_data.current_map(index.nearest)
    if coloured is None:
        st.info(
            "This index has no map. Run `boiler index` on its folder again: that adds one without embedding any sound.",
            icon=":material/map:",
        )
        return
    n_points = len(coloured.map.n)
    if not n_points:
        st.info("This index has no sounds to put on a map.", icon=":material/map:")
        return
    st.caption(
        "Each point is a sound; similar sounds are mostly close together. Two dimensions cannot show every similarity: "
        "sounds that are far apart here may still be similar. A search compares all dimensions."
        + (" Each word is where the sounds are that match it best." if coloured.landmarks else "")
    )
    by = coloured.default_by
    if len(coloured.colours) > 1:
        by = st.segmented_control(
            "Colour by",
            list(coloured.legends)[::-1],
            format_func=COLOUR_BY.__getitem__,
            default=by,
            required=True,
            key="map-colour-by",
            label_visibility="collapsed",
            persist_state="session",
        )
    state = SearchState.from_params(st.query_params)
    highlighted = [] if state.item is None else [item.n for item in index.existing_items([state.item])]
    _component(
        key="map",
        data={
            "points_url": f"{index.sounds_url}/map?" + urlencode({"by": by, "generation": index.nearest.generation}),
            "sounds_url": index.sounds_url,
            "legend": [{"name": name, "count": count} for name, count in coloured.legends[by]],
            "has_others": by == "label" and len(coloured.legends[by]) > map_data.N_COLOURS,
            "landmarks": [{"name": one.name, "x": one.x, "y": one.y} for one in coloured.landmarks],
            "highlighted": highlighted,
            "tray": tray_numbers(index),
        },
        on_message_change=lambda: cards.dispatch_message(
            "map", lambda message: actions.handle_on_other_page(index, message)
        ),
    )


_component = load_component("map", "plot.js")

"""The page of the map: the whole collection in two dimensions, to be looked at, listened to and asked from."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from boiler.browser import actions, cards, indexes, map_data
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question

BY = {"label": "Labels", "cluster": "Groups by sound"}

_FRONT = Path(__file__).parent / "static"


def page(shelf: Library) -> None:
    """Everything on the page."""
    st.title("The map", anchor=False)
    found = map_data.grouped(shelf.nearest)
    if found is None:
        st.info(
            "This index was made before there were maps. Run `boiler index` again on its folder: nothing is embedded "
            "anew for it.",
            icon=":material/map:",
        )
        return
    total = len(found.map.n)
    if not total:
        st.info("There is no sound in this index to be put on a map.", icon=":material/map:")
        return
    st.caption(
        "Every point is a sound, and what sounds alike mostly lies together. It is a projection, not the measure: two "
        "dimensions cannot hold all that was heard, so far apart says little. Ask to know."
    )
    by = found.by
    if len(found.colours) > 1:
        by = st.segmented_control(
            "Coloured by",
            list(found.names)[::-1],
            format_func=BY.__getitem__,
            default=by,
            required=True,
            key="map_by",
            label_visibility="collapsed",
            persist_state="session",
        )
    wanted = {"by": by, "generation": shelf.nearest.generation}
    question = Question.of(st.query_params)
    marked = [item.n for item in indexes.items_of(shelf, (question.item,) if question.item is not None else ())]
    _component(
        key="map",
        data={
            "points": f"{shelf.sounds_at}/map?" + urlencode(wanted),
            "sounds": shelf.sounds_at,
            "legend": [{"name": name, "count": count} for name, count in found.names[by]],
            "rest": by == "label" and len(found.names[by]) > map_data.COLOURS,
            "total": total,
            "marked": marked,
            "kept": actions.kept(shelf),
        },
        on_act_change=lambda: cards.tell("map", lambda message: actions.act_elsewhere(shelf, message)),
    )


_component = st.components.v2.component(
    "boiler_map",
    html='<section class="map"></section>',
    css=(_FRONT / "map.css").read_text(encoding="utf-8"),
    js="\n".join(
        (_FRONT / name).read_text(encoding="utf-8") for name in ("element.js", "player.js", "plot.js", "map.js")
    ),
)

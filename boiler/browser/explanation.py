"""Why a sound is a result: the codes or windows behind the match, marked on both spectrograms, and the similarity over
time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from boiler.browser import actions, background, results
from boiler.browser.component import load_component
from boiler.browser.formatting import escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState
from boiler.catalog.items import Item
from boiler.errors import BoilerError
from boiler.progress import ProgressCallback
from boiler.search.explain import Explanation, Moment

MAX_MARKS = 8


def show_explanation(index: OpenIndex, state: SearchState, query_item: Item, query_url: str) -> None:
    """The section that explains the result `state.explain`; the sound of the query is served below `query_url`."""
    if state.explain is None:
        return
    with st.container(border=True, key="explanation"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header("Why is this similar?", anchor=False, width="stretch")
            st.button(
                "Close",
                icon=":material/close:",
                key="close-explanation",
                on_click=actions.set_url,
                args=(state.toggle_explanation(state.explain),),
            )
        query = SearchState(
            item=state.item, upload=state.upload, start_s=state.start_s, end_s=state.end_s, explain=state.explain
        )
        params = tuple(query.to_params().items())
        generation = index.nearest.generation
        try:
            result_item = index.nearest.item(state.explain)
            explained = background.run_with_progress(
                f"explain-{index.key}-{generation}-{params}",
                "Comparing both sounds",
                lambda on_progress: _cached_explanation(index.key, generation, params, index, query, on_progress),
            )
        except BoilerError as error:
            st.warning(f"This cannot be explained: {escape_markdown(str(error))}", icon=":material/help:")
            return
        if explained is None:  # stopped
            return
        if state.liked or state.disliked:
            st.caption("The comparison is with the query alone, without likes and dislikes.")
        _component(
            key="explanation-plot",
            data=explanation_data(explained, (query_item, query_url), (result_item, index.sounds_url)),
        )


@st.cache_resource(max_entries=100, show_spinner=False)
def _cached_explanation(
    key: str,
    generation: str,
    params: tuple[tuple[str, str], ...],
    _index: OpenIndex,
    _state: SearchState,
    _on_progress: ProgressCallback,
) -> Explanation:
    query = results.query_seed(_index, _state, _on_progress)
    assert query is not None
    assert _state.explain is not None
    return _index.nearest.explain(query, _state.explain, on_progress=_on_progress)


def explanation_data(explained: Explanation, query: tuple[Item, str], result: tuple[Item, str]) -> dict[str, Any]:
    """The data of the component. Positions are in seconds; a mark is `[start, end]`."""
    if explained.kind == "codes":
        marks = [
            {
                "name": f"Code {code.code}",
                "value": f"{100 * code.share / explained.similarity:.0f} %" if explained.similarity > 0 else "",
                "query": [[part.start_s, part.end_s] for part in code.query_spans],
                "result": [[part.start_s, part.end_s] for part in code.answer_spans],
            }
            for code in explained.codes[:MAX_MARKS]
        ]
    else:
        marks = [
            {
                "name": f"Match {place}",
                "value": f"{match.similarity:.2f}",
                "query": [[match.query.start_s, match.query.end_s]],
                "result": [[match.answer.start_s, match.answer.end_s]],
            }
            for place, match in enumerate(explained.windows[:MAX_MARKS], 1)
        ]
    return {
        "kind": explained.kind,
        "similarity": f"{explained.similarity:.2f}",
        "marks": marks,
        "query": _sound_data("Query", *query, explained.query_curve),
        "result": _sound_data("Result", *result, explained.answer_curve),
    }


def _sound_data(role: str, item: Item, sounds_url: str, similarity: Iterable[Moment]) -> dict[str, Any]:
    curve = [[moment.start_s, moment.end_s, round(moment.similarity, 4)] for moment in similarity]
    # Only the part of a long sound that was compared is shown.
    covered = [curve[0][0], curve[-1][1]] if curve else [0.0, item.duration_s]
    part = {"width": 900, "height": 140, "start_s": f"{covered[0]:.3f}", "end_s": f"{covered[1]:.3f}"}
    return {
        "role": role,
        "name": item.id.rpartition("/")[2],
        "key": f"explanation/{sounds_url}/{item.n}",
        "audio_url": f"{sounds_url}/{item.n}/audio",
        "spectrogram_url": f"{sounds_url}/{item.n}/spectrogram.png?" + urlencode(part),
        "range_s": covered,
        "curve": curve,
    }


_component = load_component("explanation")

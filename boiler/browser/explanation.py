"""Why a sound is an answer: the words or windows that made the match, drawn on both spectrograms, and when each sound
is like the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from boiler.browser import background, results
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question
from boiler.catalog.items import Item
from boiler.errors import BoilerError
from boiler.progress import ProgressCallback
from boiler.search.explain import Explanation, Moment

MOST_WORDS = 8
_FRONT = Path(__file__).parent / "static"


def section(shelf: Library, question: Question, item: Item, at: str) -> None:
    """The explanation of the answer `question.why` to the sound `item`, which is heard at `at`."""
    if question.why is None:
        return
    with st.container(border=True, key="why"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header("Why this one?", anchor=False, width="stretch")
            st.button("Close", icon=":material/close:", key="unwhy", on_click=_close)
        try:
            answer = shelf.nearest.item(question.why)
            part = f"{question.start_s}-{question.end_s}"
            key = f"why-{shelf.key}-{shelf.nearest.generation}-{question.item or question.sound}-{part}-{question.why}"
            found = background.done(
                key, "Listening to both, piece by piece", lambda on_progress: _explained(shelf, question, on_progress)
            )
        except BoilerError as error:
            st.warning(f"It cannot be explained: {error}", icon=":material/help:")
            return
        if found is None:
            return
        if question.more or question.less:
            st.caption("This compares it with the sound asked with alone, not with what was liked.")
        _component(key="why-drawn", data=drawn(found, (item, at), (answer, shelf.sounds_at)))


def _close() -> None:
    st.query_params.from_dict(replace(Question.of(st.query_params), why=None).address())


def _explained(shelf: Library, question: Question, on_progress: ProgressCallback) -> Explanation:
    asked = replace(Question(), item=question.item, sound=question.sound, why=question.why)
    asked = replace(asked, start_s=question.start_s, end_s=question.end_s)
    return _remembered(shelf.key, shelf.nearest.generation, tuple(asked.address().items()), shelf, asked, on_progress)


@st.cache_resource(max_entries=100, show_spinner=False)
def _remembered(
    key: str,
    generation: str,
    address: tuple[tuple[str, str], ...],
    _shelf: Library,
    _question: Question,
    _on_progress: ProgressCallback,
) -> Explanation:
    asked = results.alone(_shelf, _question, _on_progress)
    assert asked is not None
    assert _question.why is not None
    return _shelf.nearest.explain(asked, _question.why, on_progress=_on_progress)


def drawn(found: Explanation, query: tuple[Item, str], answer: tuple[Item, str]) -> dict[str, Any]:
    """What the component takes. Seconds throughout; a mark is `[start, end]`."""
    if found.kind == "words":
        marks = [
            {
                "name": f"Word {word.word}",
                "share": f"{100 * word.share / found.similarity:.0f} %" if found.similarity > 0 else "",
                "query": [[part.start_s, part.end_s] for part in word.query_parts],
                "answer": [[part.start_s, part.end_s] for part in word.answer_parts],
            }
            for word in found.words[:MOST_WORDS]
        ]
    else:
        marks = [
            {
                "name": f"Match {place}",
                "share": f"{match.similarity:.2f}",
                "query": [[match.query.start_s, match.query.end_s]],
                "answer": [[match.answer.start_s, match.answer.end_s]],
            }
            for place, match in enumerate(found.windows[:MOST_WORDS], 1)
        ]
    return {
        "kind": found.kind,
        "similarity": f"{found.similarity:.2f}",
        "marks": marks,
        "query": _sound("Asked with", *query, found.query_course),
        "answer": _sound("Answer", *answer, found.answer_course),
    }


def _sound(what: str, item: Item, at: str, course: Iterable[Moment]) -> dict[str, Any]:
    moments = [[moment.start_s, moment.end_s, round(moment.similarity, 4)] for moment in course]
    # A course covers what counts of a long sound, and the picture shows just that.
    shown = [moments[0][0], moments[-1][1]] if moments else [0.0, item.duration_s]
    part = {"width": 900, "height": 140, "start_s": f"{shown[0]:.3f}", "end_s": f"{shown[1]:.3f}"}
    return {
        "what": what,
        "name": item.id.rpartition("/")[2],
        "key": f"why/{at}/{item.n}",
        "audio": f"{at}/{item.n}/audio",
        "spectrogram": f"{at}/{item.n}/spectrogram.png?" + urlencode(part),
        "shown": shown,
        "course": moments,
    }


_component = st.components.v2.component(
    "boiler_why",
    html='<section class="why"></section>',
    css=(_FRONT / "why.css").read_text(encoding="utf-8"),
    js="\n".join((_FRONT / name).read_text(encoding="utf-8") for name in ("element.js", "player.js", "why.js")),
)

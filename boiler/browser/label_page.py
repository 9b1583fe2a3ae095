"""The label page: say what sounds are, by keyboard. A model learns from every answer and asks about what it is least
sure of.

Answers are tags by hand (`boiler.tagging.by_hand`): stored at once, kept when the index is rebuilt, undone by one key.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from boiler.browser import actions, widgets
from boiler.browser.formatting import count_noun, escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState
from boiler.errors import QueryError
from boiler.tagging.active import ActiveModel
from boiler.tagging.by_hand import MAX_TAG

MAX_TAGS = 9
"""As many as there are digits to press."""
_SHOWN = 3
_SESSION = "labelling"


@dataclass
class Labelling:
    """The state of a session. `tags`: those that can be given, in the order of their keys; `undo`: for each answer its
    item and the numbers of its labels; `skipped`: positions of items that are not shown again."""

    generation: str
    tags: list[str]
    numbers: list[int]
    model: ActiveModel
    undo: list[tuple[int, list[int]]] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    st.title("Label", anchor=False)
    if not index.nearest.header.n_rows:
        st.info("There is no sound to label: all are silent.", icon=":material/volume_off:")
        return
    state = _labelling(index)
    _show_tags(state)
    if not state.tags:
        st.info("Add the tags that you want to give: each gets a key.", icon=":material/label:")
        return
    answers = _learn(index, state)
    candidates = state.model.next_items(len(state.skipped) + 1).tolist()
    at = next((at for at in candidates if at not in state.skipped), None)
    if at is not None:
        _ask(index, state, at)
    else:
        st.success("Every sound has an answer, or was skipped.", icon=":material/task_alt:")
    _show_tools(index, state, len(answers))


def _labelling(index: OpenIndex) -> Labelling:
    """The state of this session for the current generation."""
    nearest, key = index.nearest, f"{_SESSION}-{index.key}"
    state = st.session_state.get(key)
    if not isinstance(state, Labelling) or state.generation != nearest.generation:
        numbers, vectors = nearest.item_vectors()
        said = {tag for tags in nearest.hand_labels.all().values() for tag in tags}
        known = state.tags if isinstance(state, Labelling) else sorted(said)[:MAX_TAGS]
        state = Labelling(nearest.generation, known, numbers.tolist(), ActiveModel(vectors, []))
        st.session_state[key] = state
    return state


def _show_tags(state: Labelling) -> None:
    """The field for a new tag. Tags cannot be removed once they were given: undo their answers instead."""
    if len(state.tags) >= MAX_TAGS:
        return
    with st.form("add-tag", clear_on_submit=True, border=False), st.container(horizontal=True):
        tag = st.text_input(
            "New tag", max_chars=MAX_TAG, placeholder="such as dog", key="new-tag", label_visibility="collapsed"
        )
        if st.form_submit_button("Add tag", icon=":material/new_label:") and (tag := tag.strip()):
            if not tag.isprintable():
                raise QueryError("a tag has printable characters only")
            if tag not in state.tags:
                state.tags.append(tag)


def _learn(index: OpenIndex, state: Labelling) -> dict[int, dict[str, bool]]:
    """Fit the model to all answers, and return them by position."""
    position_of = {n: at for at, n in enumerate(state.numbers)}
    labels = index.nearest.hand_labels.all()
    answers = {position_of[n]: tags for n, tags in index.nearest.numbers_of(labels).items() if n in position_of}
    state.model.set_answers(answers)
    return answers


def _ask(index: OpenIndex, state: Labelling, at: int) -> None:
    """The sound, what the model thinks, and a button with a key for each answer."""
    item = index.nearest.item(state.numbers[at])
    widgets.item_cards(
        index,
        SearchState(index=SearchState.from_params(st.query_params).index),
        [item],
        "list",
        key="label-item",
        on_message=actions.handle_on_other_page,
        title="Sound to label",
        play_each_s=10.0,
    )
    if state.model.tags:
        probabilities = state.model.probabilities()[at]
        best = np.argsort(-probabilities)[:_SHOWN].tolist()
        thought = ", ".join(f"{escape_markdown(state.model.tags[one])} {probabilities[one]:.0%}" for one in best)
        st.caption(f"The model thinks: {thought}")
    with st.container(horizontal=True, key="answers"):
        for number, tag in enumerate(state.tags, 1):
            st.button(
                escape_markdown(tag),
                key=f"answer-{number}",
                shortcut=str(number),
                on_click=_answer,
                args=(index, state, at, tag),
            )
        st.button("None of these", key="answer-0", shortcut="0", on_click=_answer, args=(index, state, at, None))
        st.button(
            "Skip",
            key="skip",
            type="tertiary",
            shortcut="S",
            on_click=state.skipped.add,
            args=(at,),
            icon=":material/skip_next:",
        )


def _answer(index: OpenIndex, state: Labelling, at: int, given: str | None) -> None:
    """Store that the item has the tag, and none of the others."""
    n = state.numbers[at]
    labels = [index.nearest.add_tag(n, tag, tag == given) for tag in state.tags]
    state.undo.append((at, labels))


def _undo(index: OpenIndex, state: Labelling) -> None:
    _, labels = state.undo.pop()
    for label in labels:
        index.nearest.undo_tag(label)


def _show_tools(index: OpenIndex, state: Labelling, n_answers: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="label-tools"):
        st.button(
            "Undo",
            key="undo-label",
            icon=":material/undo:",
            shortcut="U",
            disabled=not state.undo,
            on_click=_undo,
            args=(index, state),
        )
        st.download_button(
            "Labels (CSV)",
            lambda: labels_csv(index).encode("utf-8", "replace"),
            file_name="boiler-labels.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="export-labels",
        )
        st.caption(f"{count_noun(n_answers, 'sound')} of {len(state.numbers):,} labelled")


def labels_csv(index: OpenIndex) -> str:
    """The labels as a table with the columns `id` and `labels`, as `boiler train_tags --labels` reads it. Sounds
    that have none of the tags have an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("id", "labels"))
    for id, tags in index.nearest.hand_labels.all().items():
        writer.writerow((id, ";".join(tag for tag, has in tags.items() if has)))
    return text.getvalue()

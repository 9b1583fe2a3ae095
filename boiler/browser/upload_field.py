"""A sound of one's own to ask with: a file, or what the microphone hears; and how it is taken in."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from boiler.audio import stream
from boiler.browser import actions, background, indexes
from boiler.browser.url_state import Question
from boiler.errors import BoilerError

MAX_UPLOAD_MB = 50
BROUGHT = "brought"  # in the session: a sound just brought, not looked at yet
POPOVER = "bring"
TURN = "turn"


def field() -> None:
    """The button, and what it opens."""
    with st.popover("Bring a sound", icon=":material/upload_file:", key=POPOVER, on_change="rerun") as popover:
        if popover.open:
            fields_to_bring()


def fields_to_bring() -> None:
    """A file or the microphone. A field that has given its sound is replaced by an empty one: a file is kept once, not
    in the field, too."""
    turn = st.session_state.get(TURN, 0)
    st.file_uploader(
        f"A sound of your own, or a video: up to {MAX_UPLOAD_MB} MB",
        max_upload_size=MAX_UPLOAD_MB,
        key=f"upload-{turn}",
        on_change=bring,
        args=(f"upload-{turn}",),
    )
    st.audio_input(
        "Or record one",
        sample_rate=stream.SAMPLE_RATE_HZ,
        key=f"microphone-{turn}",
        on_change=bring,
        args=(f"microphone-{turn}",),
    )


def bring(field: str) -> None:
    """What was uploaded or recorded is to be asked with."""
    upload = st.session_state[field]
    if upload is None:
        return
    name = "Your recording" if field.startswith("microphone") else upload.name
    asked = Question.of(st.query_params)
    st.session_state[BROUGHT] = Arrival(upload.file_id, name, upload.getvalue(), asked)
    st.session_state[POPOVER] = False
    st.session_state[TURN] = st.session_state.get(TURN, 0) + 1


@dataclass(frozen=True)
class Arrival:
    """A sound just brought, with what was asked then."""

    key: str
    name: str
    sound: bytes
    asked: Question


def take_in(question: Question) -> None:
    """Keep the sound just brought, and ask with it. One that does not state its length, as recordings of browsers, is
    decoded for it, which is stopped where it takes too long. Who asks something else meanwhile does not want it.

    Raises: SoundError: it cannot be used.
    """
    arrival: Arrival | None = st.session_state.get(BROUGHT)
    if arrival is None:
        return
    if arrival.asked != question:
        del st.session_state[BROUGHT]
        return
    try:
        key = background.done(
            f"bring-{arrival.key}",
            "Reading it",
            lambda on_progress: indexes.brought().add(arrival.name, arrival.sound, on_progress),
        )
    except BoilerError:
        del st.session_state[BROUGHT]
        raise
    if key is not None:  # stopped, it may go on
        del st.session_state[BROUGHT]
        actions.go(question.bring(key))
        st.rerun()

"""Search with an upload: a sound or video file, a picture, or a recording from the microphone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from boiler.browser import actions, background
from boiler.browser.component import load_component
from boiler.browser.upload_store import upload_store
from boiler.browser.url_state import SearchState
from boiler.errors import BoilerError
from boiler.progress import ProgressCallback
from boiler.vision import image

MAX_UPLOAD_MB = 50
UPLOAD_POPOVER = "upload"
RECORDING_RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # those that Streamlit offers
_PENDING = "pending-upload"  # session key
_FIELD_COUNT = "upload-field-count"  # session key


@dataclass(frozen=True)
class PendingUpload:
    """An upload that has not been processed yet, and the state of the page at that time."""

    file_id: str
    name: str
    content: bytes
    state: SearchState

    @property
    def is_picture(self) -> bool:
        return image.is_picture(self.name, self.content)


def show_upload_field(sample_rate_hz: int, *, takes_pictures: bool) -> None:
    """The button, and the popover with the two fields. A file may also be dropped anywhere on the page.

    sample_rate_hz: of the index, for recordings; takes_pictures: whether the index can be searched with pictures
    """
    what = "a sound or picture" if takes_pictures else "a sound"
    with st.popover(f"Upload {what}", icon=":material/upload_file:", key=UPLOAD_POPOVER, on_change="rerun") as popover:
        if popover.open:
            _show_fields(sample_rate_hz, "Audio, video or picture file" if takes_pictures else "Audio or video file")
    _component(key="drop", data={"text": f"Drop {what} to search with it"})


def show_file_field(what: str, key: str, on_change: Callable[[str], None]) -> None:
    """A field for a file of at most `MAX_UPLOAD_MB`; `on_change` is called with its session key."""
    st.file_uploader(
        f"{what}, up to {MAX_UPLOAD_MB} MB", max_upload_size=MAX_UPLOAD_MB, key=key, on_change=on_change, args=(key,)
    )


def _show_fields(sample_rate_hz: int, files: str) -> None:
    # After an upload the field is replaced by an empty one, so that Streamlit does not keep a second copy of the file.
    count = st.session_state.get(_FIELD_COUNT, 0)
    show_file_field(files, f"upload-{count}", _receive)
    st.audio_input(
        "Or record a sound",
        sample_rate=recording_rate_hz(sample_rate_hz),
        key=f"microphone-{count}",
        on_change=_receive,
        args=(f"microphone-{count}",),
    )


def recording_rate_hz(sample_rate_hz: int) -> int:
    """The lowest offered rate that is at least `sample_rate_hz`, or else the highest one.

    >>> recording_rate_hz(16_000), recording_rate_hz(20_000), recording_rate_hz(96_000)
    (16000, 22050, 48000)
    """
    return next((rate_hz for rate_hz in RECORDING_RATES_HZ if rate_hz >= sample_rate_hz), RECORDING_RATES_HZ[-1])


def _receive(field: str) -> None:
    upload = st.session_state[field]
    if upload is None:
        return
    name = "Your recording" if field.startswith("microphone") else upload.name
    state = SearchState.from_params(st.query_params)
    st.session_state[_PENDING] = PendingUpload(upload.file_id, name, upload.getvalue(), state)
    st.session_state[UPLOAD_POPOVER] = False
    st.session_state[_FIELD_COUNT] = st.session_state.get(_FIELD_COUNT, 0) + 1


def process_pending_upload(state: SearchState) -> None:
    """Store what was just uploaded and search with it: with a picture if it begins like one, else with a sound. A sound
    that does not state its duration, such as a recording made by a browser, is decoded to measure it, with a Stop
    button. An upload is dropped when the visitor searches for something else meanwhile.

    Raises: SoundError, EmbeddingError: the sound, or the picture, cannot be used.
    """
    # Always on the page, so that what follows has the same position in every run. Otherwise the next element would take
    # the position of the progress bar, and Streamlit would show the old Stop button in it until the end of the run.
    place = st.empty()
    pending: PendingUpload | None = st.session_state.get(_PENDING)
    if pending is None:
        return
    if pending.state != state:
        del st.session_state[_PENDING]
        return
    try:
        key = background.run_with_progress(
            f"upload-{pending.file_id}",
            "Reading the upload",
            lambda on_progress: _store(pending, on_progress),
            place,
        )
    except BoilerError:
        del st.session_state[_PENDING]
        raise
    if key is not None:  # None: stopped, and may be resumed
        del st.session_state[_PENDING]
        actions.set_url(state.query_picture(key) if pending.is_picture else state.query_upload(key))
        st.rerun()


def _store(upload: PendingUpload, on_progress: ProgressCallback) -> str:
    if upload.is_picture:
        return upload_store().add_picture(upload.name, upload.content)
    return upload_store().add(upload.name, upload.content, on_progress)


_component = load_component("drop")

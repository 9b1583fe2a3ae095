"""The identify page: bring a sound or a video, or paste a link, and see what it is: each stage of the work as it
happens, then the most probable tags and the nearest sounds.

Links are fetched where ``BOILER_LINKS=1`` allows it (`boiler.links`). What was brought is kept as an upload of the
search page is, and its key is in the URL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from boiler.audio.media_pool import media_type_pool
from boiler.browser import actions, background, cards, options, widgets
from boiler.browser.background import StageCallback
from boiler.browser.decoders import shared_decoders
from boiler.browser.formatting import count_noun, escape_markdown, format_bytes, format_seconds
from boiler.browser.indexes import OpenIndex
from boiler.browser.results import DEDUP_DISTANCE
from boiler.browser.tray import tray_numbers
from boiler.browser.upload_field import MAX_UPLOAD_MB, show_file_field
from boiler.browser.upload_store import UPLOADS_URL, upload_store
from boiler.browser.url_state import PAGE_SIZE, SearchState
from boiler.catalog.items import Item
from boiler.errors import BoilerError
from boiler.links.fetch import FetchLimits, fetch
from boiler.search import seeds
from boiler.search.nearest import ByWindows, Match, Nearest, Options, PredictedTags

N_TAGS = 10
MAX_LINK_S = 60.0
STAGES = {
    "fetching": "Fetching",
    "decoding": "Decoding",
    "embedding": "Embedding",
    "tagging": "Tagging",
    "searching": "Searching",
}
_PENDING = "identify-pending"  # session key
_FETCHED = "identify-fetched"  # session key: the uploads that came from links
_FIELD_COUNT = "identify-field-count"  # session key


class Medium(NamedTuple):
    """A file that was brought, or a link, which has no content yet."""

    name: str
    content: bytes | None


class Identification(NamedTuple):
    """What a sound is. tags: None if the index has no tag model"""

    n_windows: int
    tags: PredictedTags | None
    matches: list[Match]


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    st.title("Identify", anchor=False)
    state = SearchState.from_params(st.query_params)
    _show_fields()
    medium_place, stages_place = st.columns([3, 2], gap="medium")
    board = StageBoard(stages_place.container(key="stages"))
    with stages_place:
        key = _received(state, board)
    if key is None:
        return
    item = upload_store().item(key)
    if key in st.session_state.get(_FETCHED, ()):
        board.finish("fetching", format_bytes(item.size_bytes))
    with medium_place:
        _show_medium(item, key)
    with stages_place:
        found = _identified(index, key, item, board)
        if found is not None:
            _show_tags(found.tags)
    if found is not None:
        _show_matches(index, found.matches)


def _show_fields() -> None:
    # After an upload the field is replaced by an empty one, so that Streamlit does not keep a second copy of the file.
    count = st.session_state.get(_FIELD_COUNT, 0)
    show_file_field("A sound or video", f"identify-file-{count}", _receive_file)
    if options.is_set(options.LINKS):
        with st.form("identify-link", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Or a link to one", key="identify-url", placeholder="https://", icon=":material/link:")
            st.form_submit_button("Fetch", icon=":material/download:", on_click=_receive_link)


def _receive_file(field: str) -> None:
    upload = st.session_state[field]
    if upload is not None:
        st.session_state[_PENDING] = Medium(upload.name, upload.getvalue())
        st.session_state[_FIELD_COUNT] = st.session_state.get(_FIELD_COUNT, 0) + 1


def _receive_link() -> None:
    if url := st.session_state["identify-url"].strip():
        st.session_state[_PENDING] = Medium(url, None)


class StageBoard:
    """The stages of the work, each with its progress. `place`: where they are shown"""

    def __init__(self, place: DeltaGenerator) -> None:
        self._place = place
        self._rows: dict[str, DeltaGenerator] = {}

    def show(self, stage: str, done: float, total: float | None) -> None:
        """Show the progress of a stage: bytes, seconds or windows."""
        share = min(done / total, 1.0) if total else 0.0
        icon = "check_circle" if share == 1.0 else "progress_activity"
        self._row(stage).progress(share, f":material/{icon}: {STAGES[stage]} {_amount(stage, done, total)}")

    def finish(self, stage: str, amount: str = "") -> None:
        """Show that a stage is complete."""
        self._row(stage).progress(1.0, f":material/check_circle: {STAGES[stage]} {amount}")

    def _row(self, stage: str) -> DeltaGenerator:
        if stage not in self._rows:
            self._rows[stage] = self._place.empty()
        return self._rows[stage]


def _amount(stage: str, done: float, total: float | None) -> str:
    if stage == "fetching":
        return format_bytes(done) + (f" of {format_bytes(total)}" if total else "")
    if stage == "decoding":
        return f"{format_seconds(done)} of {format_seconds(total)}" if total else ""
    return f"{done:.0f} of {count_noun(round(total or 0), 'window')}" if stage == "embedding" else ""


def _received(state: SearchState, board: StageBoard) -> str | None:
    """The key of what was brought, fetched and stored if that was not done yet; None: nothing, or it was stopped.

    Raises: LinkError; SoundError: it is no sound; SettingsError.
    """
    place = st.empty()  # always on the page, so that what follows has the same position in every run
    pending: Medium | None = st.session_state.get(_PENDING)
    if pending is None:
        return state.upload
    limits = FetchLimits(MAX_UPLOAD_MB * 2**20, MAX_LINK_S, options.is_set(options.PRIVATE_LINKS))

    def work(report: StageCallback) -> str:
        name, content = pending
        if content is None:
            name, content = fetch(pending.name, limits, lambda done, total: report("fetching", done, total))
        return upload_store().add(name, content, lambda share: report("decoding", 0.0, None))

    if pending.content is None:
        board.show("fetching", 0, None)
    try:
        key = background.run_in_stages(f"receive-{hash(pending)}", work, board.show, place)
    except BoilerError:
        del st.session_state[_PENDING]
        raise
    if key is not None:  # None: stopped, and may be resumed
        del st.session_state[_PENDING]
        if pending.content is None:
            st.session_state.setdefault(_FETCHED, set()).add(key)
        actions.set_url(SearchState(upload=key, index=state.index))
    return key


def _show_medium(item: Item, key: str) -> None:
    """A player of the video, where it is one that browsers play, and the waveform of its sound."""
    if media_type_pool().video_type(upload_store().path(item.n)):
        address = f"{UPLOADS_URL}/{item.n}/video"
        st.html(f'<video controls preload="metadata" style="width: 100%; max-height: 24rem" src="{address}"></video>')
    card = cards.query_card(item, upload_store().sounds_url, SearchState(upload=key), ())
    card = replace(card, selectable=False)  # a part of it is a query of the search page
    cards.show_cards([card], "single", "medium", lambda message: None, title="The sound")


def _identified(index: OpenIndex, key: str, item: Item, board: StageBoard) -> Identification | None:
    """The answer, cached by content; None: stopped.

    Raises: SoundError: it cannot be decoded, or is silent; ModelDirError: the index has no encoder.
    """
    nearest = index.nearest
    stages = [stage for stage in STAGES if stage != "fetching" and (stage != "tagging" or nearest.has_tag_model)]
    for stage in stages:
        board.show(stage, 0, None)
    found = background.run_in_stages(
        f"identify-{index.key}-{nearest.generation}-{key}",
        lambda report: _cached(index.key, nearest.generation, key, nearest, item, upload_store().path(item.n), report),
        board.show,
    )
    if found is not None:
        amounts = {
            "decoding": format_seconds(item.duration_s),
            "embedding": count_noun(found.n_windows, "window"),
        }
        for stage in stages:
            board.finish(stage, amounts.get(stage, ""))
    return found


@st.cache_resource(max_entries=100, show_spinner=False)
def _cached(
    key: str, generation: str, upload: str, _nearest: Nearest, _item: Item, _path: Path, _report: StageCallback
) -> Identification:
    rate_hz, spec = _nearest.header.sample_rate_hz, _nearest.header.window_spec
    total = spec.n_windows(round(_item.duration_s * rate_hz))

    def blocks() -> Iterator[Any]:
        done_s = 0.0
        for block in decoded:
            done_s += len(block) / rate_hz
            _report("decoding", done_s, _item.duration_s)
            yield block

    decoded = shared_decoders().stream(_path, sample_rate_hz=rate_hz)
    with contextlib.closing(decoded):  # ends the decoding where `_report` raises
        embedded = _nearest.embed_blocks(
            blocks(), _item.id, on_embedded=lambda n_windows: _report("embedding", n_windows, max(total, n_windows))
        )
    tags = None
    if _nearest.has_tag_model:
        _report("tagging", 0, 1)
        tags = _nearest.predict_tags([one.vector for one in embedded], N_TAGS)
        _report("tagging", 1, 1)
    _report("searching", 0, 1)
    some = seeds.evenly_spaced(embedded)
    query = ByWindows([one.vector for one in some], [one.window for one in some], _path)
    matches = _nearest.query(query, PAGE_SIZE, Options(dedup_distance=DEDUP_DISTANCE)).matches
    _report("searching", 1, 1)
    return Identification(len(embedded), tags, list(matches))


def _show_tags(tags: PredictedTags | None) -> None:
    """The most probable tags: those that reach their threshold, a line, and the others."""
    if tags is None:
        st.info(
            "This index has no tag model. Train one with `boiler train_tags`, and use it with `boiler tag`.",
            icon=":material/sell:",
        )
        return
    st.header(count_noun(tags.n_predicted, "tag"), anchor=False)
    predicted = [one for one in tags.tags if one.has]
    with st.container(key="identified-tags"):
        for one in predicted:
            _show_tag(one.tag, one.probability or 0.0, bold=True)
        if predicted:
            st.divider()
        for one in tags.tags:
            if not one.has:
                _show_tag(one.tag, one.probability or 0.0, bold=False)
    if tags.n_predicted > len(predicted):
        st.caption(f"{tags.n_predicted - len(predicted):,} more reach their threshold.")


def _show_tag(tag: str, probability: float, *, bold: bool) -> None:
    name = f"**{escape_markdown(tag)}**" if bold else escape_markdown(tag)
    st.progress(min(max(probability, 0.0), 1.0), f"{name} · {100 * probability:.0f} %")


def _show_matches(index: OpenIndex, matches: list[Match]) -> None:
    st.header("Nearest sounds", anchor=False)
    tray, state = tray_numbers(index), SearchState(index=SearchState.from_params(st.query_params).index)
    items = {item.n: item for item in index.existing_items(match.n for match in matches)}
    shown = [
        replace(
            cards.result_card(match, items[match.n], index.sounds_url, state, tray),
            actions=("query", "spectrogram", "tray"),
        )
        for match in matches
        if match.n in items
    ]

    def on_message(message: Mapping[str, Any]) -> None:
        actions.handle_on_other_page(index, message)

    cards.show_cards(widgets.with_tags(index, shown), "grid", "nearest", on_message, title="Nearest sounds")

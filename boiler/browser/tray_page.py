"""The page of chosen sounds: heard again, taken out, carried away as a playlist, a table or the files themselves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

import streamlit as st

from boiler.browser import actions, cards, indexes, search_page, zip_stream
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question
from boiler.catalog.items import Item
from boiler.errors import BoilerError

HEARD_S = 30.0  # of each sound, when all are heard in order
COLUMNS = ("n", "id", "url", "label", "folder", "duration_s", "sample_rate_hz", "channels", "format", "sha256")


def page(shelf: Library) -> None:
    """Everything on the page."""
    st.title("Tray", anchor=False)
    items = list(indexes.items_of(shelf, tuple(actions.kept(shelf))))
    if not items:
        st.info(
            "Nothing chosen yet. On the search page, the bookmark of a sound (or the key T) puts it here; from here it "
            "leaves as a playlist, a table or a ZIP of the files.",
            icon=":material/bookmark:",
        )
        return
    length = cards.seconds(sum(item.duration_s for item in items))
    st.caption(f"{len(items)} sounds, {length} together. They stay here while this page of the browser is open.")
    carry_away(shelf, items)
    question = Question(library=Question.of(st.query_params).library)
    shape = search_page.heading("Chosen")
    cards.show(
        [cards.of_item(item, shelf.sounds_at, question, actions.kept(shelf)) for item in items],
        shape,
        "tray",
        lambda message: actions.act_elsewhere(shelf, message),
        title="Chosen sounds",
        heard_s=HEARD_S,
    )


def carry_away(shelf: Library, items: list[Item]) -> None:
    """The ways out. Files are made when they are asked for, not before."""
    with st.container(horizontal=True, key="carry"):
        for name, kind, mime, make in (
            ("Playlist", "m3u8", "audio/x-mpegurl", lambda: m3u8(shelf, items)),
            ("Table", "csv", "text/csv", lambda: table(items)),
            ("JSON", "json", "application/json", lambda: listing(items)),
        ):
            st.download_button(
                name,
                make,
                file_name=f"boiler-tray.{kind}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"carry-{kind}",
            )
        total = sum(item.size_bytes for item in items)
        beyond = total > zip_stream.MOST_BYTES or len(items) > zip_stream.MOST_ITEMS
        st.link_button(
            "ZIP of the files",
            zip_stream.address(shelf.sounds_at, (item.n for item in items)),
            icon=":material/folder_zip:",
            key="carry-zip",
            disabled=beyond,
            help="So much is better carried by the playlist" if beyond else None,
        )
        st.button("Empty the tray", icon=":material/delete:", key="empty", on_click=actions.kept(shelf).clear)


def m3u8(shelf: Library, items: Iterable[Item]) -> bytes:
    """A playlist for players on this machine: each sound's length, name and path."""
    lines = ["#EXTM3U"]
    for item in items:
        try:
            path = str(shelf.nearest.path(item.n))
        except BoilerError:
            path = item.id  # the folder is not here: the names alone are still of use
        lines += [f"#EXTINF:{max(round(item.duration_s), 1)},{item.id}", path]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def table(items: Iterable[Item]) -> bytes:
    """The items as CSV, with a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(item, name) for name in COLUMNS] for item in items)
    return text.getvalue().encode()


def listing(items: Iterable[Item]) -> bytes:
    """The items as JSON, with their other metadata."""
    rows = [{name: getattr(item, name) for name in COLUMNS} | {"metadata": dict(item.metadata)} for item in items]
    return json.dumps(rows, indent=2, ensure_ascii=False).encode()

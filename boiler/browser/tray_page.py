"""The tray page: the collected sounds, and their export as a playlist, a table or the files themselves."""

from __future__ import annotations

import streamlit as st

from boiler.browser import actions, widgets, zip_stream
from boiler.browser.formatting import count_noun, format_seconds
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import tray_numbers
from boiler.browser.url_state import SearchState
from boiler.catalog.items import Item
from boiler.search import export

PLAY_EACH_S = 30.0


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    st.title("Tray", anchor=False)
    items = list(index.existing_items(tray_numbers(index)))
    if not items:
        st.info(
            "The tray is empty. Add sounds with the bookmark button of a card, or with the key T; here you can export "
            "them as a playlist, a table or a ZIP file.",
            icon=":material/bookmark:",
        )
        return
    duration = format_seconds(sum(item.duration_s for item in items))
    st.caption(f"{count_noun(len(items), 'sound')}, {duration} in total. The tray lasts until you close this tab.")
    _show_exports(index, items)
    widgets.item_cards(
        index,
        SearchState(index=SearchState.from_params(st.query_params).index),
        items,
        widgets.list_header("Sounds"),
        key="tray",
        on_message=actions.handle_on_other_page,
        title="Sounds in the tray",
        play_each_s=PLAY_EACH_S,
    )


def _show_exports(index: OpenIndex, items: list[Item]) -> None:
    """The download buttons. Files are made on download, not before."""
    entries = [export.PlaylistEntry(item.n, item.id, item.duration_s) for item in items]
    with st.container(horizontal=True, key="exports"):
        for name, suffix, media_type, make_file in (
            ("Playlist (M3U8)", "m3u8", "audio/x-mpegurl", lambda: export.m3u8(entries, index.nearest.path)),
            ("Table (CSV)", "csv", "text/csv", lambda: export.items_csv(items).encode("utf-8", "replace")),
            ("JSON", "json", "application/json", lambda: export.items_json(items).encode("utf-8", "replace")),
        ):
            st.download_button(
                name,
                make_file,
                file_name=f"boiler-tray.{suffix}",
                mime=media_type,
                icon=":material/download:",
                on_click="ignore",
                key=f"export-{suffix}",
            )
        total_bytes = sum(item.size_bytes for item in items)
        too_large = total_bytes > zip_stream.MAX_BYTES or len(items) > zip_stream.MAX_FILES
        st.link_button(
            "Files (ZIP)",
            zip_stream.archive_url(index.sounds_url, (item.n for item in items)),
            icon=":material/folder_zip:",
            key="export-zip",
            disabled=too_large,
            help="Too large for a ZIP file: export a playlist" if too_large else None,
        )
        st.button("Empty the tray", icon=":material/delete:", key="empty-tray", on_click=tray_numbers(index).clear)

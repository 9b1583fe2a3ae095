"""The script that Streamlit runs at every click: it opens the index, shows the page, and reports errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from boiler import arguments
from boiler.browser import (
    actions,
    collection_page,
    evaluation_page,
    identify_page,
    indexes,
    label_page,
    map_page,
    options,
    path_page,
    search_page,
    tray_page,
)
from boiler.browser.component import STATIC
from boiler.browser.formatting import escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import total_in_trays
from boiler.browser.url_state import PathState, SearchState, current_params
from boiler.catalog.folder import path_or_address
from boiler.errors import (
    BoilerError,
    EmbeddingError,
    LinkError,
    ModelDirError,
    SilentSoundError,
    SoundError,
    UnknownItemError,
)

log = logging.getLogger("boiler.browser")

HOW_TO_INDEX = """\
To make one from a folder of sounds, run this and reload the page:

```
boiler index ~/sounds MFCCStats
```

It prints the model directory, which `boiler browse` takes, too. `boiler demo` does all of it with generated sounds."""


def main() -> None:
    """One run of the script."""
    fixed_index = options.from_environment() is not None
    st.set_page_config(
        page_title="boiler: find similar sounds",
        page_icon=str(STATIC / "icon.png"),
        layout="wide",
        initial_sidebar_state="collapsed" if fixed_index else "auto",
    )
    opened: list[OpenIndex] = []

    def on_index(show_page: Callable[[OpenIndex], None]) -> Callable[[], None]:
        def run() -> None:
            if opened:
                run_guarded(lambda: show_page(opened[0]))

        run.__name__ = show_page.__module__.rpartition(".")[2]  # Streamlit identifies pages by their function's name
        return run

    n_tray = total_in_trays()
    search = st.Page(on_index(search_page.show_page), title="Search", icon=":material/graphic_eq:", default=True)
    path = st.Page(on_index(path_page.show_page), title="Path", icon=":material/conversion_path:", url_path="path")
    evaluation = st.Page(
        on_index(evaluation_page.show_page), title="Evaluation", icon=":material/straighten:", url_path="evaluation"
    )
    measures = st.Page(  # the URL of the evaluation page in earlier versions
        lambda: st.switch_page(evaluation, query_params=st.query_params.to_dict()),
        title="Evaluation",
        url_path="measures",
        visibility="hidden",
    )
    pages = [
        search,
        st.Page(on_index(identify_page.show_page), title="Identify", icon=":material/sell:", url_path="identify"),
        st.Page(on_index(map_page.show_page), title="Map", icon=":material/scatter_plot:", url_path="map"),
        path,
        st.Page(on_index(label_page.show_page), title="Label", icon=":material/label:", url_path="label"),
        st.Page(
            on_index(tray_page.show_page),
            title=f"Tray · {n_tray}" if n_tray else "Tray",
            icon=":material/bookmark:",
            url_path="tray",
        ),
        st.Page(
            on_index(collection_page.show_page),
            title="Collection",
            icon=":material/library_music:",
            url_path="collection",
        ),
        evaluation,
        measures,
    ]
    st.html(STATIC / "page.css")
    page = st.navigation(pages, position="top")
    st.logo(STATIC / "logo.svg", size="large")
    index_key = current_params(st.query_params).get("index")
    if (n := st.session_state.pop(actions.PENDING_SEARCH, None)) is not None:
        st.switch_page(search, query_params=SearchState(index=index_key).query_item(n).to_params())
    if (tag := st.session_state.pop(actions.PENDING_TAG, None)) is not None:
        st.switch_page(search, query_params=SearchState(index=index_key).toggle_tag(tag).to_params())
    if (endpoints := st.session_state.pop(actions.PENDING_PATH, None)) is not None:
        st.switch_page(path, query_params=PathState(endpoints[0], endpoints[1], index=index_key).to_params())
    run_guarded(lambda: opened.extend(choose_index()))
    page.run()


def run_guarded(work: Callable[[], None]) -> None:
    """Run the work; report an error on the page, with what to do. The traceback of an unexpected error goes to the log,
    never to the page."""
    try:
        work()
    except BoilerError as error:
        show_error(error)
    except Exception as error:
        show_unexpected_error(error)


def show_error(error: BoilerError) -> None:
    """Report an error on the page, with a button that leads to the start page."""
    if isinstance(error, SilentSoundError):
        text, icon = (
            "This sound is silent, or its channels cancel out in the mix to mono. Use another sound or part of it.",
            "volume_off",
        )
    elif isinstance(error, SoundError):
        text = f"This sound cannot be used: {escape_markdown(error.reason)}. Try another file or another format."
        icon = "music_off"
    elif isinstance(error, EmbeddingError):
        text, icon = f"This picture cannot be used: {escape_markdown(str(error))}. Try another file.", "hide_image"
    elif isinstance(error, LinkError):
        text, icon = f"This link cannot be used: {escape_markdown(str(error))}.", "link_off"
    elif isinstance(error, UnknownItemError):
        text, icon = "This sound is not in the collection, or was removed from it.", "search_off"
    elif isinstance(error, ModelDirError):
        text, icon = f"The index cannot be opened: {escape_markdown(str(error))}", "folder_off"
    else:
        text, icon = f"This request cannot be answered: {escape_markdown(str(error))}", "error"
    st.error(text, icon=f":material/{icon}:")
    if st.query_params and not isinstance(error, ModelDirError):
        st.button("Back to the start page", icon=":material/home:", on_click=_open_start_page)


def _open_start_page() -> None:
    actions.set_url(SearchState.from_params(st.query_params).start_page())


def show_unexpected_error(error: Exception) -> bool:
    """Log an unhandled exception and report it on the page. True: Streamlit shows no further message."""
    log.error("unhandled exception in a page", exc_info=error)
    st.error(
        "Something unexpected went wrong; the log of the program has the details. Go back, or reload the page.",
        icon=":material/error:",
    )
    return True


def choose_index() -> list[OpenIndex]:
    """The index of this session: the one that the browser was started with, or the one chosen in the sidebar. Empty
    list: there is none yet; the page then says how to open one.

    Raises: ModelDirError: it cannot be opened.
    """
    if given := options.from_environment():
        return [indexes.open_index(*given)]
    if not arguments.is_loopback(st.get_option("server.address")):
        st.info(
            "This browser was started without a model directory. Other machines can reach it, so it does not let "
            "visitors choose one. Restart it with `boiler browse MODEL_DIR`.",
            icon=":material/lock:",
        )
        return []
    key_in_url = current_params(st.query_params).get("index")
    model_dirs = indexes.find_model_dirs(Path.cwd())
    index = _open_from_sidebar(model_dirs)
    if index is None and key_in_url:
        index = indexes.index_by_key(key_in_url, model_dirs)
    if index is None and model_dirs and not key_in_url:
        index = indexes.open_index(model_dirs[0])
    if index is not None:
        if index.key != key_in_url:  # item numbers mean nothing in another index
            actions.set_url(SearchState(index=index.key))
        return [index]
    st.title("Open an index", anchor=False)
    if model_dirs or key_in_url:
        st.info("Choose an index in the sidebar.", icon=":material/folder_open:")
    else:
        st.info(
            "There is no index in the working directory. Enter a model directory in the sidebar, or make one. "
            + HOW_TO_INDEX,
            icon=":material/folder_open:",
        )
    return []


def _open_from_sidebar(model_dirs: list[Path]) -> OpenIndex | None:
    """The form in the sidebar; the index if the form was just submitted."""
    with st.sidebar, st.form("open-index", border=False):
        st.header("Index", anchor=False)
        names = [str(path.relative_to(Path.cwd())) for path in model_dirs]
        path = st.selectbox("In the working directory", names, key="found-model-dir") if names else None
        path = st.text_input("Model directory", placeholder="as printed by boiler index", key="model-dir") or path
        wav_dir = st.text_input("Folder of sounds", placeholder="if it moved since", key="wav-dir")
        if not st.form_submit_button("Open", icon=":material/folder_open:", type="primary") or not path:
            return None
    return indexes.open_index(Path(path), path_or_address(wav_dir) if wav_dir else None)


if __name__ == "__main__":
    main()

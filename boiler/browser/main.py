"""What runs at every click: which index, which page, and errors as sentences with a way out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from boiler.browser import (
    actions,
    collection_page,
    evaluation_page,
    indexes,
    map_page,
    options,
    path_page,
    search_page,
    tray_page,
)
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question
from boiler.errors import BoilerError, ModelDirError, SilentSoundError, SoundError, UnknownItemError

FRONT = Path(__file__).parent / "static"
log = logging.getLogger("boiler.browser")

HOW_TO_INDEX = """\
Of a folder of sounds, it is made by this; then reload the page:

```
boiler index ~/sounds MFCCStats
```

It prints the model directory, which `boiler browse` takes, too. `boiler demo` makes up some sounds and does all of
it."""


def main() -> None:
    """One run of the script."""
    fixed = options.given() is not None
    st.set_page_config(
        page_title="boiler: sounds that sound alike",
        page_icon=str(FRONT / "icon.png"),
        layout="wide",
        initial_sidebar_state="collapsed" if fixed else "auto",
    )
    chosen: list[Library] = []

    def with_library(page: Callable[[Library], None]) -> Callable[[], None]:
        def run() -> None:
            if chosen:
                guarded(lambda: page(chosen[0]))

        run.__name__ = page.__module__.rpartition(".")[2]  # Streamlit tells pages apart by their names
        return run

    search = st.Page(with_library(search_page.page), title="Search", icon=":material/graphic_eq:", default=True)
    kept = sum(map(len, st.session_state.get("trays", {}).values()))
    travel = st.Page(with_library(path_page.page), title="Path", icon=":material/conversion_path:", url_path="path")
    others = [
        st.Page(with_library(map_page.page), title="Map", icon=":material/scatter_plot:", url_path="map"),
        travel,
        st.Page(
            with_library(tray_page.page),
            title=f"Tray · {kept}" if kept else "Tray",
            icon=":material/bookmark:",
            url_path="tray",
        ),
        st.Page(
            with_library(collection_page.page),
            title="Collection",
            icon=":material/library_music:",
            url_path="collection",
        ),
        st.Page(
            with_library(evaluation_page.page), title="Measures", icon=":material/straighten:", url_path="measures"
        ),
    ]
    st.html(FRONT / "page.css")
    shown = st.navigation([search, *others], position="top")
    st.logo(FRONT / "logo.svg", size="large")
    if (wanted := st.session_state.pop(actions.WANTED, None)) is not None:
        question = Question(library=Question.of(st.query_params).library).ask(wanted)
        st.switch_page(search, query_params=question.address())
    if (way := st.session_state.pop(actions.TRAVEL, None)) is not None:
        st.switch_page(
            travel, query_params=path_page.Way(way[0], way[1], library=st.query_params.get("library")).address()
        )
    guarded(lambda: chosen.extend(choose()))
    shown.run()


def guarded(work: Callable[[], None]) -> None:
    """Do the work; what is refused or fails is said in a sentence, with what to do about it. The trace of what was not
    foreseen goes to the log of the program, never to the page."""
    try:
        work()
    except BoilerError as error:
        tell(error)
    except Exception as error:
        unforeseen(error)


def tell(error: BoilerError) -> None:
    """An error of boiler's own, and the way out of it."""
    if isinstance(error, SilentSoundError):
        said, icon = (
            "There is nothing but silence in that sound. Bring another, or choose a louder part.",
            "volume_off",
        )
    elif isinstance(error, SoundError):
        said, icon = f"That sound cannot be used: {error.reason}. Bring another, or it in another format.", "music_off"
    elif isinstance(error, UnknownItemError):
        said, icon = "That sound is not in this collection, or no longer.", "search_off"
    elif isinstance(error, ModelDirError):
        said, icon = f"The index cannot be used: {error}", "folder_off"
    else:
        said, icon = f"That cannot be answered: {error}", "error"
    st.error(said, icon=f":material/{icon}:")
    if st.query_params and not isinstance(error, ModelDirError):
        st.button("Start anew", icon=":material/restart_alt:", on_click=start_anew)


def start_anew() -> None:
    """Ask nothing; the index stays."""
    actions.go(Question.of(st.query_params).nothing())


def unforeseen(error: Exception) -> bool:
    """What nobody foresaw: a sentence on the page, the trace in the log. True: Streamlit shows nothing of its own."""
    log.error("the page could not be made", exc_info=error)
    st.error(
        "Something went wrong that boiler did not foresee; the program's log says what. Go back, or reload the page.",
        icon=":material/error:",
    )
    return True


def choose() -> list[Library]:
    """The index that this session looks at: the one given at the start, or the one chosen in the sidebar; none, when
    there is nothing to choose from, which the page then says.

    Raises: ModelDirError: it cannot be opened.
    """
    if given := options.given():
        return [indexes.open_library(*given)]
    if not options.for_this_machine_alone(st.get_option("server.address")):
        st.info(
            "This browser was started without a model directory. As other machines reach it, it opens none by itself: "
            "start it again with one, `boiler browse MODEL_DIR`.",
            icon=":material/lock:",
        )
        return []
    wanted = Question.of(st.query_params).library
    near = indexes.found(Path.cwd())
    opened = picked(near)
    if opened is None and wanted:
        opened = indexes.known(wanted, near)
    if opened is None and near and not wanted:
        opened = indexes.open_library(near[0])
    if opened is not None:
        if opened.key != wanted:  # an item's number means nothing without its index
            st.query_params.from_dict(Question(library=opened.key).address())
        return [opened]
    st.title("Which sounds?", anchor=False)
    if near or wanted:
        st.info("Choose an index in the sidebar, and open it.", icon=":material/folder_open:")
    else:
        st.info(
            "There is no index here yet. Name one in the sidebar, or make one. " + HOW_TO_INDEX,
            icon=":material/folder_open:",
        )
    return []


def picked(near: list[Path]) -> Library | None:
    """The form in the sidebar; what was opened with it just now."""
    with st.sidebar, st.form("open", border=False):
        st.header("Which index?", anchor=False)
        names = [str(one.relative_to(Path.cwd())) for one in near]
        path = st.selectbox("Found here", names, key="found") if names else None
        path = st.text_input("Model directory", placeholder="what boiler index printed", key="model_dir") or path
        wav_dir = st.text_input("Folder of sounds", placeholder="as it was indexed", key="wav_dir")
        if not st.form_submit_button("Open", icon=":material/folder_open:", type="primary") or not path:
            return None
    return indexes.open_library(Path(path), Path(wav_dir) if wav_dir else None)


if __name__ == "__main__":
    main()

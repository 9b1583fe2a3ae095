"""The page that looks after the collection: what is in it, what could not be read, what is there twice."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import streamlit as st

from boiler.browser import background, cards
from boiler.browser.indexes import Library
from boiler.catalog.items import Failure
from boiler.progress import ProgressCallback
from boiler.search import statistics
from boiler.search.duplicates import DuplicateGroup
from boiler.search.statistics import Holdings
from boiler.store import generation

NEAR_UP_TO_ITEMS = 2_000  # looked for unasked among so many
MOST_NEAR = 200
LENGTHS_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, float("inf"))


def page(shelf: Library) -> None:
    """Everything on the page."""
    held = counted(shelf)
    st.title("The collection", anchor=False)
    numbers(held)
    if held.labels or held.folders:
        groups(held)
    lengths(held)
    failed(held.failures)
    twice(held.duplicates)
    near = st.container()
    index(held)
    with near:  # made last: the rest need not wait for it
        nearly(shelf, held)


def counted(shelf: Library) -> Holdings:
    """The counts of the index's current generation; made once for each."""
    return _counted(str(shelf.model_dir), generation.current_name(shelf.model_dir))


@st.cache_resource(max_entries=8, show_spinner="Counting ...")
def _counted(model_dir: str, name: str) -> Holdings:
    return statistics.of(Path(model_dir))


def numbers(held: Holdings) -> None:
    """The figures at the top."""
    figures = {
        "Sounds": f"{held.n_items:,}",
        "Length": hours(held.duration_s),
        "Size": size(held.size_bytes),
        "Labels": f"{len(held.labels):,}",
        "Not readable": f"{len(held.failures):,}",
        "Silent": f"{held.n_silent:,}",
    }
    with st.container(horizontal=True, key="figures"):
        for name, figure in figures.items():
            st.metric(name, figure, border=True, width=165)


def groups(held: Holdings) -> None:
    """How the sounds fall into labels, or folders where there are no labels."""
    rows, what = (held.labels, "Label") if held.labels else (held.folders, "Folder")
    st.header(f"{what}s", anchor=False)
    most = rows[0][1]
    st.dataframe(
        {what: [name for name, _ in rows], "Sounds": [count for _, count in rows]},
        column_config={
            "Sounds": st.column_config.ProgressColumn(format="%d", min_value=0, max_value=most, width="medium")
        },
        hide_index=True,
        height=tall(len(rows)),
        alt=f"How many sounds each {what.lower()} has",
    )


def lengths(held: Holdings) -> None:
    """How long the sounds are."""
    if not held.lengths_s:
        return
    counts, _ = np.histogram(held.lengths_s, LENGTHS_S)
    names = [
        f"over {short(low)}" if high == float("inf") else f"{short(low)} to {short(high)}"
        for low, high in itertools.pairwise(LENGTHS_S)
    ]
    st.header("Lengths", anchor=False)
    st.caption(
        f"The shortest has {cards.seconds(min(held.lengths_s))}, the longest {cards.seconds(max(held.lengths_s))}, "
        f"half of them at most {cards.seconds(float(np.median(held.lengths_s)))}."
    )
    used = [place for place, count in enumerate(counts) if count]
    span = range(used[0], used[-1] + 1)
    st.bar_chart(
        {"Length": [names[place] for place in span], "Sounds": [int(counts[place]) for place in span]},
        x="Length",
        y="Sounds",
        x_label="",
        y_label="",
        sort=False,
        horizontal=True,
        height=60 + 34 * len(span),
        alt="How many sounds there are of each length",
    )


def failed(failures: tuple[Failure, ...]) -> None:
    """The files that gave no sound."""
    st.header("Not readable", anchor=False)
    if not failures:
        st.success("Every file of the folder could be read.", icon=":material/check:")
        return
    st.caption("These are tried again when their bytes change. Mend or remove them, then run `boiler index` again.")
    st.dataframe(
        {"File": [one.id for one in failures], "Reason": [one.reason for one in failures]},
        hide_index=True,
        height=tall(len(failures)),
        alt="The files that could not be read, and why",
    )


def twice(duplicates: tuple[tuple[str, ...], ...]) -> None:
    """Sounds whose bytes are the same."""
    if not duplicates:
        return
    st.header("There twice", anchor=False)
    st.caption("Files whose bytes are the same. The index keeps them all; nothing is removed for you.")
    st.dataframe(
        {"One": [group[0] for group in duplicates], "The same again": [", ".join(group[1:]) for group in duplicates]},
        hide_index=True,
        height=tall(len(duplicates)),
        alt="Files whose bytes are the same",
    )


def nearly(shelf: Library, held: Holdings) -> None:
    """Sounds that are nearly the same; among many, when it is wanted."""
    if held.n_items > NEAR_UP_TO_ITEMS and not st.session_state.get("near-wanted"):
        st.button(
            "Look for sounds that are nearly the same",
            icon=":material/content_copy:",
            key="near",
            on_click=lambda: st.session_state.update({"near-wanted": True}),
        )
        return
    groups = background.done(
        f"near-{shelf.key}-{shelf.nearest.generation}",
        "Looking for sounds that are nearly the same",
        lambda on_progress: _nearly(str(shelf.model_dir), shelf.nearest.generation, shelf, on_progress),
    )
    if groups is None:
        return
    if not groups:
        if held.n_items > NEAR_UP_TO_ITEMS:  # it was asked
            st.caption("No two of the sounds are nearly the same.")
        return
    st.header("Nearly the same", anchor=False)
    st.caption(
        "Sounds of about the same length that sound the same: other codings or versions of a recording, mostly. "
        "They are proposed, and nothing is removed for you."
        + (f" These are {MOST_NEAR} of {len(groups):,} groups." if len(groups) > MOST_NEAR else "")
    )
    some = groups[:MOST_NEAR]
    st.dataframe(
        {
            "One": [group.ids[0] for group in some],
            "Nearly the same": [", ".join(group.ids[1:]) for group in some],
            "Farthest apart": [group.max_distance for group in some],
        },
        column_config={"Farthest apart": st.column_config.NumberColumn(format="%.3f")},
        hide_index=True,
        height=tall(len(some)),
        alt="Groups of sounds that are nearly the same",
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _nearly(model_dir: str, name: str, _shelf: Library, _on_progress: ProgressCallback) -> list[DuplicateGroup]:
    return _shelf.nearest.duplicates(on_progress=_on_progress)


def index(held: Holdings) -> None:
    """What compares the sounds."""
    header = held.header
    st.header("The index", anchor=False)
    facts = {
        "Encoder": f"{header.encoder}, {header.dim} numbers a window",
        "Windows": f"{header.n_rows:,} of {header.window_samples / header.sample_rate_hz:.3f} s"
        + (f", one every {header.hop_s:.3f} s" if header.windows == "all" else ", the first of each sound"),
        "Made": f"{when(header.created)}, by boiler {header.boiler_version}",
        "Generation": header.generation,
        "Kept": ", ".join(held.kept),
    }
    st.table({"": list(facts), "Value": list(facts.values())}, border="horizontal", hide_index=True, hide_header=True)
    if len(held.kept) > 1:
        st.caption("`boiler index --rollback` brings the generation before back.")


def tall(n_rows: int) -> int:
    """How many pixels a table takes, so that all of a few rows are seen and no empty one.

    >>> tall(2), tall(1_000)
    (107, 387)
    """
    return 35 * (min(n_rows, 10) + 1) + 2


def hours(value_s: float) -> str:
    """A length of many sounds together.

    >>> hours(40.0), hours(1_980.0), hours(45_000.0)
    ('40 s', '33 min', '12.5 h')
    """
    return (
        f"{value_s:.0f} s"
        if value_s < 60
        else f"{value_s / 60:.0f} min"
        if value_s < 3_600
        else f"{value_s / 3_600:,.1f} h"
    )


def when(stamp: str) -> str:
    """A moment to be read; stamps of an index are in UTC.

    >>> when("2026-11-21T11:31:58+00:00"), when("")
    ('2026-11-21 11:31 UTC', 'not known')
    """
    return f"{stamp[:16].replace('T', ' ')} UTC" if stamp else "not known"


def size(n_bytes: float) -> str:
    """Bytes to be read.

    >>> size(812), size(3_400_000), size(5.1e9)
    ('812 B', '3.4 MB', '5.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1_000 or unit == "TB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1_000
    raise AssertionError("the last unit takes all")


def short(value_s: float) -> str:
    """A round length.

    >>> short(0.5), short(30.0), short(300.0)
    ('0.5 s', '30 s', '5 min')
    """
    return f"{value_s:g} s" if value_s < 60 else f"{value_s / 60:g} min"

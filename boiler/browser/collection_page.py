"""The collection page: what is in the collection, unreadable files, duplicates and near-duplicates, and the index."""

from __future__ import annotations

import itertools

import numpy as np
import streamlit as st

from boiler.browser import background
from boiler.browser.formatting import (
    count_noun,
    escape_markdown,
    format_bytes,
    format_round_duration,
    format_seconds,
    format_total_duration,
    format_utc,
)
from boiler.browser.indexes import OpenIndex
from boiler.catalog.items import Failure
from boiler.progress import ProgressCallback
from boiler.search.duplicates import DuplicateGroup
from boiler.search.statistics import CollectionStatistics

AUTO_NEAR_DUPLICATES_MAX_ITEMS = 2_000  # in a larger collection they are searched on demand
MAX_NEAR_DUPLICATE_GROUPS = 200
DURATION_BINS_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, float("inf"))
ROW_HEIGHT_PX, MAX_VISIBLE_ROWS = 35, 10
_NEAR_DUPLICATES_WANTED = "near-duplicates-wanted"  # session key


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    statistics = index.statistics()
    st.title("Collection", anchor=False)
    _show_totals(statistics)
    if statistics.labels or statistics.folders:
        _show_groups(statistics)
    if statistics.durations_s:
        _show_durations(statistics.durations_s)
    _show_failures(statistics.failures)
    _show_warnings(statistics.warnings)
    if statistics.same_bytes:
        _show_duplicates(statistics.same_bytes)
    near_duplicates_place = st.container()
    _show_index(statistics)
    with near_duplicates_place:  # computed last, so that the rest of the page is shown first
        _show_near_duplicates(index, statistics.n_items)


def _show_totals(statistics: CollectionStatistics) -> None:
    totals = {
        "Sounds": f"{statistics.n_items:,}",
        "Duration": format_total_duration(statistics.duration_s),
        "Size": format_bytes(statistics.size_bytes),
        "Labels": f"{len(statistics.labels):,}",
        "Unreadable files": f"{len(statistics.failures):,}",
        "Silent": f"{statistics.n_silent:,}",
    }
    with st.container(horizontal=True, key="totals"):
        for name, value in totals.items():
            st.metric(name, value, border=True, width=165)


def _show_groups(statistics: CollectionStatistics) -> None:
    """The number of sounds for each label, or for each folder where there are no labels."""
    rows, noun = (statistics.labels, "Label") if statistics.labels else (statistics.folders, "Folder")
    st.header(f"{noun}s", anchor=False)
    largest = rows[0][1]
    st.dataframe(
        {noun: [name for name, _ in rows], "Sounds": [count for _, count in rows]},
        column_config={
            "Sounds": st.column_config.ProgressColumn(format="%d", min_value=0, max_value=largest, width="medium")
        },
        hide_index=True,
        height=_table_height_px(len(rows)),
        alt=f"Number of sounds for each {noun.lower()}",
    )


def _show_durations(durations_s: tuple[float, ...]) -> None:
    """A histogram of the durations."""
    counts, _ = np.histogram(durations_s, DURATION_BINS_S)
    names = [
        f"over {format_round_duration(low)}"
        if high == float("inf")
        else f"{format_round_duration(low)} to {format_round_duration(high)}"
        for low, high in itertools.pairwise(DURATION_BINS_S)
    ]
    st.header("Durations", anchor=False)
    st.caption(
        f"From {format_seconds(min(durations_s))} to {format_seconds(max(durations_s))}; the median is "
        f"{format_seconds(float(np.median(durations_s)))}."
    )
    used = np.flatnonzero(counts)
    bins = range(used[0], used[-1] + 1)
    st.bar_chart(
        {"Duration": [names[place] for place in bins], "Sounds": [int(counts[place]) for place in bins]},
        x="Duration",
        y="Sounds",
        x_label="",
        y_label="",
        sort=False,
        horizontal=True,
        height=60 + 34 * len(bins),
        alt="Number of sounds for each range of durations",
    )


def _show_failures(failures: tuple[Failure, ...]) -> None:
    st.header("Unreadable files", anchor=False)
    if not failures:
        st.success("Every file of the folder could be read.", icon=":material/check:")
        return
    st.caption("Repair or remove these files, then run `boiler index` again. Unchanged files are not tried again.")
    st.dataframe(
        {"File": [one.id for one in failures], "Reason": [one.reason for one in failures]},
        hide_index=True,
        height=_table_height_px(len(failures)),
        alt="Files that could not be read, with the reason",
    )


def _show_warnings(warnings: tuple[Failure, ...]) -> None:
    if not warnings:
        return
    st.header("Decoded in part", anchor=False)
    st.caption("The rest of these files is indexed. What could not be decoded counts as silence.")
    st.dataframe(
        {"File": [one.id for one in warnings], "Missing": [one.reason for one in warnings]},
        hide_index=True,
        height=_table_height_px(len(warnings)),
        alt="Files of which a part could not be decoded, with what is missing",
    )


def _show_duplicates(groups: tuple[tuple[str, ...], ...]) -> None:
    st.header("Duplicates", anchor=False)
    st.caption("Files with identical bytes. The index holds all of them; boiler never deletes your files.")
    st.dataframe(
        {"File": [group[0] for group in groups], "Identical to": [", ".join(group[1:]) for group in groups]},
        hide_index=True,
        height=_table_height_px(len(groups)),
        alt="Groups of files with identical bytes",
    )


def _show_near_duplicates(index: OpenIndex, n_items: int) -> None:
    """Sounds that are almost the same; in a large collection only on demand."""
    on_demand = n_items > AUTO_NEAR_DUPLICATES_MAX_ITEMS
    if on_demand and not st.session_state.get(_NEAR_DUPLICATES_WANTED):
        st.button(
            "Find near-duplicates",
            icon=":material/content_copy:",
            key="find-near-duplicates",
            on_click=lambda: st.session_state.update({_NEAR_DUPLICATES_WANTED: True}),
        )
        return
    generation = index.nearest.generation
    groups = background.run_with_progress(
        f"near-duplicates-{index.key}-{generation}",
        "Finding near-duplicates",
        lambda on_progress: _near_duplicates(index.key, generation, index, on_progress),
    )
    if groups is None:  # stopped
        return
    if not groups:
        if on_demand:
            st.caption("There are no near-duplicates.")
        return
    shown = groups[:MAX_NEAR_DUPLICATE_GROUPS]
    st.header("Near-duplicates", anchor=False)
    st.caption(
        "Sounds of about the same duration that are almost the same: mostly other encodings or versions of a recording."
        + (f" The first {len(shown)} of {len(groups):,} groups." if len(shown) < len(groups) else "")
    )
    st.dataframe(
        {
            "File": [group.ids[0] for group in shown],
            "Near-duplicates": [", ".join(group.ids[1:]) for group in shown],
            "Largest distance": [group.max_distance for group in shown],
        },
        column_config={"Largest distance": st.column_config.NumberColumn(format="%.3f")},
        hide_index=True,
        height=_table_height_px(len(shown)),
        alt="Groups of near-duplicates",
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _near_duplicates(
    key: str, generation: str, _index: OpenIndex, _on_progress: ProgressCallback
) -> list[DuplicateGroup]:
    return _index.nearest.duplicates(on_progress=_on_progress)


def _show_index(statistics: CollectionStatistics) -> None:
    """The encoder and the generations."""
    header = statistics.header
    st.header("Index", anchor=False)
    window_s = header.window_samples / header.sample_rate_hz
    hop = f"one every {header.hop_s:.3f} s" if header.windows == "all" else "the first of each sound"
    facts = {
        "Encoder": f"{header.encoder}, {header.dim} dimensions",
        "Windows": f"{count_noun(header.n_rows, 'window')} of {window_s:.3f} s, {hop}",
        "Created": f"{format_utc(header.created)}, by boiler {header.boiler_version}",
        "Generation": header.generation,
        "Stored generations": ", ".join(statistics.kept),
    }
    st.table(
        {"": list(facts), "Value": [escape_markdown(fact) for fact in facts.values()]},
        border="horizontal",
        hide_index=True,
        hide_header=True,
    )
    if len(statistics.kept) > 1:
        st.caption("`boiler index --rollback` returns to the generation before.")


def _table_height_px(n_rows: int) -> int:
    """The height of a table that shows all its rows, at most `MAX_VISIBLE_ROWS`, without an empty one.

    >>> _table_height_px(2), _table_height_px(1_000)
    (107, 387)
    """
    return ROW_HEIGHT_PX * (min(n_rows, MAX_VISIBLE_ROWS) + 1) + 2

"""The "Refine" form: filters and ranking options, each written into the URL at once."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from boiler.browser.formatting import escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import Refinement, SearchState

REFINE_POPOVER = "refine"
ANY = "any"
MAX_FOLDER_OPTIONS = 2_000
MAX_TAG_OPTIONS = 2_000


def show_filter_form(index: OpenIndex, state: SearchState) -> None:
    """The popover with the form, and a button that resets it. The fields are created when the popover opens: there may
    be thousands of folders, which would delay the results."""
    # The label of the popover never changes: Streamlit would show one with another label as a new, closed popover.
    with st.popover("Refine", icon=":material/tune:", key=REFINE_POPOVER, on_change="rerun") as popover:
        if popover.open:
            _show_fields(index, state.refinement)
    if n_changed := state.refinement.n_changed:
        st.button(
            f"Clear · {n_changed}",
            icon=":material/filter_alt_off:",
            type="tertiary",
            key="clear",
            help="Reset all filters and ranking options",
            on_click=_set_refinement,
            args=(Refinement(),),
        )


def _show_fields(index: OpenIndex, refinement: Refinement) -> None:
    statistics, tags = index.statistics(), index.tag_counts()
    # The URL has the current values, also after the Back button.
    st.session_state.update(
        refine_label=refinement.label or ANY,
        refine_folder=refinement.folder or ANY,
        refine_tag=refinement.tag or ANY,
        refine_min_s=refinement.min_s,
        refine_max_s=refinement.max_s,
        refine_where=refinement.where,
        refine_diversity=refinement.diversity,
        refine_per_group=refinement.per_group,
        refine_group_by=refinement.group_by,
        refine_dedup=refinement.dedup,
        refine_csls=refinement.csls,
        refine_feedback=refinement.feedback,
    )
    if len(statistics.labels) > 1:
        labels = [ANY, *(name for name, _ in statistics.labels)]
        st.selectbox("Label", _including(labels, refinement.label), key="refine_label", on_change=_read_fields)
    if len(statistics.folders) > 1 and statistics.folders != statistics.labels:
        folders = [ANY, *sorted(name for name, _ in statistics.folders[:MAX_FOLDER_OPTIONS])]
        st.selectbox(
            "Folder and its subfolders",
            _including(folders, refinement.folder),
            key="refine_folder",
            on_change=_read_fields,
        )
    if tags:
        counts = {one.tag: one.n_items for one in tags[:MAX_TAG_OPTIONS]}
        st.selectbox(
            "Tag",
            _including([ANY, *counts], refinement.tag),
            format_func=lambda tag: f"{tag} · {counts[tag]:,}" if tag in counts else tag,
            key="refine_tag",
            on_change=_read_fields,
        )
    left, right = st.columns(2, wrap=False)
    left.number_input("Min. duration (s)", min_value=0.0, value=None, key="refine_min_s", on_change=_read_fields)
    right.number_input("Max. duration (s)", min_value=0.0, value=None, key="refine_max_s", on_change=_read_fields)
    st.text_input(
        "Condition",
        key="refine_where",
        on_change=_read_fields,
        placeholder="sample_rate_hz >= 44100 and format != 'mp3'",
        help=escape_markdown(
            "Fields: n, id, url, label, folder, duration_s, sample_rate_hz, channels, format, size_bytes, "
            "metadata.NAME, tag:NAME (a probability). Operators: == != < <= > >= in, and, or, not. "
            "Functions: glob(id, '*loop*'), under('drums')."
        ),
    )
    st.slider(
        "Diversity",
        0,
        100,
        step=5,
        format="%d %%",
        key="refine_diversity",
        on_change=_read_fields,
        help="0: the nearest sounds only. Higher: each result also differs from those before it.",
    )
    left, right = st.columns(2, wrap=False)
    left.number_input(
        "Max. results per group",
        min_value=0,
        max_value=100,
        key="refine_per_group",
        on_change=_read_fields,
        help="0: no limit",
    )
    right.selectbox("Group by", ["label", "folder"], key="refine_group_by", on_change=_read_fields)
    st.toggle("Merge near-duplicates", key="refine_dedup", on_change=_read_fields)
    st.toggle(
        "Rank hubs lower",
        key="refine_csls",
        on_change=_read_fields,
        help="Hubs are sounds that are near to almost everything and turn up in most results.",
    )
    st.toggle(
        "Use stored likes and dislikes",
        key="refine_feedback",
        on_change=_read_fields,
        help="Likes and dislikes of results of this query, stored earlier by anyone",
    )


def _including(options: list[str], chosen: str | None) -> list[str]:
    """The options, with the chosen one even if the collection no longer has it."""
    return options if chosen is None or chosen in options else [*options, chosen]


def _read_fields() -> None:
    """Write the values of the fields into the URL."""
    fields = st.session_state
    before = SearchState.from_params(st.query_params).refinement

    def chosen(name: str, current: str | None) -> str | None:
        value = fields.get(name, current or ANY)  # a field that was not on the page changes nothing
        return None if value == ANY else value

    _set_refinement(
        replace(
            before,
            label=chosen("refine_label", before.label),
            folder=chosen("refine_folder", before.folder),
            tag=chosen("refine_tag", before.tag),
            min_s=fields["refine_min_s"] or None,
            max_s=fields["refine_max_s"] or None,
            where=(fields["refine_where"] or "").strip(),
            diversity=int(fields["refine_diversity"]),
            per_group=int(fields["refine_per_group"]),
            group_by=fields["refine_group_by"],
            dedup=bool(fields["refine_dedup"]),
            csls=bool(fields["refine_csls"]),
            feedback=bool(fields["refine_feedback"]),
        )
    )


def _set_refinement(refinement: Refinement) -> None:
    st.query_params.from_dict(SearchState.from_params(st.query_params).refined(refinement).to_params())

"""The page of measures: what `boiler evaluate` found of this index, and how its encoder was trained."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from boiler.pages import start
from boiler.pages.library import Library

PICTURES = {
    "per_class.png": "Each class",
    "confusion.png": "What is answered for what",
    "map.png": "The collection in two dimensions: a projection, not the measure",
}
CURVES = 500  # points of each, at most
MOST_CURVES = 24


def page(shelf: Library) -> None:
    """Everything on the page."""
    st.title("How good are the answers?", anchor=False)
    folder = newest(shelf.model_dir, shelf.nearest.generation)
    if folder is None:
        st.info(
            "Not measured yet. Where the sounds have labels, this asks with each of them and counts how many answers "
            f"have the same:\n\n```\nboiler evaluate {named(shelf.model_dir, 'MODEL_DIR')}\n```",
            icon=":material/straighten:",
        )
    else:
        measured(folder, shelf.nearest.generation)
    trained(shelf.model_dir)


def named(folder: Path, otherwise: str) -> str:
    """A folder of this machine, for those who sit at it; others are not told where it lies."""
    return str(folder) if start.for_this_machine_alone(st.get_option("server.address")) else otherwise


def newest(model_dir: Path, generation: str) -> Path | None:
    """The folder of what was measured: of this generation, else of the last one that was."""
    folders = [path.parent for path in (model_dir / "evaluation").glob("*/evaluation.md")]
    if not folders:
        return None
    # Names of generations begin with a rising number.
    return next((folder for folder in folders if folder.name == generation), max(folders, key=lambda path: path.name))


def measured(folder: Path, generation: str) -> None:
    """The tables and the pictures."""
    if folder.name != generation:
        st.warning(
            f"This was measured on the generation {folder.name}; the index is {generation} by now. "
            "`boiler evaluate` measures it again.",
            icon=":material/history:",
        )
    pictures = [(folder / name, title) for name, title in PICTURES.items() if (folder / name).is_file()]
    with st.container(horizontal=True):
        for path, title in pictures:
            with st.container(border=True, width=360):
                st.image(str(path), caption=title, alt=title, width="stretch")
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    with st.container(key="measured"):
        st.markdown(text.replace("# ", "## ", 1))


def trained(model_dir: Path) -> None:
    """The curves of the training that the encoder comes from, where its folder is still there."""
    run = next(
        (path for path in list(model_dir.resolve().parents)[:2] if list(path.glob("events.out.tfevents.*"))), None
    )
    if run is None:
        return
    stamp = max(path.stat().st_mtime for path in run.glob("events.out.tfevents.*"))
    found = curves(str(run), stamp)
    if not found:
        return
    st.header("Training", anchor=False)
    st.caption(f"`tensorboard --logdir {named(run, 'RUN')}` shows more of it.")
    with st.container(horizontal=True):
        for name, (steps, values) in found.items():
            with st.container(border=True, width=360):
                st.caption(name)
                st.line_chart(
                    {"step": steps, name: values},
                    x="step",
                    y=name,
                    y_label="",
                    height=180,
                    alt=f"{name} over the steps",
                )


@st.cache_resource(max_entries=8, show_spinner="Reading the training ...")
def curves(run: str, stamp: float) -> dict[str, tuple[list[int], list[float]]]:
    """Name of each scalar that the training wrote, with its steps and values. ``stamp`` is when it was last written."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(run, size_guidance={SCALARS: CURVES})
    events.Reload()
    found = {}
    for name in events.Tags()[SCALARS][:MOST_CURVES]:
        points = events.Scalars(name)
        found[name] = ([point.step for point in points], [point.value for point in points])
    return found

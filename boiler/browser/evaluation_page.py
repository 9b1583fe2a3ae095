"""The page of measures: what `boiler evaluate` found of this index, and how its encoder was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from boiler.browser import background, options
from boiler.browser.indexes import Library
from boiler.progress import ProgressCallback, ignore_progress

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
    trained(shelf)


def named(folder: Path, otherwise: str) -> str:
    """A folder of this machine, for those who sit at it; others are not told where it lies."""
    return str(folder) if options.for_this_machine_alone(st.get_option("server.address")) else otherwise


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


def trained(shelf: Library) -> None:
    """The curves of the training that the encoder comes from, where its folder is still there."""
    run = next((path for path in list(shelf.model_dir.resolve().parents)[:2] if events_of(path)), None)
    if run is None:
        return
    stamp = max(path.stat().st_mtime for path in events_of(run))
    key = f"curves-{shelf.key}-{stamp}"
    found = background.done(key, "Reading the training", lambda on_progress: curves(str(run), stamp, on_progress))
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


@st.cache_resource(max_entries=8, show_spinner=False)
def curves(
    run: str, stamp: float, _on_progress: ProgressCallback = ignore_progress
) -> dict[str, tuple[list[int], list[float]]]:
    """Name of each scalar that the training wrote, with its steps and values, `CURVES` of them at most. A training that
    went on from an earlier step takes the place of what was written after it. ``stamp`` is when it was last written.

    Raises: what `_on_progress` raises.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    values: dict[str, dict[int, float]] = {}
    paths = events_of(Path(run))
    total = sum(path.stat().st_size for path in paths)
    done = 0
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():
            done += len(record)
            _on_progress(done / total)
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                values = {
                    name: {step: value for step, value in points.items() if step < event.step}
                    for name, points in values.items()
                }
            for one in event.summary.value:
                if one.HasField("simple_value"):
                    values.setdefault(one.tag, {})[event.step] = one.simple_value
    return {name: thinned(points) for name, points in list(values.items())[:MOST_CURVES] if points}


def events_of(run: Path) -> list[Path]:
    """The files that a training wrote for TensorBoard, oldest first: their names begin with a time."""
    return sorted(run.glob("events.out.tfevents.*"))


def thinned(points: dict[int, float]) -> tuple[list[int], list[float]]:
    """Steps and values, evenly taken, the first and the last among them.

    >>> thinned({step: step / 2 for step in range(3)})
    ([0, 1, 2], [0.0, 0.5, 1.0])
    """
    steps = sorted(points)
    taken = np.linspace(0, len(steps) - 1, min(len(steps), CURVES)).round().astype(int)
    return [steps[n] for n in taken], [points[steps[n]] for n in taken]

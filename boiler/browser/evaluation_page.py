"""The evaluation page: what `boiler evaluate` measured for this index, and how its encoder was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from boiler import arguments
from boiler.browser import background
from boiler.browser.formatting import escape_markdown, without_links
from boiler.browser.indexes import OpenIndex
from boiler.progress import ProgressCallback, ignore_progress

PLOTS = {
    "per_class.png": "Precision of each class",
    "confusion.png": "Confusion between classes",
    "map.png": "The collection in two dimensions",
}
MAX_CURVE_POINTS = 500
MAX_CURVES = 24

Curve = tuple[list[int], list[float]]  # steps and values


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    st.title("Evaluation", anchor=False)
    generation = index.nearest.generation
    folder = latest_evaluation(index.model_dir, generation)
    if folder is None:
        st.info(
            "This index has not been evaluated yet. The evaluation searches with each labelled sound and counts how "
            "many results have the same label:\n\n"
            f"```\nboiler evaluate {_local_path(index.model_dir, 'MODEL_DIR')}\n```",
            icon=":material/straighten:",
        )
    else:
        _show_evaluation(folder, generation)
    _show_training(index)


def _local_path(path: Path, placeholder: str) -> str:
    """The path, or the placeholder if other machines can reach the browser: visitors must not see local paths."""
    return str(path) if arguments.is_loopback(st.get_option("server.address")) else placeholder


def latest_evaluation(model_dir: Path, generation: str) -> Path | None:
    """The folder of the evaluation of this generation, else of the latest generation that was evaluated."""
    folders = [path.parent for path in (model_dir / "evaluation").glob("*/evaluation.md")]
    if not folders:
        return None
    # Generation names start with an increasing number.
    return next((folder for folder in folders if folder.name == generation), max(folders, key=lambda path: path.name))


def _show_evaluation(folder: Path, generation: str) -> None:
    if folder.name != generation:
        st.warning(
            f"This is the evaluation of generation {escape_markdown(folder.name)}; the index is at "
            f"{escape_markdown(generation)}. Run `boiler evaluate` again.",
            icon=":material/history:",
        )
    with st.container(horizontal=True):
        for name, caption in PLOTS.items():
            if (folder / name).is_file():
                with st.container(border=True, width=360):
                    st.image(str(folder / name), caption=caption, alt=caption, width="stretch")
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    with st.container(key="evaluation-report"):
        st.markdown(without_links(text.replace("# ", "## ", 1)))


def _show_training(index: OpenIndex) -> None:
    """The training curves of the encoder, if the folder of its training run still exists."""
    run = next((path for path in list(index.model_dir.resolve().parents)[:2] if event_files(path)), None)
    if run is None:
        return
    modified_s = max(path.stat().st_mtime for path in event_files(run))
    curves = background.run_with_progress(
        f"curves-{index.key}-{modified_s}",
        "Reading the training curves",
        lambda on_progress: training_curves(str(run), modified_s, on_progress),
    )
    if not curves:
        return
    st.header("Training", anchor=False)
    st.caption(f"All curves: `tensorboard --logdir {_local_path(run, 'RUN')}`")
    with st.container(horizontal=True):
        for name, (steps, values) in curves.items():
            with st.container(border=True, width=360):
                st.caption(escape_markdown(name))
                st.line_chart(
                    {"step": steps, name: values},
                    x="step",
                    y=name,
                    y_label="",
                    height=180,
                    alt=f"{name} over the training steps",
                )


@st.cache_resource(max_entries=8, show_spinner=False)
def training_curves(run: str, modified_s: float, _on_progress: ProgressCallback = ignore_progress) -> dict[str, Curve]:
    """The scalars that a training run wrote for TensorBoard, each thinned to `MAX_CURVE_POINTS`. Where a run was
    resumed from an earlier step, the later values replace those after that step.

    Arguments:
        modified_s: when the run was last written to; part of the cache key

    Raises: whatever `_on_progress` raises.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    values: dict[str, dict[int, float]] = {}
    paths = event_files(Path(run))
    total_bytes = sum(path.stat().st_size for path in paths)
    read_bytes = 0
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():
            read_bytes += len(record)
            _on_progress(read_bytes / total_bytes)
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                values = {
                    name: {step: value for step, value in points.items() if step < event.step}
                    for name, points in values.items()
                }
            for scalar in event.summary.value:
                if scalar.HasField("simple_value"):
                    values.setdefault(scalar.tag, {})[event.step] = scalar.simple_value
    return {name: thin_curve(points) for name, points in list(values.items())[:MAX_CURVES] if points}


def event_files(run: Path) -> list[Path]:
    """The files that a training run wrote for TensorBoard, oldest first: their names begin with a time."""
    return sorted(run.glob("events.out.tfevents.*"))


def thin_curve(points: dict[int, float]) -> Curve:
    """Steps and values, evenly spaced, with the first and the last.

    >>> thin_curve({step: step / 2 for step in range(3)})
    ([0, 1, 2], [0.0, 0.5, 1.0])
    """
    steps = sorted(points)
    chosen = np.linspace(0, len(steps) - 1, min(len(steps), MAX_CURVE_POINTS)).round().astype(int)
    return [steps[place] for place in chosen], [points[steps[place]] for place in chosen]

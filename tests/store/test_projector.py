"""TensorBoard can open a model directory directly."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from boiler.store import projector


@pytest.mark.parametrize("text", ["tab\there", "line\nbreak", "para\u2029graph", "nothing odd"])
def test_a_name_with_tabs_or_line_breaks_stays_one_cell(text: str) -> None:
    stream = io.StringIO()
    projector.write_metadata_row(stream, text, "u", 0.0, 8.192, text)
    (line,) = stream.getvalue().splitlines()
    assert len(line.split("\t")) == len(projector.COLUMNS)


def test_tensors_read_back_exactly(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    projector.write_tensors(tmp_path / "tensors.tsv", vectors)
    assert np.array_equal(np.loadtxt(tmp_path / "tensors.tsv", delimiter="\t", dtype=np.float32), vectors)


def test_writing_the_events_file_again_replaces_it(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for step in (1, 2):
        projector.write_events(tmp_path / projector.EVENTS, {"rows": 10.0 * step}, step)
    events = list(EventFileLoader(str(tmp_path / projector.EVENTS)).Load())
    assert [event.step for event in events if event.HasField("summary")] == [2]
    assert events[-1].summary.value[0].tag == "rows"
    assert [path.name for path in tmp_path.iterdir()] == [projector.EVENTS]


def test_the_projector_plugin_reads_the_files(tmp_path: Path) -> None:
    """Calls the plugin's own code on a published model directory, without a server."""
    from generations import publish
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    publish(tmp_path / "m", n_items=5)
    plugin = ProjectorPlugin(base_plugin.TBContext(logdir=str(tmp_path / "m"), multiplexer=None))
    plugin.config_fpaths = None
    apps = plugin.get_plugin_apps()
    (run,) = Client(apps["/runs"]).get("/").json
    info = Client(apps["/info"]).get(f"/?run={run}").json
    (embedding,) = info["embeddings"]
    assert embedding["tensorPath"] == projector.TENSORS
    name = embedding["tensorName"]
    metadata = Client(apps["/metadata"]).get(f"/?run={run}&name={name}").text.splitlines()
    assert metadata[0].split("\t") == list(projector.COLUMNS)
    tensor = Client(apps["/tensor"]).get(f"/?run={run}&name={name}").data
    assert len(tensor) == (len(metadata) - 1) * 8 * 4

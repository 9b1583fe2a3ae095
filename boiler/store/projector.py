"""Files for TensorBoard: `tensorboard --logdir MODEL_DIR` shows a model directory in its embedding projector.

`tensors.tsv` and `metadata.tsv` have the same rows in the same order; the metadata has a header (id, url, start_s,
end_s, label), which the projector requires for more than one column. The events file records the size of the index at
publication; TensorBoard ignores a folder without one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from boiler import files
from boiler.arrays import Float32Array

COLUMNS = ("id", "url", "start_s", "end_s", "label")
METADATA = "00000/default/metadata.tsv"
TENSORS = "00000/default/tensors.tsv"
CONFIG = "projector_config.pbtxt"
EVENTS = "events.out.tfevents.0000000000.boiler"

_CONFIG_TEXT = f"""embeddings {{
  tensor_name: "boiler"
  metadata_path: "{METADATA}"
  tensor_path: "{TENSORS}"
}}
"""
_BLOCK_ROWS = 4096


def tsv_cell(text: str) -> str:
    """One cell of a TSV: tabs and line breaks become spaces.

    >>> tsv_cell("a\\tb\\nc")
    'a b c'
    """
    return " ".join(text.split()) if any(mark in text for mark in "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029") else text


def write_metadata_header(stream: TextIO) -> None:
    stream.write("\t".join(COLUMNS) + "\n")


def write_metadata_row(stream: TextIO, id: str, url: str, start_s: float, end_s: float, label: str | None) -> None:
    """One line of metadata.tsv; times in seconds with three decimals."""
    stream.write(f"{tsv_cell(id)}\t{tsv_cell(url)}\t{start_s:.3f}\t{end_s:.3f}\t{tsv_cell(label or '')}\n")


def write_tensors(path: Path, vectors: Float32Array) -> None:
    """`vectors` [N, D] as tab-separated text; nine digits represent each float32 exactly."""
    line = "\t".join(["%.9g"] * vectors.shape[1]) + "\n"
    with path.open("w", encoding="ascii") as stream:
        for begin in range(0, len(vectors), _BLOCK_ROWS):
            stream.writelines(line % tuple(row) for row in vectors[begin : begin + _BLOCK_ROWS].tolist())


def write_config(path: Path) -> None:
    path.write_text(_CONFIG_TEXT, encoding="ascii")


def write_events(path: Path, scalars: Mapping[str, float], step: int) -> None:
    """Replace the events file at `path` by one with these values. Appending could leave half a record after a power
    cut, which would hide all later ones."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    with files.replacing(path) as aside:
        writer = RecordWriter(aside.open("wb"))
        for event in (
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=step, summary=Summary(value=values)),
        ):
            writer.write(event.SerializeToString())
        writer.close()

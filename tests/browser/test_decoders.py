"""Uploads and parts of sounds are decoded in worker processes, never in the process of the pages."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest
from browsing import LONG, item_number, picture_bytes, recording, sound_bytes

from boiler.audio import stream
from boiler.browser import decoders, results
from boiler.browser.background import JobCancelled
from boiler.browser.indexes import OpenIndex
from boiler.browser.upload_store import UploadStore, upload_store
from boiler.browser.url_state import SearchState
from boiler.errors import SoundError
from boiler.vision import image


@pytest.fixture
def no_decoding_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process fails."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded in the process of the pages")

    for name in ("probe", "load", "stream"):
        monkeypatch.setattr(stream, name, refuse)
    monkeypatch.setattr(image, "read_picture", refuse)


@pytest.mark.usefixtures("no_decoding_here")
def test_uploads_parts_and_explanations_are_decoded_in_workers(index: OpenIndex) -> None:
    state = SearchState(upload=upload_store().add("tone.wav", sound_bytes(523.0)))
    results.find_results(index, state)
    part = SearchState(item=item_number(index, LONG), start_s=1.0, end_s=9.0)
    seed = results.query_seed(index, part)
    assert seed is not None
    assert index.nearest.explain(seed, item_number(index, "bell/bell-0.wav"))


@pytest.mark.usefixtures("no_decoding_here")
def test_pictures_are_decoded_in_workers() -> None:
    assert UploadStore().add_picture("photo.webp", picture_bytes(format="WEBP"))


@pytest.mark.usefixtures("no_decoding_here")
def test_the_duration_of_a_recording_is_measured_in_a_worker_and_a_stop_kills_it(tmp_path: Path) -> None:
    path = tmp_path / "recording.webm"
    path.write_bytes(recording(3))
    assert decoders.probe_file(path, lambda share: None).duration_s == pytest.approx(3, abs=0.05)
    path.write_bytes(recording(3_600))
    started: list[decoders.Decoders] = []

    class Recorded(decoders.Decoders):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    def stop_once_it_runs(share: float) -> None:
        if started[0].pids:
            raise JobCancelled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "Decoders", Recorded)
        patch.setattr(decoders, "_idle", queue.SimpleQueue())
        with pytest.raises(JobCancelled):
            decoders.probe_file(path, stop_once_it_runs)
    assert started[0].pids == []


def test_an_error_names_the_upload_and_not_its_temporary_file() -> None:
    with pytest.raises(SoundError) as refused:
        UploadStore().add("letter.txt", b"Dear Sir or Madam")
    assert "boiler-uploads" not in str(refused.value)

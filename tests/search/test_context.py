"""All searches of one model directory share the current index, and find the files of its sounds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from boiler.audio import stream
from boiler.catalog.items import Item
from boiler.errors import DamagedIndexError, QueryError, SoundNotHereError
from boiler.search.context import SearchContext
from boiler.store import generation
from boiler.store.generation import Header, rows_of


def publish(model_dir: Path, *ids: str, wav_dir: Path | None = None) -> None:
    items = [Item(n, id) for n, id in enumerate(ids)]
    vectors = np.eye(max(len(ids), 2), dtype=np.float32)[: len(ids)]
    meta = {} if wav_dir is None else {"wav_dir": str(wav_dir)}
    generation.publish(
        model_dir, Header("none", vectors.shape[1]), vectors, rows_of(np.arange(len(ids))), items, meta=meta
    )


def opened(model_dir: Path, wav_dir: Path | None = None) -> SearchContext:
    return SearchContext(model_dir, wav_dir, "cpu", None, stream)


def test_a_newer_index_is_opened_and_a_running_search_keeps_its_index(tmp_path: Path) -> None:
    publish(tmp_path, "a.wav", "b.wav")
    context = opened(tmp_path)
    snapshot = context.snapshot
    assert not context.refresh()
    publish(tmp_path, "a.wav", "c.wav")
    assert context.refresh()
    assert context.snapshot.item(1).id == "c.wav"
    assert snapshot.item(1).id == "b.wav"


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink()
    file.write_bytes(data)


def test_a_damaged_newer_index_is_refused_and_the_next_whole_one_opened(tmp_path: Path) -> None:
    publish(tmp_path, "a.wav", "b.wav")
    context = opened(tmp_path)
    publish(tmp_path, "a.wav", "c.wav")
    damage((tmp_path / "current" / "rows.npy").resolve())
    with pytest.raises(DamagedIndexError, match=r"rows\.npy is damaged"):
        context.refresh()
    assert context.snapshot.item(1).id == "b.wav"
    publish(tmp_path, "a.wav", "d.wav")
    assert context.refresh()
    assert context.snapshot.item(1).id == "d.wav"


def test_a_damaged_index_gives_way_to_the_one_before_until_there_is_a_newer_one(tmp_path: Path) -> None:
    publish(tmp_path, "a.wav", "b.wav")
    publish(tmp_path, "a.wav", "c.wav")
    damage((tmp_path / "current" / "vectors.npy").resolve())
    context = opened(tmp_path)
    assert context.snapshot.item(1).id == "b.wav"
    assert not context.refresh()
    publish(tmp_path, "a.wav", "d.wav")
    assert context.refresh()
    assert context.snapshot.item(1).id == "d.wav"


def test_an_engine_chosen_by_name_is_checked_too(tmp_path: Path) -> None:
    publish(tmp_path, "a.wav", "b.wav")
    damage((tmp_path / "current" / "annoy").resolve())
    assert opened(tmp_path).snapshot.engine.name == "exact"
    with pytest.raises(DamagedIndexError, match="annoy is damaged"):
        SearchContext(tmp_path, None, "cpu", "annoy", stream)


def test_after_closing_there_is_no_index(tmp_path: Path) -> None:
    publish(tmp_path, "a.wav", "b.wav")
    context = opened(tmp_path)
    assert context.is_open
    context.close()
    assert not context.is_open
    with pytest.raises(QueryError, match="was closed"):
        _ = context.snapshot


def test_sounds_are_in_the_given_folder_or_in_the_indexed_one(tmp_path: Path) -> None:
    indexed, moved = tmp_path / "indexed", tmp_path / "moved"
    for folder in (indexed, moved):
        folder.mkdir()
        (folder / "a.wav").write_bytes(b"")
    publish(tmp_path / "model", "a.wav", "../model/boiler.json", wav_dir=indexed)
    context = opened(tmp_path / "model")
    assert context.sound_path(context.snapshot, 0) == indexed / "a.wav"
    other = opened(tmp_path / "model", moved)
    assert other.sound_path(other.snapshot, "a.wav") == moved / "a.wav"
    with pytest.raises(QueryError, match="not inside the folder"):
        other.sound_path(other.snapshot, 1)
    (moved / "a.wav").unlink()
    with pytest.raises(SoundNotHereError, match="no longer in"):
        other.sound_path(other.snapshot, 0)


def test_a_missing_folder_of_sounds_is_an_error_that_lists_the_ways_to_give_it(tmp_path: Path) -> None:
    publish(tmp_path / "model", "a.wav", "b.wav")
    context = opened(tmp_path / "model")
    with pytest.raises(SoundNotHereError, match="--wav_dir, BOILER_WAV_DIR or Nearest"):
        context.sound_path(context.snapshot, 0)
    gone = opened(tmp_path / "model", tmp_path / "gone")
    with pytest.raises(SoundNotHereError, match="gone"):
        gone.sound_path(gone.snapshot, 0)


@pytest.mark.parametrize("id", ["../secret.wav", "a/../../secret.wav", "{secret}", "a/..\\../secret.wav"])
def test_a_forged_path_does_not_lead_out_of_the_folder_of_the_sounds(tmp_path: Path, id: str) -> None:
    """`meta.sqlite` may come from somebody else: neither its ids nor its names on disk are trusted."""
    sounds, secret = tmp_path / "sounds", tmp_path / "secret.wav"
    (sounds / "a").mkdir(parents=True)
    secret.write_bytes(b"secret")
    forged = id.format(secret=secret)
    vectors = np.eye(2, dtype=np.float32)
    items = [Item(0, forged), Item(1, "b.wav", file=os.fsencode(forged))]
    generation.publish(
        tmp_path / "m", Header("none", 2), vectors, rows_of([0, 1]), items, meta={"wav_dir": str(sounds)}
    )
    context = opened(tmp_path / "m")
    for n in (0, 1):
        with pytest.raises(QueryError, match=r"not inside the folder|no longer in"):
            context.sound_path(context.snapshot, n)

"""Real files, decoded in real processes, become windows in the catalog; no torch: vectors are plain statistics."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import DEFAULT_WINDOWS
from boiler.catalog import diff, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.indexing import embed as embed_module
from boiler.indexing.embed import EmbedRun, EmbedTally
from boiler.progress import meter

DIM = 4


def statistics(samples: Float32Array) -> Float32Array:
    """[B, T] to [B, 4]: nothing of one sound gets into the vector of another."""
    edges = np.abs(np.diff(samples, axis=1)).mean(axis=1)
    level = np.sqrt((samples**2).mean(axis=1))
    return np.stack([np.ones(len(samples)), edges, level, samples.max(axis=1)], axis=1).astype(np.float32)


class Room:
    """A folder, its catalog, and the decoders."""

    def __init__(self, tmp_path: Path, decoders: Decoders) -> None:
        self.root = tmp_path / "sounds"
        self.root.mkdir()
        self.store = Catalog(tmp_path / CATALOG_FILE)
        self.decoders = decoders

    def look(self) -> None:
        unreadable = scan.Unreadable()
        found = scan.walk(self.root, {".wav"}, unreadable=unreadable)
        changes = diff.compare(self.store, found, unreadable, embed_module.file_hashes(self.root))
        diff.apply(self.store, changes, lambda id: None, "now", force=True)

    def hear(self, embed: embed_module.Embed = statistics, batch_size: int = 4) -> EmbedTally:
        with meter("hearing", None) as shown:
            return EmbedRun(self.store, self.root, embed, self.decoders, DEFAULT_WINDOWS, batch_size, shown).run()

    def vectors(self) -> dict[str, list[tuple[float, float, list[float]]]]:
        ids = {item.n: item.id for item in self.store.items(str)}
        found: dict[str, list[tuple[float, float, list[float]]]] = {id: [] for id in ids.values()}
        for n, start_s, end_s, vector in self.store.rows():
            found[ids[n]].append((start_s, end_s, np.frombuffer(vector, "<f4").tolist()))
        return found


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(workers=2) as decoders:
        yield decoders


@pytest.fixture
def room(tmp_path: Path, decoders: Decoders) -> Iterator[Room]:
    room = Room(tmp_path, decoders)
    yield room
    room.store.close()


def test_each_window_has_its_times_and_each_sound_its_windows(room: Room) -> None:
    write(room.root / "long.wav", tone(440, 20.0, 16_000), 16_000)
    write(room.root / "short.wav", tone(880, 1.0, 16_000), 16_000)
    room.look()
    tally = room.hear()
    assert (tally.embedded, tally.failed, tally.windows) == (2, 0, 5)
    heard = room.vectors()
    assert [(start, end) for start, end, _ in heard["short.wav"]] == [(0.0, 1.0)]
    starts = [start for start, _, _ in heard["long.wav"]]
    assert starts[:3] == pytest.approx([0.0, 4.096, 8.192])
    assert heard["long.wav"][-1][1] == pytest.approx(20.0)


def test_a_sound_gets_the_same_vector_alone_and_in_any_batch(room: Room, tmp_path: Path) -> None:
    for n in range(7):
        write(room.root / f"{n}.wav", tone(200 + 100 * n, 0.5 + n, 16_000), 16_000)
    room.look()
    room.hear(batch_size=3)
    together = room.vectors()
    other = Room(tmp_path / "alone" if (tmp_path / "alone").mkdir() is None else tmp_path, room.decoders)
    for n in range(7):
        shutil.copy(room.root / f"{n}.wav", other.root)
        other.look()
        other.hear(batch_size=32)
    assert other.vectors() == together
    other.store.close()


def test_broken_files_fail_with_a_reason_and_the_others_are_heard(room: Room) -> None:
    write(room.root / "good.wav", tone(440, 1.0, 16_000), 16_000)
    (room.root / "empty.wav").write_bytes(b"")
    (room.root / "text.wav").write_text("this is no sound, whatever its name says" * 10)
    room.look()
    tally = room.hear()
    assert (tally.embedded, tally.failed) == (1, 2)
    assert [failure.id for failure in room.store.failures()] == ["empty.wav", "text.wav"]
    assert all(failure.reason and failure.sha256 for failure in room.store.failures())
    again = room.hear()
    assert (again.embedded, again.failed) == (0, 0)  # not tried again until the bytes change
    write(room.root / "text.wav", tone(440, 2.0, 16_000), 16_000)
    room.look()
    assert room.hear().embedded == 1
    assert [failure.id for failure in room.store.failures()] == ["empty.wav"]


def test_silence_is_an_item_without_rows(room: Room) -> None:
    write(room.root / "silent.wav", np.zeros(16_000), 16_000)
    write(room.root / "good.wav", tone(440, 1.0, 16_000), 16_000)
    room.look()
    room.hear()
    assert [(item.id, item.silent) for item in room.store.items(str)] == [("good.wav", False), ("silent.wav", True)]
    assert room.vectors()["silent.wav"] == []


def test_the_same_bytes_are_decoded_once(room: Room) -> None:
    write(room.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    for name in ("b.wav", "c.wav"):
        shutil.copy(room.root / "a.wav", room.root / name)
    room.look()
    tally = room.hear()
    assert (tally.embedded, tally.reused, tally.windows) == (1, 2, 1)
    heard = room.vectors()
    assert heard["a.wav"] == heard["b.wav"] == heard["c.wav"] != []


def test_a_file_that_vanishes_between_scan_and_read_is_gone_not_broken(room: Room) -> None:
    for n in range(3):
        write(room.root / f"{n}.wav", tone(300 + n, 1.0 + n / 10, 16_000), 16_000)
    room.look()
    (room.root / "1.wav").unlink()
    tally = room.hear()
    assert (tally.embedded, tally.vanished, tally.failed) == (2, 1, 0)
    assert room.store.failures() == []
    assert room.store.n_files() == 2


def test_a_twin_takes_the_place_of_one_that_vanished(room: Room) -> None:
    write(room.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    shutil.copy(room.root / "a.wav", room.root / "b.wav")
    room.look()
    hashes = {pending.n for pending in room.store.queue}
    for n in hashes:  # as after a run that was killed between hashing and decoding
        room.store.queue.set_hash(n, "0" * 64)
    (room.root / "a.wav").unlink()
    room.hear()
    assert list(room.vectors()) == ["b.wav"]
    assert len(room.vectors()["b.wav"]) == 1


def test_a_file_that_changed_since_it_was_seen_is_left_to_the_next_run(room: Room) -> None:
    write(room.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    room.look()
    (room.root / "a.wav").write_bytes(b"half a file")
    assert room.hear().failed == 1
    (failure,) = room.store.failures()
    assert "changed while it was read" in failure.reason
    write(room.root / "a.wav", tone(440, 2.0, 16_000), 16_000)
    room.look()
    assert room.hear().embedded == 1
    assert room.store.failures() == []


def test_a_sound_that_changed_whole_since_it_was_seen_is_taken_as_it_is_and_seen_again(room: Room) -> None:
    write(room.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    room.look()
    os.utime(room.root / "a.wav", ns=(1, 1))
    write(room.root / "a.wav", tone(440, 2.0, 16_000), 16_000)
    room.hear()
    room.look()
    room.hear()
    (item,) = room.store.items(str)
    assert item.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_a_vector_that_cannot_be_compared_fails_its_file_alone(room: Room, bad: float) -> None:
    for n in range(4):
        write(room.root / f"{n}.wav", tone(300, 1.0 + n / 10, 16_000, level=0.1 * (n + 1)), 16_000)

    def embed(samples: Float32Array) -> Float32Array:
        vectors = statistics(samples)
        vectors[(samples.max(axis=1) > 0.25) & (samples.max(axis=1) < 0.35)] = bad
        return vectors

    room.look()
    tally = room.hear(embed)
    assert (tally.embedded, tally.failed) == (3, 1)
    assert [failure.id for failure in room.store.failures()] == ["2.wav"]


class Stopped(Exception):
    """Stands for the end of the process."""


def test_a_run_that_ends_anywhere_loses_at_most_a_batch_and_goes_on(room: Room) -> None:
    """Also within a long file: what was embedded of it is not embedded again."""
    write(room.root / "0.wav", tone(440, 100.0, 8_000), 8_000)  # 24 windows
    for n in range(1, 6):
        write(room.root / f"{n}.wav", tone(200 + n, 1.0 + n / 10, 8_000), 8_000)
    room.look()
    embedded: list[int] = []
    allowed = 0

    def embed(samples: Float32Array) -> Float32Array:
        if sum(embedded) >= allowed:
            raise Stopped
        embedded.append(len(samples))
        return statistics(samples)

    for allowed in range(3, 30, 3):  # noqa: B007  # embed() reads it
        with pytest.raises(Stopped):
            room.hear(embed, batch_size=3)
    allowed = 1000
    room.hear(embed, batch_size=3)
    assert sum(embedded) == 24 + 5  # none twice
    assert len(room.vectors()["0.wav"]) == 24
    fresh = room.vectors()
    room.store.queue.clear()
    room.hear(batch_size=3)
    assert room.vectors() == fresh

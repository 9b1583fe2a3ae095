"""Files are decoded in worker processes and embedded into the catalog; vectors are plain statistics, without torch."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import DEFAULT_WINDOWS, Window
from boiler.catalog import diff, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.folder import LocalFolder
from boiler.indexing import embed as embed_module
from boiler.indexing.embed import EmbedRun, EmbedTally
from boiler.progress import meter

DIM = 4


def statistics(samples: Float32Array) -> Float32Array:
    """An embedding in which rows do not depend on each other. Shape: [B, T] to [B, 4]"""
    edges = np.abs(np.diff(samples, axis=1)).mean(axis=1)
    level = np.sqrt((samples**2).mean(axis=1))
    return np.stack([np.ones(len(samples)), edges, level, samples.max(axis=1)], axis=1).astype(np.float32)


class Collection:
    """A folder of sounds, its catalog, and the decoders."""

    def __init__(self, tmp_path: Path, decoders: Decoders) -> None:
        self.root = tmp_path / "sounds"
        self.root.mkdir()
        self.store = Catalog(tmp_path / CATALOG_FILE)
        self.decoders = decoders

    def scan(self) -> None:
        unreadable = scan.Unreadable()
        found = scan.walk(self.root, {".wav"}, unreadable=unreadable)
        changes = diff.compare(
            self.store, found, unreadable, embed_module.file_hashes(LocalFolder(self.root), self.root)
        )
        diff.apply(self.store, changes, lambda id: None, "now", force=True)

    def embed(self, embed: embed_module.Embed = statistics, batch_size: int = 4) -> EmbedTally:
        with meter("embedding", None) as shown:
            return EmbedRun(
                self.store, LocalFolder(self.root), embed, self.decoders, DEFAULT_WINDOWS, batch_size, shown
            ).run()

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
def collection(tmp_path: Path, decoders: Decoders) -> Iterator[Collection]:
    collection = Collection(tmp_path, decoders)
    yield collection
    collection.store.close()


def test_each_window_has_its_times_and_each_sound_its_windows(collection: Collection) -> None:
    write(collection.root / "long.wav", tone(440, 20.0, 16_000), 16_000)
    write(collection.root / "short.wav", tone(880, 1.0, 16_000), 16_000)
    collection.scan()
    tally = collection.embed()
    assert (tally.embedded, tally.failed, tally.windows) == (2, 0, 5)
    vectors = collection.vectors()
    assert [(start, end) for start, end, _ in vectors["short.wav"]] == [(0.0, 1.0)]
    starts = [start for start, _, _ in vectors["long.wav"]]
    assert starts[:3] == pytest.approx([0.0, 4.096, 8.192])
    assert vectors["long.wav"][-1][1] == pytest.approx(20.0)


def test_a_vector_does_not_depend_on_the_batch(collection: Collection, tmp_path: Path) -> None:
    for n in range(7):
        write(collection.root / f"{n}.wav", tone(200 + 100 * n, 0.5 + n, 16_000), 16_000)
    collection.scan()
    collection.embed(batch_size=3)
    together = collection.vectors()
    other = Collection(tmp_path / "alone" if (tmp_path / "alone").mkdir() is None else tmp_path, collection.decoders)
    for n in range(7):
        shutil.copy(collection.root / f"{n}.wav", other.root)
        other.scan()
        other.embed(batch_size=32)
    assert other.vectors() == together
    other.store.close()


def test_the_next_batch_is_gathered_while_one_is_embedded(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        write(collection.root / f"{n}.wav", tone(200 + 100 * n, 1.0, 16_000), 16_000)
    collection.scan()
    gathered, take = threading.Semaphore(0), EmbedRun._take
    to_wait_for = [2, 0]  # files that are gathered before each of the two batches is embedded

    def counted_take(run: EmbedRun, n: int, windows: list[Window]) -> None:
        take(run, n, windows)
        gathered.release()

    def embed(samples: Float32Array) -> Float32Array:
        for _ in range(to_wait_for.pop(0)):
            assert gathered.acquire(timeout=10)
        return statistics(samples)

    monkeypatch.setattr(EmbedRun, "_take", counted_take)
    assert collection.embed(embed, batch_size=1).windows == 2
    assert len(collection.vectors()) == 2


def test_broken_files_fail_with_a_reason_and_the_others_are_embedded(collection: Collection) -> None:
    write(collection.root / "good.wav", tone(440, 1.0, 16_000), 16_000)
    (collection.root / "empty.wav").write_bytes(b"")
    (collection.root / "text.wav").write_text("this is no sound, whatever its name says" * 10)
    collection.scan()
    tally = collection.embed()
    assert (tally.embedded, tally.failed) == (1, 2)
    assert [failure.id for failure in collection.store.failures()] == ["empty.wav", "text.wav"]
    assert all(failure.reason and failure.sha256 for failure in collection.store.failures())
    again = collection.embed()
    assert (again.embedded, again.failed) == (0, 0)  # not tried again until the bytes change
    write(collection.root / "text.wav", tone(440, 2.0, 16_000), 16_000)
    collection.scan()
    assert collection.embed().embedded == 1
    assert [failure.id for failure in collection.store.failures()] == ["empty.wav"]


def test_silence_is_an_item_without_rows(collection: Collection) -> None:
    write(collection.root / "silent.wav", np.zeros(16_000), 16_000)
    write(collection.root / "good.wav", tone(440, 1.0, 16_000), 16_000)
    collection.scan()
    collection.embed()
    assert [(item.id, item.silent) for item in collection.store.items(str)] == [
        ("good.wav", False),
        ("silent.wav", True),
    ]
    assert collection.vectors()["silent.wav"] == []


def test_duplicate_files_are_decoded_once(collection: Collection) -> None:
    write(collection.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    for name in ("b.wav", "c.wav"):
        shutil.copy(collection.root / "a.wav", collection.root / name)
    collection.scan()
    tally = collection.embed()
    assert (tally.embedded, tally.reused, tally.windows) == (1, 2, 1)
    vectors = collection.vectors()
    assert vectors["a.wav"] == vectors["b.wav"] == vectors["c.wav"] != []


def test_a_file_deleted_after_the_scan_is_dropped_and_not_a_failure(collection: Collection) -> None:
    for n in range(3):
        write(collection.root / f"{n}.wav", tone(300 + n, 1.0 + n / 10, 16_000), 16_000)
    collection.scan()
    (collection.root / "1.wav").unlink()
    tally = collection.embed()
    assert (tally.embedded, tally.vanished, tally.failed) == (2, 1, 0)
    assert collection.store.failures() == []
    assert collection.store.n_files() == 2


def test_a_duplicate_is_decoded_if_the_first_file_was_deleted(collection: Collection) -> None:
    write(collection.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    shutil.copy(collection.root / "a.wav", collection.root / "b.wav")
    collection.scan()
    hashes = {pending.n for pending in collection.store.queue}
    for n in hashes:  # as after a run that was killed between hashing and decoding
        collection.store.queue.set_hash(n, "0" * 64)
    (collection.root / "a.wav").unlink()
    collection.embed()
    assert list(collection.vectors()) == ["b.wav"]
    assert len(collection.vectors()["b.wav"]) == 1


def test_a_file_that_changed_after_the_scan_is_left_to_the_next_run(collection: Collection) -> None:
    write(collection.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    collection.scan()
    (collection.root / "a.wav").write_bytes(b"half a file")
    assert collection.embed().failed == 1
    (failure,) = collection.store.failures()
    assert "changed while it was read" in failure.reason
    write(collection.root / "a.wav", tone(440, 2.0, 16_000), 16_000)
    collection.scan()
    assert collection.embed().embedded == 1
    assert collection.store.failures() == []


def test_a_file_replaced_after_the_scan_is_embedded_and_scanned_again(collection: Collection) -> None:
    write(collection.root / "a.wav", tone(440, 1.0, 16_000), 16_000)
    collection.scan()
    os.utime(collection.root / "a.wav", ns=(1, 1))
    write(collection.root / "a.wav", tone(440, 2.0, 16_000), 16_000)
    collection.embed()
    collection.scan()
    collection.embed()
    (item,) = collection.store.items(str)
    assert item.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_an_invalid_vector_fails_only_its_file(collection: Collection, bad: float) -> None:
    for n in range(4):
        write(collection.root / f"{n}.wav", tone(300, 1.0 + n / 10, 16_000, level=0.1 * (n + 1)), 16_000)

    def embed(samples: Float32Array) -> Float32Array:
        vectors = statistics(samples)
        vectors[(samples.max(axis=1) > 0.25) & (samples.max(axis=1) < 0.35)] = bad
        return vectors

    collection.scan()
    tally = collection.embed(embed)
    assert (tally.embedded, tally.failed) == (3, 1)
    assert [failure.id for failure in collection.store.failures()] == ["2.wav"]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_file_with_several_invalid_vectors_fails_once(collection: Collection, batch_size: int) -> None:
    """Also if its first window is embedded before its last one is decoded."""
    write(collection.root / "long.wav", tone(300, 100.0, 16_000, level=0.2), 16_000)
    write(collection.root / "short.wav", tone(300, 1.0, 16_000, level=0.8), 16_000)

    def embed(samples: Float32Array) -> Float32Array:
        return statistics(samples) * (samples.max(axis=1) > 0.5)[:, None]

    collection.scan()
    tally = collection.embed(embed, batch_size)
    assert (tally.embedded, tally.failed) == (1, 1)
    assert len(collection.vectors()["short.wav"]) == 1
    (failure,) = collection.store.failures()
    assert (failure.id, failure.reason) == ("long.wav", "the encoder returned a vector that is zero or not finite")


def test_the_bottleneck_is_the_slower_of_two_stages_if_anything_was_embedded() -> None:
    assert EmbedTally(decode_wait_s=1.0).bottleneck == ""
    assert EmbedTally(windows=1, decode_wait_s=2.0, embed_s=1.0).bottleneck == "decoding"
    assert EmbedTally(windows=1, decode_wait_s=1.0, embed_s=2.0).bottleneck == "embedding"


class Stopped(Exception):
    """Simulates the end of the process."""


@pytest.mark.slow
def test_an_interrupted_run_loses_at_most_a_batch_and_is_resumed(collection: Collection) -> None:
    """Also within a long file: windows that were embedded are not embedded again."""
    write(collection.root / "0.wav", tone(440, 100.0, 8_000), 8_000)  # 24 windows
    for n in range(1, 6):
        write(collection.root / f"{n}.wav", tone(200 + n, 1.0 + n / 10, 8_000), 8_000)
    collection.scan()
    embedded: list[int] = []
    allowed = 0

    def embed(samples: Float32Array) -> Float32Array:
        if sum(embedded) >= allowed:
            raise Stopped
        embedded.append(len(samples))
        return statistics(samples)

    for allowed in range(3, 30, 3):  # noqa: B007  # embed() reads it
        with pytest.raises(Stopped):
            collection.embed(embed, batch_size=3)
    allowed = 1000
    collection.embed(embed, batch_size=3)
    assert sum(embedded) == 24 + 5  # none twice
    assert len(collection.vectors()["0.wav"]) == 24
    fresh = collection.vectors()
    collection.store.queue.clear()
    collection.embed(batch_size=3)
    assert collection.vectors() == fresh

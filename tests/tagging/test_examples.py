"""Reading labelled examples: every one once, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from boiler.errors import CorpusError
from boiler.tagging import examples
from boiler.tagging.examples import (
    ArrayExamples,
    DamageLog,
    HashPart,
    TFRecordExamples,
    find_files,
    read_ahead,
    read_batches,
)
from boiler.tagging.tfrecord import Damage, FeatureSpec, encode_example, write_records

SPECS = (FeatureSpec("x", 2),)


def encoded(number: int) -> bytes:
    labels = np.arange(number % 3)  # none, one or two
    return encode_example({"id": [b"%d" % number], "labels": labels, "x": np.array([number, -number], np.float32)})


@pytest.fixture
def source(tmp_path: Path) -> TFRecordExamples:
    """100 examples in 12 files."""
    for at in range(12):
        write_records(tmp_path / f"{at:02}.tfrecord", map(encoded, range(at, 100, 12)))
    return TFRecordExamples(find_files([str(tmp_path / "*.tfrecord")]), SPECS, 3, pytest.fail)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_an_epoch_has_every_example_once_with_its_labels(
    source: TFRecordExamples, seed: int | None, batch_size: int
) -> None:
    ids = []
    for batch in read_batches(source, batch_size, seed=seed):
        ids += batch.ids
        numbers = np.array([int(id) for id in batch.ids])
        assert batch.features.tolist() == np.stack([numbers, -numbers], axis=1).tolist()
        for row, number in enumerate(numbers):
            assert batch.classes[batch.rows == row].tolist() == list(range(number % 3))
    assert sorted(map(int, ids)) == list(range(100))


def test_the_order_depends_on_seed_and_epoch_alone(source: TFRecordExamples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SHUFFLE_BLOCK", 30)

    def order(seed: int, epoch: int) -> list[str]:
        return [id for batch in read_batches(source, 10, seed=seed, epoch=epoch) for id in batch.ids]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*which)) for which in ((1, 0), (1, 1), (2, 0))}) == 3


def test_arrays_and_files_give_the_same(source: TFRecordExamples) -> None:
    found = list(source.examples())
    arrays = ArrayExamples(
        [one.id for one in found], np.stack([one.features for one in found]), [one.labels for one in found], 3
    )
    for ours, theirs in zip(read_batches(source, 16), read_batches(arrays, 16), strict=True):
        assert ours.ids == theirs.ids
        assert all(np.array_equal(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True))
    assert arrays.at(np.array([3, 1])).ids == [found[3].id, found[1].id]


def test_parts_by_hash_are_disjoint_and_complete(source: TFRecordExamples) -> None:
    parts = [HashPart(source, low, high) for low, high in ((0, 0.5), (0.5, 0.75), (0.75, 1))]
    ids = [[one.id for one in part.examples()] for part in parts]
    assert sorted(id for part in ids for id in part) == sorted(one.id for one in source.examples())
    assert [bool(part) for part in ids] == [True] * 3
    assert ids[0] != [one.id for one in HashPart(source, 0, 0.5, seed=1).examples()]


def test_damaged_records_are_named_once(tmp_path: Path) -> None:
    wrong = encode_example({"id": [b"w"], "x": np.array([1.0])})
    write_records(tmp_path / "a.tfrecord", [encoded(1), wrong, b"nonsense", encoded(2)])
    named: list[Damage] = []
    log = DamageLog(named.append)
    source = TFRecordExamples([tmp_path / "a.tfrecord"], SPECS, 3, log)
    for epoch in range(3):
        assert {one.id for one in source.examples(np.random.default_rng(epoch))} == {"1", "2"}
    assert [damage.number for damage in named] == [1, 2]
    assert "x has 1 numbers, not 2" in str(named[0])
    assert len(log) == 2


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no file matches"):
        find_files([str(tmp_path / "*.tfrecord")])


def test_a_file_that_is_gone_is_an_error_of_boiler(tmp_path: Path) -> None:
    source = TFRecordExamples([tmp_path / "a.tfrecord"], SPECS, 3, pytest.fail)
    with pytest.raises(CorpusError, match="cannot be read"):
        list(source.examples())


def test_reading_ahead_keeps_the_order_and_ends_its_thread(source: TFRecordExamples) -> None:
    before = threading.active_count()
    assert [one.ids for one in read_ahead(read_batches(source, 7))] == [one.ids for one in read_batches(source, 7)]
    stopped = read_ahead(read_batches(source, 1))
    next(stopped)
    stopped.close()
    assert threading.active_count() == before


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    def failing() -> Iterator[examples.ExampleBatch]:
        raise CorpusError("gone")
        yield

    with pytest.raises(CorpusError, match="gone"):
        list(read_ahead(failing()))

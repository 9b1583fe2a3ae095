"""Planted sounds are located in the recordings of an index; the result states how much was read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sounds import write

from boiler import engine
from boiler.arrays import Float32Array
from boiler.audio import stream, synthesis
from boiler.audio.stream import SAMPLE_RATE_HZ, Samples
from boiler.catalog.items import Item
from boiler.errors import QueryError, UnknownItemError
from boiler.search import locate
from boiler.search.locate import Occurrence
from boiler.search.nearest import ByItem, BySamples, BySound, Nearest
from boiler.store import generation
from boiler.store.generation import Header
from boiler.store.header import ROW

KINDS = list(synthesis.KINDS)
DIM = 4


def made(kind: int, number: int) -> Samples:
    sound = synthesis.synthesize(KINDS[kind % len(KINDS)], np.random.default_rng((77, kind, number)))
    return np.asarray(sound / sound.std(), np.float32)


def mix(seconds: float, seed: int) -> Samples:
    """Two layers of synthesized sounds in sequence at random levels, scaled to an RMS of 1."""
    random = np.random.default_rng(seed)
    pool = [made(kind, 1_000 * (1 + seed) + number) for kind in range(len(KINDS)) for number in range(2)]
    out = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)
    for _ in range(2):
        at = 0
        while at < len(out):
            sound = pool[random.integers(len(pool))][: len(out) - at]
            out[at : at + len(sound)] += sound * 10 ** (random.uniform(-6, 6) / 20)
            at += len(sound)
    return out / np.float32(out.std())


def plant(recording: Samples, sound: Samples, at_s: float, level_db: float) -> None:
    first = round(at_s * SAMPLE_RATE_HZ)
    recording[first : first + len(sound)] += sound * np.float32(10 ** (level_db / 20))


def published(folder: Path, recordings: dict[str, Samples]) -> Nearest:
    """Index the recordings with consecutive windows of four seconds and random vectors."""
    (folder / "sounds").mkdir()
    rows, items = [], []
    for n, (name, samples) in enumerate(recordings.items()):
        write(folder / "sounds" / name, samples * 0.05, SAMPLE_RATE_HZ)
        duration_s = len(samples) / SAMPLE_RATE_HZ
        items.append(Item(n, name, label=name[0], duration_s=duration_s))
        rows += [(n, float(at), min(float(at) + 4, duration_s)) for at in range(0, int(duration_s), 4)]
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(len(rows), DIM)))
    generation.publish(folder / "model", Header(encoder="none", dim=DIM), vectors, np.array(rows, ROW), items)
    return Nearest(folder / "model", wav_dir=folder / "sounds")


TARGET = made(KINDS.index("rain"), 1)[: 2 * SAMPLE_RATE_HZ]


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """Rain is in `a` at 12.5 and 40 s (6 dB below the rest), in `b` at 3 s, alone in `target`, and not in `c`."""
    recordings = {f"{name}.wav": mix(60, seed) for seed, name in enumerate("abc")}
    plant(recordings["a.wav"], TARGET, 12.5, 3)
    plant(recordings["a.wav"], TARGET, 40.0, -6)
    plant(recordings["b.wav"], TARGET, 3.0, 0)
    recordings["target.wav"] = TARGET
    recordings["short.wav"] = mix(1, 5)
    return published(tmp_path_factory.mktemp("places"), recordings)


OCCURRENCES = {("a.wav", 12.5), ("a.wav", 40.0), ("b.wav", 3.0)}


def occurrences_of(found: Sequence[Occurrence]) -> set[tuple[str, float]]:
    return {(one.id, round(one.start_s, 3)) for one in found}


def test_occurrences_are_sorted_by_score_with_their_times(nearest: Nearest) -> None:
    found = nearest.locate(BySamples(TARGET, SAMPLE_RATE_HZ), within=["a.wav", "b.wav", "c.wav"])
    assert occurrences_of(found) == OCCURRENCES
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert [round(one.end_s - one.start_s, 3) for one in found] == [2.0] * 3
    assert {(one.id, one.n, one.label) for one in found} == {("a.wav", 0, "a"), ("b.wav", 1, "b")}
    gain_db = {round(one.start_s, 3): one.gain_db for one in found}
    assert gain_db[40.0] - gain_db[12.5] == pytest.approx(-9, abs=1.5)
    assert nearest.locate(BySamples(TARGET, SAMPLE_RATE_HZ), 1, within=["a.wav", "b.wav"]) == found[:1]


@pytest.mark.slow
def test_path_bytes_file_and_item_give_the_same_occurrences(nearest: Nearest) -> None:
    path = nearest.path("target.wav")
    for sound in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), BySound(path)):
        found = nearest.locate(sound)
        assert (found[0].id, found[0].start_s) == ("target.wav", 0.0)
        assert occurrences_of(found[1:]) == OCCURRENCES
    for item in (ByItem("target.wav"), 3):  # excluded from its own results
        assert occurrences_of(nearest.locate(item)) == OCCURRENCES


def test_an_item_can_be_located_in_itself(nearest: Nearest) -> None:
    part = ByItem("a.wav", 12.5, 14.5)
    found = nearest.locate(part, within=["a.wav"])
    assert [round(one.start_s, 3) for one in found] == [12.5, 40.0]  # the part itself has the best score
    assert found[0].score == pytest.approx(1, abs=0.02)


def test_only_the_given_part_is_located(nearest: Nearest) -> None:
    found = nearest.locate(BySound(nearest.path("target.wav"), 0.5, 1.5), within=["b.wav"])
    assert [(one.id, round(one.start_s, 3)) for one in found] == [("b.wav", 3.5)]


def near(snapshot_row: int, nearest: Nearest) -> Float32Array:
    return nearest._context.snapshot.vectors[[snapshot_row]]


def test_with_a_limit_the_nearest_windows_are_read(nearest: Nearest) -> None:
    snapshot = nearest._context.snapshot
    row_of_b = int(np.searchsorted(snapshot.numbers, 1))  # its first four seconds, which contain the rain
    located = locate.locate_samples(
        snapshot, TARGET, lambda: near(row_of_b, nearest), nearest.path, 5, without=[3], max_read_s=8.0
    )
    assert [(one.id, round(one.start_s, 3)) for one in located.occurrences] == [("b.wav", 3.0)]
    assert 0 < located.read_s <= 8
    assert located.total_s == pytest.approx(180, abs=0.1)
    assert not located.complete
    whole = locate.locate_samples(
        snapshot, TARGET, lambda: near(row_of_b, nearest), nearest.path, 5, without=[3], max_read_s=None
    )
    assert whole.complete
    assert whole.read_s == located.total_s


def test_times_are_correct_in_parts_that_begin_in_the_middle(nearest: Nearest) -> None:
    snapshot = nearest._context.snapshot
    row = 40 // 4  # in the first recording, at the quiet rain
    located = locate.locate_samples(snapshot, TARGET, lambda: near(row, nearest), nearest.path, 5, max_read_s=8.0)
    assert ("a.wav", 40.0) in [(one.id, round(one.start_s, 3)) for one in located.occurrences]


def test_unreadable_recordings_are_listed(nearest: Nearest, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "target.wav"):
        (tmp_path / name).write_bytes(nearest.path(name).read_bytes())
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with Nearest(nearest.model_dir, wav_dir=tmp_path) as partly:
        located = partly.locate_result(ByItem("target.wav"))
        assert {one.id for one in located.occurrences} == {"a.wav"}
        assert [id for id, _ in located.unread] == ["b.wav", "c.wav"]
        assert not located.complete
        with pytest.raises(QueryError, match="none of the recordings can be read"):
            partly.locate(ByItem("target.wav"), within=["b.wav"])


def test_invalid_queries_are_refused(nearest: Nearest) -> None:
    with pytest.raises(QueryError, match="silent"):
        nearest.locate(BySamples(np.zeros(20_000, np.float32), SAMPLE_RATE_HZ))
    with pytest.raises(QueryError, match="start_s, end_s"):
        nearest.locate(ByItem("short.wav", 0.0, 0.02))
    with pytest.raises(UnknownItemError):
        nearest.locate(ByItem("short.wav"), within=["d.wav"])
    with pytest.raises(QueryError, match="k is"):
        nearest.locate(ByItem("short.wav"), 0)


def test_a_sound_longer_than_all_recordings_is_not_found(nearest: Nearest) -> None:
    located = nearest.locate_result(BySamples(mix(20, 9), SAMPLE_RATE_HZ), within=["short.wav"])
    assert located.occurrences == ()
    assert located.total_s == 0


@pytest.mark.slow
def test_planted_sounds_are_found_in_an_hour(tmp_path: Path) -> None:
    """At the level of the mix nine of ten, 6 dB below it six of ten, at the right time within half a second."""
    recording = mix(3_600, seed=11)
    random = np.random.default_rng(12)
    truth = {}
    for turn in range(12):
        sound = made(turn, 1)[: 6 * SAMPLE_RATE_HZ]
        level_db = 0 if turn % 2 else -6
        truth[turn] = (level_db, 300.0 * turn + float(random.uniform(0, 280)))
        plant(recording, sound, truth[turn][1], level_db)
    hits: dict[int, list[bool]] = {0: [], -6: []}
    errors_s = []
    with published(tmp_path, {"hour.wav": recording}) as nearest:
        for turn, (level_db, at_s) in truth.items():
            found = nearest.locate(BySamples(made(turn, 1)[: 6 * stream.SAMPLE_RATE_HZ], SAMPLE_RATE_HZ), 1)
            errors_s.append(abs(found[0].start_s - at_s) if found else np.inf)
            hits[level_db].append(errors_s[-1] < 0.5)
    assert np.mean(hits[0]) >= 0.9
    assert np.mean(hits[-6]) >= 0.6
    assert np.median(errors_s) < 0.5


def test_a_stopped_search_returns_what_was_found_so_far(nearest: Nearest) -> None:
    asked = 0

    def after_half_a_minute() -> bool:
        nonlocal asked
        asked += 1
        return asked > 15

    sought = BySamples(TARGET, SAMPLE_RATE_HZ)
    located = nearest.locate_result(sought, within=["a.wav", "b.wav"], stop=after_half_a_minute)
    assert occurrences_of(list(located.occurrences)) == {("a.wav", 12.5)}
    assert 15 < located.read_s < 39
    assert asked == 16
    assert not located.complete
    assert nearest.locate_result(sought, within=["a.wav"], stop=lambda: True).read_s == 0


def test_deprecated_names_still_work(nearest: Nearest) -> None:
    with pytest.deprecated_call(match="Nearest.locate_result"):
        located = nearest.located(ByItem("target.wav"), 3)
    with pytest.deprecated_call(match=r"locate\(max_read_s=...\)"):
        assert nearest.locate(ByItem("target.wav"), 3, most_s=None) == list(located.occurrences)  # type: ignore[call-arg]
    with pytest.deprecated_call(match="LocateResult.occurrences"):
        assert located.found == located.occurrences
    with pytest.deprecated_call(match="LocateResult.total_s"):
        assert located.of_s == located.total_s


def test_progress_is_reported_from_0_to_1_and_can_stop_it(nearest: Nearest) -> None:
    shares: list[float] = []
    nearest.locate_result(ByItem("target.wav"), 3, on_progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == pytest.approx(1, abs=0.01)

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest.locate_result(ByItem("target.wav"), 3, on_progress=interrupt)

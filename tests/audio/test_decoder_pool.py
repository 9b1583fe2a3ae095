"""`Decoders` give the same windows as decoding in this process; a worker that dies loses only one sound."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, wav_bytes, write

from boiler.audio import decoder_pool
from boiler.audio import stream as stream_module
from boiler.audio.decoder_pool import DecodedSound, DecodedWindows, DecodeEvent, DecodeFailure, Decoders
from boiler.audio.stream import SAMPLE_RATE_HZ, Limits
from boiler.audio.windows import DEFAULT_WINDOWS, Window, WindowSpec, cut_windows
from boiler.errors import ExhaustedError, NotASoundError, SoundError, SoundLimitError


@pytest.fixture(scope="module")
def two() -> Iterator[Decoders]:
    with Decoders(2) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short sounds, a long one, a silent one, one with leading silence, and a file that is no sound."""
    made = tmp_path_factory.mktemp("sounds")
    for n in range(20):
        write(made / f"a{n:02}.wav", tone(200 + 10 * n, 0.1 + 0.2 * n, 8_000), 8_000)
    write(made / "b-long.flac", tone(300, 200.0, 8_000), 8_000, "flac")
    write(made / "c-silent.wav", np.zeros(8_000 * 20), 8_000)
    write(made / "d-late.wav", np.concatenate([np.zeros(8_000 * 20), tone(300, 10.0, 8_000)]), 8_000)
    (made / "e-notes.mp3").write_text("no sound at all")
    write(made / "f-last.wav", tone(300, 1.0, 8_000), 8_000)
    return made


FIRST = WindowSpec(which="first")


def decode_here(path: Path, spec: WindowSpec = DEFAULT_WINDOWS) -> list[Window]:
    samples = stream_module.load(path, sample_rate_hz=spec.sample_rate_hz)
    return [w for w in cut_windows([samples], spec) if not w.silent]


def same_windows(a: list[Window], b: list[Window]) -> bool:
    return len(a) == len(b) and all(
        (x.start_s, x.end_s) == (y.start_s, y.end_s) and np.array_equal(x.samples, y.samples)
        for x, y in zip(a, b, strict=True)
    )


def by_key(events: list[DecodeEvent[str]]) -> dict[str, list[DecodeEvent[str]]]:
    """The events of each key. Asserts that each key has windows and then exactly one end or failure."""
    found: dict[str, list[DecodeEvent[str]]] = {}
    for event in events:
        found.setdefault(event.key, []).append(event)
    for all_of_it in found.values():
        assert all(isinstance(event, DecodedWindows) for event in all_of_it[:-1])
        assert isinstance(all_of_it[-1], DecodedSound | DecodeFailure)
    return found


def cut(events: list[DecodeEvent[str]]) -> list[Window]:
    return [window for event in events if isinstance(event, DecodedWindows) for window in event.windows]


def jobs(folder: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(folder.iterdir())]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ordered"), [(1, False), (3, False), (3, True)])
def test_windows_are_the_same_as_in_this_process(folder: Path, workers: int, ordered: bool) -> None:
    with Decoders(workers) as made:
        events = list(made.windows(jobs(folder), ordered=ordered))
    found = by_key(events)
    assert set(found) == {path.name for path in folder.iterdir()}
    for name, of_it in found.items():
        end = of_it[-1]
        if name == "e-notes.mp3":
            assert isinstance(end, DecodeFailure)
            assert isinstance(end.error, NotASoundError)
            assert end.error.path == str(folder / name)
            continue
        assert isinstance(end, DecodedSound)
        assert same_windows(cut(of_it), decode_here(folder / name))
        assert end.probe == stream_module.probe(folder / name)
        assert end.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert end.size_bytes == (folder / name).stat().st_size
        assert end.silent == (name == "c-silent.wav")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_ordered_events_are_not_interleaved(folder: Path, two: Decoders, seed: int) -> None:
    given = [job for job in jobs(folder) for _ in range(3)]
    np.random.default_rng(seed).shuffle(given)  # type: ignore[arg-type]
    numbered = [(n, path) for n, (_, path) in enumerate(given)]
    seen = [(event.key, isinstance(event, DecodedWindows)) for event in two.windows(numbered, ordered=True)]
    assert seen == sorted(seen, key=lambda event: event[0])
    assert [key for key, piece in seen if not piece] == list(range(len(given)))


def test_only_the_first_window_of_each_sound(folder: Path, two: Decoders) -> None:
    found = by_key(list(two.windows(jobs(folder), FIRST)))
    for name, of_it in found.items():
        if name not in ("e-notes.mp3", "c-silent.wav", "d-late.wav"):
            assert same_windows(cut(of_it), decode_here(folder / name, FIRST))
            assert isinstance(end := of_it[-1], DecodedSound)
            assert end.probe.duration_s == pytest.approx(stream_module.probe(folder / name).duration_s)
    assert [w.end_s for w in cut(found["b-long.flac"])] == [DEFAULT_WINDOWS.window_s]
    assert isinstance(late := found["d-late.wav"][-1], DecodedSound)
    assert late.silent


def test_another_hop(folder: Path, two: Decoders) -> None:
    path = folder / "b-long.flac"
    apart, close = WindowSpec(hop_s=8.192), WindowSpec(hop_s=0.5)
    events = list(two.windows([("x", path)], apart))
    assert same_windows(cut(events), decode_here(path, apart))
    many = list(two.windows([("x", folder / "f-last.wav"), ("y", path)], close))
    assert same_windows([w for w in cut(many) if w.end_s > 2], decode_here(path, close))
    assert max(len(event.windows) for event in many if isinstance(event, DecodedWindows)) == decoder_pool.MAX_WINDOWS


@pytest.mark.parametrize("spec", [WindowSpec(48_000, 48_000, 0.5), WindowSpec(16_000, 163_840, 5.12)])
def test_windows_of_another_rate_or_length(folder: Path, two: Decoders, spec: WindowSpec) -> None:
    path = folder / "b-long.flac"
    assert same_windows(cut(list(two.windows([("x", path)], spec))), decode_here(path, spec))


def test_no_jobs_give_no_events(two: Decoders) -> None:
    assert list(two.windows([])) == []
    with pytest.raises(ValueError, match="at least one worker"):
        Decoders(0)


def test_real_recordings(test_data: Path, two: Decoders) -> None:
    paths = sorted(test_data.glob("esc10/*/*.ogg"))[::25] + sorted(test_data.glob("fsdd/*.wav"))[::200]
    found = by_key(list(two.windows((str(path), path) for path in paths)))
    assert all(same_windows(cut(found[str(path)]), decode_here(path)) for path in paths)


# What dies


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ordered"), [(1, False), (2, True)])
def test_a_sound_that_kills_its_worker_loses_only_itself(
    tmp_path: Path, hostile: None, workers: int, ordered: bool
) -> None:
    bad = {"crash-1": "SIGSEGV", "crash-2": "SIGSEGV", "killed": "killed", "exit": "code 7", "hungry": "memory"}
    for n in range(25):
        write(tmp_path / f"good-{n}.wav", tone(300 + n, 0.3, 8_000), 8_000)
    for name in bad:
        (tmp_path / name).write_bytes(wav_bytes(bytes(1_000)))
    given = sorted(jobs(tmp_path), key=lambda job: hashlib.sha256(job[0].encode()).hexdigest())
    with Decoders(workers, timeout_s=60) as made:
        events = list(made.windows(given, ordered=ordered))
    found = by_key(events)
    assert len(found) == 30
    for name, of_it in found.items():
        end = of_it[-1]
        if name in bad:
            assert isinstance(end, DecodeFailure)
            assert bad[name] in end.error.reason
            assert isinstance(end.error, ExhaustedError) == (name in ("killed", "hungry"))
            assert end.error.path == str(tmp_path / name)
        else:
            assert isinstance(end, DecodedSound)
            assert same_windows(cut(of_it), decode_here(tmp_path / name))
    if ordered:
        assert [e.key for e in events if not isinstance(e, DecodedWindows)] == [key for key, _ in given]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hang", "spin"])
def test_a_sound_that_hangs_loses_only_itself(tmp_path: Path, hostile: None, name: str) -> None:
    for n in range(4):
        write(tmp_path / f"good-{n}.wav", tone(300 + n, 0.3, 8_000), 8_000)
    (tmp_path / name).write_bytes(wav_bytes(bytes(1_000)))
    with Decoders(1, timeout_s=4) as made:
        found = by_key(list(made.windows(jobs(tmp_path))))
    assert isinstance(end := found.pop(name)[-1], DecodeFailure)
    assert isinstance(end.error, ExhaustedError)
    assert "more than 4 s" in end.error.reason or "processor time" in end.error.reason
    assert all(isinstance(of_it[-1], DecodedSound) for of_it in found.values())


@pytest.mark.slow
def test_a_worker_that_sends_an_invalid_answer_is_killed(tmp_path: Path, hostile: None) -> None:
    for name in ("good-1", "lie", "z-good"):
        (tmp_path / name).write_bytes(wav_bytes(b"\1\2" * 1_000))
    with Decoders(1, timeout_s=60) as made:
        found = by_key(list(made.windows(jobs(tmp_path))))
    assert [type(found[name][-1]) for name in ("good-1", "lie", "z-good")] == [
        DecodedSound,
        DecodeFailure,
        DecodedSound,
    ]


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_long_sound(folder: Path) -> None:
    long = folder / "b-long.flac"
    with Decoders(1) as made:
        events = made.windows([("first", long), ("second", folder / "a00.wav"), ("third", long)])
        got = [next(events)]
        os.kill(made.pids[0], signal.SIGKILL)
        got += events
    found = by_key(got)
    # An answer already sent may still arrive, but the sound is not complete.
    assert isinstance(end := found["first"][-1], DecodeFailure)
    assert type(end.error) is ExhaustedError
    assert isinstance(found["second"][-1], DecodedSound)
    assert same_windows(cut(found["third"]), decode_here(long))


def test_a_worker_that_died_while_idle_costs_nothing(folder: Path) -> None:
    with Decoders(1) as made:
        assert made.load(folder / "a00.wav").size
        (pid,) = made.pids
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert made.load(folder / "a00.wav").size
        assert made.pids != [pid]


@pytest.mark.slow
def test_memory_of_a_worker_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # 3 hours of zeros, which take no room on the disk: 690 MB when loaded
        file.write(wav_bytes(b"", rate_hz=8_000, bits=8, claim=8_000 * 10_800))
        file.truncate(8_000 * 10_800)
    with Decoders(1, memory_bytes=600 * 2**20) as made, pytest.raises(ExhaustedError, match="memory"):
        made.load(path)


# Back-pressure and manners


@pytest.mark.slow
def test_jobs_are_iterated_lazily(folder: Path) -> None:
    read = 0

    def many() -> Iterator[tuple[int, Path]]:
        nonlocal read
        for n in range(100_000):
            read += 1
            yield n, folder / "a00.wav"

    with Decoders(2) as made:
        events = made.windows(many())
        for _ in range(10):
            next(events)
        events.close()  # type: ignore[attr-defined]
    assert read <= 2 * 3 * decoder_pool.FILES_PER_REQUEST


@pytest.mark.slow
def test_sounds_behind_a_long_one_are_decoded_ahead_but_not_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pool, "AHEAD_REQUESTS", 40)
    write(tmp_path / "long.wav", np.ones(3600 * 8_000), 8_000)
    read = 0

    def many() -> Iterator[tuple[int, Path]]:
        nonlocal read
        for n in range(2_000):
            read += 1
            yield n, folder / "a00.wav" if n else tmp_path / "long.wav"

    with Decoders(2, files_per_request=1) as made:
        events = made.windows(many(), ordered=True)
        next(event for event in events if isinstance(event, DecodedSound))
        assert 1 + 40 <= read <= 1 + 40 + 2
        events.close()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [False, True])
def test_workers_can_be_used_after_stopping_early(folder: Path, two: Decoders, ordered: bool) -> None:
    for n in (0, 1, 5):
        events = two.windows(jobs(folder), ordered=ordered)
        for _, _event in zip(range(n), events, strict=False):
            pass
        del events
        gc.collect()
        assert np.array_equal(two.load(folder / "a01.wav"), stream_module.load(folder / "a01.wav"))
    assert len(by_key(list(two.windows(jobs(folder), ordered=ordered)))) == 25


def test_an_error_of_the_jobs_iterator_is_raised(folder: Path, two: Decoders) -> None:
    def broken() -> Iterator[tuple[str, Path]]:
        yield "x", folder / "a00.wav"
        raise KeyError("the list of files broke off")

    with pytest.raises(KeyError, match="broke off"):
        list(two.windows(broken()))
    assert two.load(folder / "a00.wav").size


def test_a_slow_consumer_causes_no_timeout(folder: Path) -> None:
    with Decoders(1) as made:
        (worker,) = made._workers
        events = []
        for event in made.windows([("long", folder / "b-long.flac")]):
            events.append(event)
            if worker.busy and worker.connection is not None and worker._sent_s is not None:
                assert worker.connection.poll(60)
                worker._sent_s -= 1_000  # as if the consumer had spent a quarter of an hour on the windows
    assert same_windows(cut(events), decode_here(folder / "b-long.flac"))


def test_load_and_probe_from_many_threads(folder: Path, two: Decoders) -> None:
    paths = sorted(folder.glob("a*.wav"))
    got: dict[Path, np.ndarray] = {}
    seen: dict[Path, stream_module.Probe] = {}

    def work(path: Path) -> None:
        got[path] = two.load(path.read_bytes())
        seen[path] = two.probe(path)

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path in paths:
        assert np.array_equal(got[path], stream_module.load(path))
        assert seen[path] == stream_module.probe(path)
        assert got[path].flags.writeable


def test_a_part_is_loaded_from_path_bytes_and_file_object(folder: Path, two: Decoders) -> None:
    path = folder / "b-long.flac"
    expected = stream_module.load(path, start_s=50.5, end_s=52.0)
    with path.open("rb") as file:
        file.seek(100)
        for source in (path, str(path), path.read_bytes(), file):
            assert np.array_equal(two.load(source, start_s=50.5, end_s=52.0), expected)


def test_a_stream_gives_the_samples_of_load(folder: Path, two: Decoders) -> None:
    path = folder / "b-long.flac"
    for source, part in ((path, (0.0, None)), (path.read_bytes(), (50.5, 190.0)), (folder / "a00.wav", (0.0, None))):
        pieces = list(two.stream(source, start_s=part[0], end_s=part[1]))
        assert all(len(piece) for piece in pieces)
        assert np.array_equal(np.concatenate(pieces), stream_module.load(source, start_s=part[0], end_s=part[1]))
    assert len(list(two.stream(path))) > 2
    with pytest.raises(NotASoundError, match="notes"):
        list(two.stream(folder / "e-notes.mp3"))
    with pytest.raises(ValueError, match="a part of a sound"):
        two.stream(path, start_s=-1)


@pytest.mark.slow
def test_an_abandoned_stream_releases_its_worker(folder: Path) -> None:
    with Decoders(1) as made:
        for _ in range(2):
            stream = made.stream(folder / "b-long.flac")
            assert len(next(stream))
            stream.close()
        assert np.array_equal(made.load(folder / "a01.wav"), stream_module.load(folder / "a01.wav"))


@pytest.mark.slow
def test_a_stream_of_a_sound_that_kills_or_hangs_ends(tmp_path: Path, hostile: None) -> None:
    with Decoders(1, timeout_s=4) as made:
        for name, said in (("crash", "SIGSEGV"), ("hang", "more than 4 s")):
            (tmp_path / name).write_bytes(wav_bytes(bytes(1_000)))
            with pytest.raises(SoundError, match=said):
                list(made.stream(tmp_path / name))


def test_errors_of_loading_name_the_source(folder: Path, two: Decoders) -> None:
    path = folder / "e-notes.mp3"
    for source, name in ((path, str(path)), (path.read_bytes(), "the sound given")):
        with pytest.raises(NotASoundError) as caught:
            two.load(source)
        assert caught.value.path == name
    with path.open("rb") as file, pytest.raises(NotASoundError) as caught:
        two.probe(file)
    assert caught.value.path == str(path)
    with pytest.raises(ValueError, match="a part of a sound"):
        two.load(path, start_s=-1)
    with pytest.raises(SoundError, match="ends before"):
        two.load(folder / "a00.wav", start_s=60)
    with pytest.raises(SoundLimitError, match="longer than the 10 s"):
        two.load(folder / "b-long.flac", limits=Limits(max_seconds=10))


def test_closing_ends_every_process(folder: Path) -> None:
    made = Decoders(2)
    made.start()
    pids = made.pids
    assert len(pids) == 2
    made.close()
    assert made.pids == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert made.load(folder / "a00.wav").size  # and it can be used again
    made.close()


def peak_mb(pid: int | str) -> float:
    """The peak memory of the process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ordered", [False, True])
def test_ten_hours_stream_in_constant_memory(tmp_path: Path, ordered: bool) -> None:
    second = np.random.default_rng(0).integers(0, 256, 8_000 * 60, np.uint8).tobytes()
    path = tmp_path / "ten-hours.wav"
    with path.open("wb") as file:
        file.write(wav_bytes(b"", rate_hz=8_000, bits=8, claim=600 * len(second)))
        for _ in range(600):
            file.write(second)
    with Decoders(2) as made:
        given = [("long", path), ("long too", path)]
        before_mb, most_mb, ends, workers_mb = resident_mb(), 0.0, [], 0.0
        for event in made.windows(given, ordered=ordered):
            most_mb = max(most_mb, resident_mb() - before_mb)
            workers_mb = max(workers_mb, *map(peak_mb, made.pids))
            if isinstance(event, DecodedSound):
                ends.append(event.probe.duration_s)
    assert ends == [36_000.0, 36_000.0]
    assert most_mb < 150
    assert workers_mb < 250


def test_samples_are_resampled(folder: Path, two: Decoders) -> None:
    assert len(two.load(folder / "f-last.wav")) == SAMPLE_RATE_HZ

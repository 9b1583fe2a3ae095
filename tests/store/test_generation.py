"""Publishing is atomic, damaged generations are refused, and the previous one can be restored."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generations import DIM, publish

from boiler import files
from boiler.engine.selection import EngineChoice
from boiler.errors import CatalogError, DamagedIndexError, ModelDirError
from boiler.store import build, generation, manifest
from boiler.store.generation import Failure, Header, Item, rows_of
from boiler.store.projector import METADATA, TENSORS


def test_a_generation_is_read_as_it_was_published(tmp_path: Path) -> None:
    publish(tmp_path / "m", failures=[Failure("bad.wav", "is empty")], meta={"wav_dir": "/sounds"})
    opened = generation.open(tmp_path / "m")
    assert opened.header.encoder == "mine"
    assert (opened.header.n_rows, opened.header.n_items) == (38, 20)
    assert np.allclose(np.linalg.norm(opened.vectors, axis=1), 1, atol=1e-6)
    assert opened.rows["n"].tolist() == sorted(opened.rows["n"].tolist())
    connection = opened.connect()
    row = connection.execute("SELECT * FROM items WHERE id = 'kind1/4.wav'").fetchone()
    assert (row["n"], row["first_row"], row["n_rows"], row["vec_row"], row["folder"]) == (4, 8, 2, 4, "kind1")
    silent = connection.execute("SELECT * FROM items WHERE silent").fetchall()
    assert [(one["n"], one["first_row"], one["n_rows"], one["vec_row"]) for one in silent] == [(19, None, 0, None)]
    assert [tuple(one) for one in connection.execute("SELECT * FROM failures")] == [("bad.wav", "is empty", "")]
    assert connection.execute("SELECT value FROM meta WHERE key = 'wav_dir'").fetchone()[0] == "/sounds"
    connection.close()


def test_an_items_vector_is_the_mean_of_its_rows_at_unit_length(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m")
    mean = (opened.vectors[8] + opened.vectors[9]) / 2
    assert opened.item_vectors.shape == (19, DIM)
    assert opened.item_vectors[4] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_table_and_tensors_are_in_the_order_of_the_rows(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m")
    top = tmp_path / "m"
    lines = (top / METADATA).read_text().splitlines()
    assert lines[0] == "id\turl\tstart_s\tend_s\tlabel"
    assert lines[1 + 9] == "kind1/4.wav\tu4\t4.096\t8.192\tkind1"
    assert len(lines) == 1 + opened.header.n_rows
    tensors = np.loadtxt(top / TENSORS, dtype=np.float32, delimiter="\t")
    assert np.array_equal(tensors, opened.vectors)


def test_random_pairs_are_of_different_items_and_sorted(tmp_path: Path) -> None:
    pairs = publish(tmp_path / "m").pairs
    assert len(pairs) == 100_000
    assert (np.diff(pairs) >= 0).all()
    assert 0 < pairs[0] < pairs[-1] <= 2


def test_one_item_has_no_pairs(tmp_path: Path) -> None:
    assert len(publish(tmp_path / "m", n_items=2).pairs) == 0


def test_an_empty_index_opens(tmp_path: Path) -> None:
    opened = publish(tmp_path / "m", n_items=1)
    assert (opened.header.n_rows, opened.header.n_items) == (0, 1)


def test_the_same_input_gives_byte_identical_files(tmp_path: Path) -> None:
    one, other = publish(tmp_path / "one", seed=7), publish(tmp_path / "other", seed=7)
    names = {path.relative_to(one.path) for path in one.path.rglob("*") if path.is_file()}
    for name in names - {Path("boiler.json"), Path("manifest.json")}:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert Path("annoy") in names


@pytest.mark.parametrize(
    ("numbers", "ids", "reason"),
    [([0, 1, 0], "ab", "sorted by n"), ([0, 2], "ab", "not among"), ([0, 1], "a", "not among")],
)
def test_arrays_and_items_that_do_not_match_are_refused(
    tmp_path: Path, numbers: list[int], ids: str, reason: str
) -> None:
    publish(tmp_path / "m")
    before = generation.current_name(tmp_path / "m")
    vectors = np.ones((len(numbers), DIM), np.float32)
    with pytest.raises(ValueError, match=reason):
        generation.publish(
            tmp_path / "m", Header("mine", DIM), vectors, rows_of(numbers), [Item(n, id) for n, id in enumerate(ids)]
        )
    assert generation.current_name(tmp_path / "m") == before
    assert [name for name in os.listdir(tmp_path / "m" / "versions") if name.startswith(".")] == []  # noqa: PTH208


def test_the_last_two_generations_are_kept_and_rollback_restores_the_previous(tmp_path: Path) -> None:
    opened = [publish(tmp_path / "m", seed=seed) for seed in range(4)]
    assert generation.names(tmp_path / "m") == [opened[2].name, opened[3].name]
    assert generation.rollback(tmp_path / "m").name == opened[2].name
    assert generation.open(tmp_path / "m").name == opened[2].name
    with pytest.raises(ModelDirError, match="no previous index to roll back to"):
        generation.rollback(tmp_path / "m")
    assert generation.undo_rollback(tmp_path / "m").name == opened[3].name
    assert generation.open(tmp_path / "m").name == opened[3].name
    with pytest.raises(ModelDirError, match="no rollback to undo"):
        generation.undo_rollback(tmp_path / "m")
    generation.rollback(tmp_path / "m")
    # the next generation gets the highest number, and the one that was rolled back is deleted
    latest = publish(tmp_path / "m", seed=9)
    assert latest.name > opened[3].name or latest.name.split("-")[0] == opened[3].name.split("-")[0]
    assert generation.names(tmp_path / "m") == [opened[2].name, latest.name]


def test_an_opened_generation_stays_readable_when_it_is_removed(tmp_path: Path) -> None:
    first = publish(tmp_path / "m", seed=0)
    connection, expected = first.connect(), np.array(first.vectors)
    connection.execute("SELECT 1 FROM items").fetchone()
    for seed in (1, 2, 3):
        publish(tmp_path / "m", seed=seed)
    assert not first.path.exists()
    assert np.array_equal(first.vectors, expected)
    assert connection.execute("SELECT COUNT(*) FROM items").fetchone()[0] == 20
    connection.close()


def test_an_unchanged_encoder_is_linked_not_copied(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder.pt"
    encoder.write_bytes(b"weights")
    one = publish(tmp_path / "m", encoder_pt=encoder)
    other = publish(tmp_path / "m", encoder_pt=encoder)
    assert (one.path / "encoder.pt").samefile(other.path / "encoder.pt")
    assert other.header.encoder_sha256 == files.sha256_of(encoder)
    assert (tmp_path / "m" / "encoder.pt").read_bytes() == b"weights"


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
def test_a_copy_opens_and_can_be_published_to(tmp_path: Path, links: bool) -> None:
    opened = publish(tmp_path / "m", encoder_pt=None)
    shutil.copytree(tmp_path / "m", tmp_path / "copy", symlinks=links)
    shutil.rmtree(tmp_path / "m")
    copy = generation.check(tmp_path / "copy")
    assert copy.name == opened.name
    later = publish(tmp_path / "copy", seed=1)
    assert generation.open(tmp_path / "copy").name == later.name
    assert generation.rollback(tmp_path / "copy").name == opened.name
    assert (tmp_path / "copy" / "annoy").resolve() == (tmp_path / "copy" / "versions" / opened.name / "annoy").resolve()


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_model_directory_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match=r"no model directory .*missing: make one with boiler index"):
        generation.open(tmp_path / "missing")
    with pytest.raises(ModelDirError, match="run boiler index"):
        generation.open(tmp_path)


@pytest.mark.parametrize("target", ["nowhere", "versions/000009-none"])
def test_a_dangling_pointer_is_refused(tmp_path: Path, target: str) -> None:
    publish(tmp_path / "m")
    pointer = tmp_path / "m" / "current"
    pointer.unlink()
    pointer.symlink_to(target)
    with pytest.raises(DamagedIndexError, match="boiler index"):
        generation.open(tmp_path / "m")
    assert generation.open_last_good(tmp_path / "m").header.n_items == 20


FILES = ["vectors.npy", "rows.npy", "item_vectors.npy", "pairs.npy", "annoy", "meta.sqlite", "boiler.json", METADATA]


@pytest.mark.parametrize("damage", ["missing", "empty", "shorter"])
@pytest.mark.parametrize("name", [*FILES, "manifest.json", "encoder.pt"])
def test_a_missing_or_truncated_file_is_refused_at_opening(tmp_path: Path, name: str, damage: str) -> None:
    (tmp_path / "e.pt").write_bytes(b"weights")
    file = publish(tmp_path / "m", encoder_pt=tmp_path / "e.pt").path / name
    data = file.read_bytes()
    file.unlink()  # never in place: it may be mapped
    if damage != "missing":
        file.write_bytes(b"" if damage == "empty" else data[:-1])
    with pytest.raises(ModelDirError, match="index"):
        generation.open(tmp_path / "m")


def flip_a_bit(file: Path, at: float = 0.5) -> None:
    """Flip one bit at this share of the file, in a copy: never in place, it may be mapped."""
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 1
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize("name", [*FILES[:6], METADATA])
def test_a_flipped_bit_is_found_by_check(tmp_path: Path, name: str) -> None:
    flip_a_bit(publish(tmp_path / "m").path / name)
    with pytest.raises(DamagedIndexError, match=name.replace(".", r"\.")):
        generation.check(tmp_path / "m")


@pytest.fixture(scope="module")
def published_twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with two generations, of which annoy answers the second. Do not write there."""
    model_dir = tmp_path_factory.mktemp("twice") / "m"
    publish(model_dir)
    publish(model_dir, seed=1, engine=EngineChoice("annoy"))
    return model_dir


@pytest.mark.parametrize("version", ["now", "without checksums"])
@pytest.mark.parametrize("at", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", [*build.ARRAYS, "map.npy", "meta.sqlite", "boiler.json", "annoy"])
def test_a_flipped_bit_in_a_file_that_answers_is_refused_and_the_last_good_index_opened(
    published_twice: Path, tmp_path: Path, name: str, at: float, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(published_twice, tmp_path / "m", symlinks=True)
    good, opened = (
        generation._open(tmp_path / "m" / "versions" / one, one) for one in generation.names(tmp_path / "m")
    )
    if version == "without checksums":
        manifest_file = opened.path / "manifest.json"
        entries = json.loads(manifest_file.read_text())["files"]
        for entry in entries.values():
            del entry["xxh3"]
        manifest_file.write_text(json.dumps({"files": entries}))
        opened = generation.open(tmp_path / "m")
        assert all(entry["xxh3"] is None for entry in opened.files.values())
    opened.verify()
    flip_a_bit(opened.path / name, at)
    with pytest.raises(DamagedIndexError, match=name.replace(".", r"\.")):
        generation.open(tmp_path / "m")
    with pytest.raises(DamagedIndexError, match=name.replace(".", r"\.")):
        opened.verify()
    assert generation.open_last_good(tmp_path / "m").name == good.name
    assert good.name in caplog.text
    flip_a_bit(good.path / "vectors.npy")
    with pytest.raises(DamagedIndexError, match=opened.name):
        generation.open_last_good(tmp_path / "m")


def test_a_damaged_index_is_not_what_comes_back_after_the_next(tmp_path: Path) -> None:
    good = publish(tmp_path / "m")
    flip_a_bit(publish(tmp_path / "m", seed=1).path / "rows.npy")
    latest = publish(tmp_path / "m", seed=2)
    assert generation.names(tmp_path / "m") == [good.name, latest.name]


# --- without links ---------------------------------------------------------------------------------------------------


def test_with_no_link_the_newest_good_index_is_taken_and_nothing_is_deleted(tmp_path: Path) -> None:
    good, newest = publish(tmp_path / "m"), publish(tmp_path / "m", seed=1)
    (tmp_path / "m" / "current").unlink()
    assert generation.open(tmp_path / "m").name == newest.name
    flip_a_bit(newest.path / "vectors.npy")
    assert generation.open_last_good(tmp_path / "m").name == good.name
    with pytest.raises(RuntimeError), generation.lock_for_writing(tmp_path / "m"):
        raise RuntimeError  # a run that is refused
    assert generation.names(tmp_path / "m") == [good.name, newest.name]
    assert generation.open(tmp_path / "m").name == good.name
    assert (tmp_path / "m" / "current").readlink() == Path("versions") / good.name


def test_a_file_system_without_links_gets_real_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: str) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "e.pt").write_bytes(b"weights")
    top = tmp_path / "m"
    opened = [publish(top, seed=seed, encoder_pt=tmp_path / "e.pt") for seed in range(3)]
    for switch in (generation.open, generation.rollback, generation.undo_rollback):
        latest = switch(top)
        assert generation.check(top).name == latest.name
        assert not any(path.is_symlink() for path in top.rglob("*"))
        for name in ("encoder.pt", "annoy", METADATA, TENSORS, "projector_config.pbtxt", "boiler.json"):
            assert (top / name).read_bytes() == (latest.path / name).read_bytes()
    assert generation.names(top) == [opened[1].name, opened[2].name]
    monkeypatch.undo()
    latest = publish(top, seed=4)  # the disk is copied to one that has links
    assert (top / "annoy").is_symlink()
    assert (top / METADATA).read_bytes() == (latest.path / METADATA).read_bytes()


# --- more of what is refused -----------------------------------------------------------------------------------------


def test_a_replaced_encoder_is_refused_at_opening(tmp_path: Path) -> None:
    (tmp_path / "e.pt").write_bytes(b"weights")
    opened = publish(tmp_path / "m", encoder_pt=tmp_path / "e.pt")
    (opened.path / "encoder.pt").unlink()
    (opened.path / "encoder.pt").write_bytes(b"WEIGHTS")
    with pytest.raises(ModelDirError, match="not the encoder of this index"):
        generation.open(tmp_path / "m")


def test_files_of_another_generation_are_refused(tmp_path: Path) -> None:
    one, other = publish(tmp_path / "m", seed=0), publish(tmp_path / "m", seed=1)
    shutil.copy(one.path / "boiler.json", other.path / "boiler.json")
    manifest.write_manifest(other.path)
    with pytest.raises(ModelDirError, match="another generation"):
        generation.open(tmp_path / "m")


@pytest.mark.parametrize(("change", "message"), [({"format_version": 99}, "of format 99"), ({"colour": 1}, "colour")])
def test_another_format_is_refused_with_the_version_that_wrote_it(tmp_path: Path, change: dict, message: str) -> None:
    file = publish(tmp_path / "m").path / "boiler.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    manifest.write_manifest(file.parent)
    with pytest.raises(ModelDirError, match=message):
        generation.open(tmp_path / "m")


@pytest.mark.parametrize("change", ["vectors of another type", "fewer rows", "fewer places", "more blocks of scores"])
def test_arrays_that_do_not_match_the_header_are_refused(tmp_path: Path, change: str) -> None:
    (tmp_path / "words").write_bytes(b"a model")
    scoring = build.WordScoring(tmp_path / "words", 2, lambda unit: np.full((len(unit), 2), 7, np.uint8))
    opened = publish(tmp_path / "m", words=scoring)
    assert opened.map_points is not None
    assert opened.word_scores is not None
    name, array = {
        "vectors of another type": ("vectors.npy", opened.vectors.astype(np.float64)),
        "fewer rows": ("rows.npy", opened.rows[:-1]),
        "fewer places": ("map.npy", opened.map_points[:-1]),
        "more blocks of scores": (build.WORD_SCORES, np.repeat(opened.word_scores, 2, axis=0)),
    }[change]
    (opened.path / name).unlink()  # never in place: it is mapped
    np.save(opened.path / name, array)
    manifest.write_manifest(opened.path)
    with pytest.raises(DamagedIndexError, match=r"the arrays do not match boiler\.json"):
        generation.open(tmp_path / "m")


def test_a_pointer_that_is_no_text_is_refused_with_the_command_that_repairs_it(tmp_path: Path) -> None:
    publish(tmp_path / "m")
    (tmp_path / "m" / "current").unlink()
    (tmp_path / "m" / "current").write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedIndexError, match=f"current cannot be read .* boiler index {tmp_path / 'm'}$"):
        generation.open(tmp_path / "m")


def test_a_rollback_that_cannot_be_written_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EROFS, "Read-only file system")

    publish(tmp_path / "m")
    opened = publish(tmp_path / "m", seed=1)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ModelDirError, match=r"cannot be written .*Read-only.* the index is unchanged"):
        generation.rollback(tmp_path / "m")
    assert generation.open(tmp_path / "m").name == opened.name


def test_a_second_writer_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from boiler import files\n"
            "with files.lock_for_writing(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()",
            str(tmp_path / "m"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(CatalogError, match=f"process {holder.pid}"):
        publish(tmp_path / "m")
    holder.kill()
    holder.communicate()
    publish(tmp_path / "m")  # the lock went with the process


# --- kills -----------------------------------------------------------------------------------------------------------

KILLED_VISITS = 8
"""A line in a loop is tried this often: later rounds handle more bytes or rows, which is no new state on disk."""

# Forks a writer for each line at which it is to be killed, so that modules are imported only once.
KILLED = textwrap.dedent("""
    import collections, os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import numpy as np
    from boiler.store import generation
    from boiler.engine import annoy, exact, selection  # imported here, so that no line of an import is counted
    from boiler.store.projector import TENSORS
    from generations import publish
    import tensorboard.compat.proto.event_pb2, tensorboard.summary.writer.record_writer

    model_dir, begin, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    publish(model_dir, n_items=3, seed=0)
    line, kills = begin, 0
    while True:
        child = os.fork()
        if not child:
            left, visits = line, collections.Counter()

            def count(frame, event, arg):
                global left
                code = frame.f_code
                if "/boiler/" not in code.co_filename or code.co_name.startswith("<"):
                    return None
                if event == "line":
                    visits[code, frame.f_lineno] += 1
                    if visits[code, frame.f_lineno] <= {visits}:
                        left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return count

            sys.settrace(count)
            publish(model_dir, n_items=4, seed=1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        finished = os.WIFEXITED(status)
        assert finished or os.WTERMSIG(status) == signal.SIGKILL, status
        assert not finished or os.WEXITSTATUS(status) == 0, status
        opened = generation.check(model_dir)  # every byte, against the manifest
        assert opened.header.n_items in (3, 4)
        assert len((model_dir / TENSORS).read_text().splitlines()) == opened.header.n_rows
        if finished:
            assert opened.header.n_items == 4
            break
        kills += 1
        if opened.header.n_items == 4:
            generation.rollback(model_dir)
        line += step
    publish(model_dir, n_items=3, seed=0)
    assert len(generation.names(model_dir)) == 2
    print(kills)
""")


def count_kills(model_dir: Path, begin: int, step: int) -> int:
    """Publish repeatedly, killed at line `begin` of boiler's code, then `step` lines later each time, until it
    finishes; check every byte of the index after each kill. Returns the number of kills."""
    script = KILLED.format(tests=str(Path(__file__).parents[1]), visits=KILLED_VISITS)
    command = [sys.executable, "-c", script, str(model_dir), str(begin), str(step)]
    # One thread: a forked process does not have the threads of OpenMP and would wait for them for ever.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_kill_at_any_line_of_publishing_leaves_the_old_index_or_the_new(tmp_path: Path) -> None:
    assert count_kills(tmp_path / "m", 0, 1) > 500


@pytest.mark.slow
def test_a_kill_at_some_lines_of_publishing_leaves_the_old_index_or_the_new(tmp_path: Path) -> None:
    assert count_kills(tmp_path / "m", 13, 67) > 5


def test_leftovers_of_a_killed_writer_are_removed_by_the_next(tmp_path: Path) -> None:
    publish(tmp_path / "m")
    versions = tmp_path / "m" / "versions"
    (versions / ".building-000007-dead").mkdir()
    (versions / "000008-orphan").mkdir()
    opened = publish(tmp_path / "m")
    assert len(generation.names(tmp_path / "m")) == 2
    assert sorted(path.name for path in versions.iterdir()) == generation.names(tmp_path / "m")
    assert generation.open(tmp_path / "m").name == opened.name


@pytest.mark.slow
def test_readers_see_complete_generations_while_others_are_published(tmp_path: Path) -> None:
    publish(tmp_path / "m", n_items=10, seed=10)
    wrong: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.002):  # without a pause two readers hold the GIL and delay the writer for a minute
            opened = generation.open(tmp_path / "m")
            seen.add(opened.name)
            n_items = opened.header.seed  # seeds are chosen to be the number of items
            if len(opened.vectors) != 2 * (n_items - 1) or opened.header.n_items != n_items:
                wrong.append(opened.name)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n_items in range(11, 31):
        publish(tmp_path / "m", n_items=n_items, seed=n_items)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen


@pytest.mark.parametrize(
    "step",
    ["boiler.store.generation.current_folder", "boiler.store.manifest.read_manifest",
     "boiler.store.manifest.check_sizes", "boiler.files.sha256_of", "boiler.store.generation._map"],
)  # fmt: skip
def test_if_a_generation_is_removed_while_it_is_opened_the_current_one_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Two generations are published while one is opened: the second removes the one being opened."""
    encoder_pt = tmp_path / "mine.pt"
    encoder_pt.write_bytes(b"an encoder")
    publish(tmp_path / "m", encoder_pt=encoder_pt)
    module, _, name = step.rpartition(".")
    original = getattr(importlib.import_module(module), name)
    published: list[str] = []

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(step, original)
        published.extend(publish(tmp_path / "m", seed=seed, encoder_pt=encoder_pt).name for seed in (1, 2))
        return original(*args)

    monkeypatch.setattr(step, interrupted)
    assert generation.open(tmp_path / "m").name == published[-1]
    assert len(published) == 2


def test_the_pointer_is_replaced_after_all_files_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "m")
    calls: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (calls.append(("fsync", str(Path(f"/proc/self/fd/{fd}").readlink()))), fsync(fd))[1]
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (calls.append(("replace", str(to))), replace(self, to), Path(to))[2]
    )
    monkeypatch.setattr(Path, "rename", lambda self, to: (calls.append(("rename", str(to))), rename(self, to))[1])
    opened = publish(tmp_path / "m", seed=1)
    renamed = calls.index(("rename", str(opened.path)))
    pointed = calls.index(("replace", str(tmp_path / "m" / "current")))
    assert renamed < calls.index(("fsync", str(tmp_path / "m" / "versions"))) < pointed
    synced = {Path(path).name for what, path in calls[:renamed] if what == "fsync"}
    assert {path.name for path in opened.path.rglob("*")} <= synced
    assert ("fsync", str(tmp_path / "m")) in calls[pointed:]


@pytest.mark.slow
def test_a_full_disk_leaves_only_the_old_index(tmp_path: Path) -> None:
    before = publish(tmp_path / "m")
    script = textwrap.dedent(f"""
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from boiler.errors import ModelDirError
        from generations import publish
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        try:
            publish(Path(sys.argv[1]), n_items=2000, seed=1)
        except ModelDirError as error:
            assert "Free some space" in str(error), error
            sys.exit(28)
    """)
    for limit in (100, 20_000, 50_000, 110_000, 200_000, 400_000):
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m"), str(limit)], check=False)
        assert done.returncode == 28, limit
        assert generation.check(tmp_path / "m").name == before.name
        assert [path.name for path in (tmp_path / "m" / "versions").iterdir()] == [before.name]


def test_a_generation_that_is_deleted_in_part_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill while the oldest of three was being deleted: rollback must not find it."""
    names = [publish(tmp_path / "m", seed=seed).name for seed in (1, 2)]

    def delete_one_file(folder: Path, ignore_errors: bool = False) -> None:
        (folder / METADATA).unlink()

    monkeypatch.setattr(generation.shutil, "rmtree", delete_one_file)
    names.append(publish(tmp_path / "m", seed=3).name)
    monkeypatch.undo()
    assert generation.names(tmp_path / "m") == names[1:]
    generation.rollback(tmp_path / "m")
    with pytest.raises(ModelDirError, match="no previous"):
        generation.rollback(tmp_path / "m")
    left = sorted(path.name for path in (tmp_path / "m" / "versions").iterdir())
    assert left == names[1:]


@pytest.mark.slow
def test_a_killed_rollback_leaves_one_of_the_two_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    """Killed at each line of boiler's code in turn, in steps."""
    for seed in (0, 1):
        publish(tmp_path / "m", n_items=3 + seed, seed=seed)
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from boiler.store import generation
        left = int(sys.argv[2])
        def count(frame, event, arg):
            global left
            if "/boiler/" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count
        model_dir = Path(sys.argv[1])
        is_first = generation.previous_name(model_dir) is None
        switch = generation.undo_rollback if is_first else generation.rollback
        sys.settrace(count)
        switch(sys.argv[1])
    """)
    kills = 0
    for line in range(2, 400, 23):
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m"), str(line)], check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        kills += done.returncode != 0
        assert generation.check(tmp_path / "m").header.n_items in (3, 4)
        assert len(generation.names(tmp_path / "m")) == 2
        if not done.returncode:
            break
    assert kills > 5
    with generation.lock_for_writing(tmp_path / "m"):
        left = [path.name for path in tmp_path.rglob(".*")]
    assert left == [".lock"]

"""Files are replaced atomically, and a model directory has one writer at a time."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boiler import files
from boiler.errors import CatalogError


def test_a_finished_block_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with files.replacing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.suffix == ".json"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), files.replacing(path) as aside:
        aside.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_created_and_replaced_atomically(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.relink(tmp_path / "current", name)
        assert (tmp_path / "current").resolve() == tmp_path / name
    assert (tmp_path / "current").readlink() == Path("two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "one", "two"]


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(data)
    assert files.sha256_of(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def test_a_second_writer_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    with files.lock_for_writing(tmp_path / "m"):
        with (
            pytest.raises(CatalogError, match=f"process {os.getpid()}, running since"),
            files.lock_for_writing(tmp_path / "m"),
        ):
            pass
        with files.lock_for_writing(tmp_path / "other"):
            pass
    with files.lock_for_writing(tmp_path / "m"):
        pass


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.lock_for_writing(tmp_path):
        raise RuntimeError
    with files.lock_for_writing(tmp_path):
        pass


def test_a_replacement_is_on_the_disk_before_it_has_the_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the file is the old one or the new one, whole: the order of the calls decides that."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(handle: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def recorded_replace(self: Path, target: Path) -> Path:
        calls.append(("replace", self.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    with files.replacing(tmp_path / "figures.json") as aside:
        aside.write_text("new")
    assert calls == [("fsync", aside.name), ("replace", aside.name), ("fsync", tmp_path.name)]
    calls.clear()
    files.relink(tmp_path / "current", "versions/one")
    assert [what for what, _ in calls] == ["replace", "fsync"]
    assert calls[-1] == ("fsync", tmp_path.name)


def test_a_link_never_disappears_while_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "current"
    files.relink(link, "one")
    seen: list[str] = []

    def observed(name: str) -> None:
        original = getattr(Path, name)

        def call(self: Path, *args: object, **named: object) -> object:
            result = original(self, *args, **named)
            seen.append(str(link.readlink()))  # raises where there is no link
            return result

        monkeypatch.setattr(Path, name, call)

    for name in ("unlink", "symlink_to", "replace"):
        observed(name)
    files.relink(link, "two")
    files.link_or_copy(link, "three", tmp_path)
    monkeypatch.undo()
    assert set(seen) == {"one", "two", "three"}


def test_what_a_killed_replacement_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".hidden.json").write_text("mine")
    script = (
        "import os, signal, sys; from pathlib import Path; from boiler import files\n"
        "with files.replacing(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "figures.json")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    files.delete_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hidden.json"]

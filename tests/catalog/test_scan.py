"""Which files of a folder are sounds, and what they are called."""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest

from boiler.catalog import scan
from boiler.errors import CorpusError

SUFFIXES = {".wav", ".ogg"}


def make(root: Path, *names: str | bytes) -> None:
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name))))  # noqa: PTH118
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(root: Path, **kwargs) -> list[str]:
    return sorted(found.id for found in scan.walk(root, SUFFIXES, **kwargs))


def test_sounds_are_found_at_any_depth_whatever_the_case_of_the_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b/c/D.WAV", "b/e.Ogg", "b/notes.txt", "b/wav", "b/x.wav.part")
    assert ids(tmp_path) == ["a.wav", "b/c/D.WAV", "b/e.Ogg"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    (found,) = scan.walk(tmp_path, SUFFIXES)
    stat = (tmp_path / "a.wav").stat()
    assert (found.size_bytes, found.mtime_ns, found.file) == (1, stat.st_mtime_ns, None)


def test_hidden_and_system_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", ".b.wav", ".git/c.wav", "x/._a.wav", "__MACOSX/a.wav", "@eaDir/a.wav", "$RECYCLE.BIN/b.wav")
    assert ids(tmp_path) == ["a.wav"]


def test_a_folder_with_the_name_of_a_sound_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.wav/b.wav")
    assert ids(tmp_path) == ["a.wav/b.wav"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), ("drums",), ["one.ogg", "voice/two.wav"]),
        ((), ("drums/*",), ["one.ogg", "voice/two.wav"]),
        ((), ("*.ogg",), ["drums/a/one.wav", "drums/two.wav", "voice/two.wav"]),
        (("two.wav",), (), ["drums/two.wav", "voice/two.wav"]),
        (("drums/*",), ("drums/a/",), ["drums/two.wav"]),
        (("voice/*", "*.ogg"), (), ["one.ogg", "voice/two.wav"]),
        (("DRUMS",), (), []),
    ],
)
def test_globs_include_and_exclude(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    make(tmp_path, "drums/a/one.wav", "drums/two.wav", "voice/two.wav", "one.ogg")
    assert ids(tmp_path, include=include, exclude=exclude) == expected


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path / "out", "far/a.wav", "b.wav")
    make(tmp_path / "in", "z/c.wav")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "out" / "far")
    (tmp_path / "in" / "file.wav").symlink_to(tmp_path / "out" / "b.wav")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "z")  # the real place wins, though it sorts later
    (tmp_path / "in" / "z" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self").symlink_to("self")
    unreadable = scan.Unreadable()
    assert ids(tmp_path / "in", unreadable=unreadable) == ["file.wav", "linked/a.wav", "z/c.wav"]
    assert unreadable.reasons == {}


def test_an_unreadable_sound_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    (tmp_path / "dead.wav").symlink_to("nowhere.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    unreadable = scan.Unreadable()
    assert ids(tmp_path, unreadable=unreadable) == ["a.wav"]
    assert sorted(unreadable.reasons) == ["dead.wav", "loop.wav"]


def test_a_pipe_with_the_name_of_a_sound_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert ids(tmp_path) == []


def test_the_id_is_nfc_and_the_name_on_disk_is_kept(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "caf\u00e9/\u00fcber.wav")
    make(tmp_path, decomposed)
    (found,) = scan.walk(tmp_path, SUFFIXES)
    assert found.id == "caf\u00e9/\u00fcber.wav"
    assert found.file == decomposed.encode()
    assert found.path(tmp_path).read_bytes() == b"x"


def test_a_name_that_is_not_utf8_has_an_id_that_can_be_written_anywhere(tmp_path: Path) -> None:
    make(tmp_path, b"caf\xe9.wav")
    (found,) = scan.walk(tmp_path, SUFFIXES)
    assert found.id == "caf\\xe9.wav"
    assert found.id.encode()
    assert found.path(tmp_path).read_bytes() == b"x"


def test_of_two_files_with_the_same_id_one_is_used_and_the_other_reported(tmp_path: Path) -> None:
    make(tmp_path, "\u00e9.wav", "e\u0301.wav", "\u00ea.wav")
    unreadable = scan.Unreadable()
    assert ids(tmp_path, unreadable=unreadable) == ["\u00e9.wav", "\u00ea.wav"]
    (reason,) = unreadable.reasons.values()
    assert "Unicode" in reason


def test_a_folder_that_cannot_be_listed_covers_all_files_below_it() -> None:
    unreadable = scan.Unreadable({"a/b": "no"})
    assert unreadable.hides("a/b/c.wav")
    assert not unreadable.hides("a/bc.wav")
    assert not unreadable.hides("a.wav")


@pytest.mark.parametrize("name", ["missing", "file.wav"])
def test_a_path_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, "file.wav")
    with pytest.raises(CorpusError, match="is not a folder"):
        ids(tmp_path / name)


def test_sounds_of_formats_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for name in ("a.wav", "b.ape", "c/d.APE", "e.tak", "notes.txt", ".hidden.ape"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    unreadable = scan.Unreadable()
    found = scan.walk(tmp_path, {".wav"}, exclude=["e.*"], unread_suffixes={".ape", ".tak"}, unreadable=unreadable)
    assert [one.id for one in found] == ["a.wav"]
    assert unreadable.passed_over == {".ape": 2}


@pytest.mark.parametrize("year", [1601, 2500])
def test_a_time_of_any_year_fits_into_a_database(year: int) -> None:
    time_ns = (year - 1970) * 31_556_952 * 10**9
    with closing(sqlite3.connect(":memory:")) as db:
        (stored,) = db.execute("SELECT ?", (scan.stored_mtime_ns(time_ns),)).fetchone()
    assert abs(stored) > 290 * 365 * 86_400 * 10**9  # the first such time, or the last
    assert (stored < 0) == (year < 1970)

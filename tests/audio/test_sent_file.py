"""Files are opened here and read there."""

from __future__ import annotations

import io
import os
from multiprocessing import Pipe
from pathlib import Path

import pytest

from boiler.audio import sent_file
from boiler.audio.container import open_source, source_name
from boiler.audio.sent_file import SentFile, UnopenedFile, open_regular, packed
from boiler.errors import NotASoundError


def carried(request: object) -> tuple[object, list[io.FileIO]]:
    ours, theirs = Pipe()
    with ours, theirs, packed(request) as message:
        message.send(ours)
        return sent_file.receive(theirs)


def test_files_of_a_request_come_open_and_named(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 3)
    request = ("files", [SentFile(str(tmp_path / name)) for name in "abc"], {"k": 1.5})
    found, files = carried(request)
    for path in tmp_path.iterdir():
        path.unlink()
    assert found[0] == "files"
    assert found[2] == {"k": 1.5}
    assert [file.read() for file in found[1]] == [b"aaa", b"bbb", b"ccc"]
    assert [source_name(file) for file in found[1]] == [str(tmp_path / name) for name in "abc"]
    assert found[1] == files
    for file in files:
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
        file.close()


def test_a_file_may_be_sent_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.touch()
    (file,), _ = carried([SentFile(str(path), writable=True)])
    file.write(b"written")
    file.close()
    assert path.read_bytes() == b"written"
    with pytest.raises(FileNotFoundError):
        carried([SentFile(str(tmp_path / "none"), writable=True)])


def test_a_file_that_cannot_be_opened_is_a_reason_at_the_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (none, pipe), files = carried([SentFile(str(tmp_path / "none")), SentFile(str(tmp_path / "pipe"))])
    assert files == []
    assert isinstance(none, UnopenedFile)
    assert isinstance(pipe, UnopenedFile)
    for unopened, reason in ((none, "no such file"), (pipe, "not a file")):
        with pytest.raises(NotASoundError, match=reason) as caught, open_source(unopened):
            pass
        assert caught.value.path == unopened.name


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        _, files = carried([SentFile(str(tmp_path / "a"))] * 16)
        for file in files:
            file.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    with pytest.raises(NotASoundError, match="not a file"):
        open_regular(tmp_path)
    with pytest.raises(NotASoundError):
        open_regular("a\0b")

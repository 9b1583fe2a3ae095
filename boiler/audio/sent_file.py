"""Files that are opened in this process and read in a confined one, which may open none itself.

A request is pickled with each `SentFile` in it opened and its descriptor sent along; at the other end there is an open
file in its place. So a worker reads the files of its request, and no others.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

from boiler.errors import NotASoundError


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file to send: to be read, or, with `writable`, to be written."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class UnopenedFile:
    """A file that could not be opened, and the reason."""

    name: str
    reason: str


class ReceivedFile(io.FileIO):
    """A file that was sent. `name` is its path, which cannot be opened here."""

    def __init__(self, handle: int, name: str, mode: str) -> None:
        super().__init__(handle, mode)
        self.name = name


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """A file opened for reading. Raises: NotASoundError: there is none, it is no regular file, or not readable."""
    name = os.fspath(path)
    try:
        # Checked before it is opened: opening a pipe without a writer would block for ever.
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise NotASoundError(name, "it is not a file")
        return io.FileIO(name, "rb")
    except (OSError, ValueError) as error:
        raise NotASoundError(name, str(getattr(error, "strerror", None) or error).lower()) from error


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.files: list[io.FileIO] = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, SentFile):
            return None
        try:
            self.files.append(io.FileIO(obj.path, "r+b") if obj.writable else open_regular(obj.path))
        except NotASoundError as error:
            return obj.path, None, error.reason
        return obj.path, len(self.files) - 1, "r+b" if obj.writable else "rb"


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, handles: list[int]) -> None:
        super().__init__(buffer)
        self._handles = handles
        self.files: list[BinaryIO] = []

    def persistent_load(self, pid: Any) -> Any:
        name, number, said = pid
        if number is None:
            return UnopenedFile(name, said)
        self.files.append(ReceivedFile(self._handles[number], name, said))
        return self.files[-1]


class Message:
    """A request ready to be sent. Made by `packed`."""

    def __init__(self, data: memoryview, files: list[io.FileIO]) -> None:
        self._data = data
        self._files = files

    def send(self, connection: Connection) -> None:
        """Send it. Raises: OSError: the receiver has closed its end."""
        connection.send_bytes(len(self._files).to_bytes(2, "little"))
        if self._files:
            with _socket(connection) as channel:
                reduction.sendfds(channel, [file.fileno() for file in self._files])
        connection.send_bytes(self._data)


@contextmanager
def packed(request: Any) -> Iterator[Message]:
    """A request with its files opened, until the end of the block. Raises: OSError: a file cannot be written."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(request)
        yield Message(buffer.getbuffer(), pickler.files)
    finally:
        for file in pickler.files:
            file.close()


def receive(connection: Connection) -> tuple[Any, list[BinaryIO]]:
    """A request, and the files in it, which are the receiver's to close. Raises: EOFError: there are no more."""
    n_files = int.from_bytes(connection.recv_bytes(), "little")
    handles: list[int] = []
    if n_files:
        with _socket(connection) as channel:
            handles = list(reduction.recvfds(channel, n_files))
    unpickler = _Unpickler(io.BytesIO(connection.recv_bytes()), handles)
    return unpickler.load(), unpickler.files


@contextmanager
def _socket(connection: Connection) -> Iterator[socket.socket]:
    """The connection as a socket, through which descriptors can be sent."""
    channel = socket.socket(fileno=connection.fileno())
    try:
        yield channel
    finally:
        with suppress(OSError):
            channel.detach()

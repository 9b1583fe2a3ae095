"""Helper for tests with a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nowhere"))
START_S = 60.0
INITDB = shutil.which("initdb", path=f"{BIN}:{os.environ.get('PATH', '')}")


class PostgresServer:
    """A server that listens on a socket only, in a folder of its own. PostgreSQL refuses to run as root: then it runs
    as the user that Debian's package made. Skips the test where it is not installed."""

    def __init__(self) -> None:
        if INITDB is None:
            pytest.skip("there is no PostgreSQL here (apt-get install postgresql)")
        self._bin = Path(INITDB).parent
        self.folder = Path(tempfile.mkdtemp(prefix="boiler-pg-"))  # short: a socket's path has 107 characters at most
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._n_databases = 0
        flags = (
            "-D",
            str(self.folder / "data"),
            "-U",
            "boiler",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        subprocess.run([INITDB, *flags], check=True, capture_output=True, cwd="/", **self._user)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            self._bin / "postgres",
            "-D",
            self.folder / "data",
            "-k",
            self.folder,
            "-c",
            "listen_addresses=",
            "-F",
        ]
        ready = [self._bin / "pg_isready", "-h", self.folder, "-U", "boiler"]
        end = time.monotonic() + START_S
        with (self.folder / "log").open("ab") as log:
            while subprocess.run(ready, capture_output=True, check=False).returncode:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                # It ends at once while processes of a killed one are left.
                if self._process is None or self._process.poll() is not None:
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server, and wait until the processes of its connections are gone, too: until they notice, they
        answer."""
        assert self._process is not None
        main = self._process.pid
        others = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        self._process.kill()
        self._process.wait()
        for pid in map(int, others):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(pid, signal.SIGKILL)
                while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
                    time.sleep(0.01)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._n_databases += 1
        name = f"boiler{self._n_databases}"
        with psycopg.connect(host=str(self.folder), user="boiler", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://boiler@/{name}?host={self.folder}"

    def close(self) -> None:
        """Kill it and delete its files."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown: with all of its processes
        self._process.wait()
        shutil.rmtree(self.folder)

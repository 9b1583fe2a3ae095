"""`streamlit run boiler/app.py` finds the package, whatever is first on the path."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from pathlib import Path

import pytest
from browsing import collection, served

import boiler
from boiler import cli
from boiler.browser import options

APP = Path(boiler.__file__).parent / "app.py"


@pytest.mark.slow
def test_the_script_imports_the_package_and_not_modules_beside_it(tmp_path: Path) -> None:
    """Python puts the folder of a script first on its path, where `errors` and `audio` are parts of boiler."""
    environment = {**os.environ, "PYTHONPATH": str(APP.parent.parent)}
    command = [sys.executable, str(APP), "--help"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "usage: streamlit run boiler/app.py -- [-h] [--wav_dir WAV_DIR]" in run.stdout


@pytest.mark.slow
def test_an_unknown_argument_is_refused() -> None:
    run = subprocess.run([sys.executable, str(APP), "--nonsense"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--nonsense" in run.stderr


@pytest.mark.slow
def test_only_listed_host_names_are_answered() -> None:
    """A web site that points its own name at this machine could read pages and sounds."""
    folder, model_dir = collection()
    arguments = [str(model_dir), "--wav_dir", str(folder), "--allowed_hosts", "Sounds.example, 127.0.0.1"]
    with served(arguments) as url:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="

        def status(host: str, path: str, headers: dict[str, str] | None = None) -> int:
            with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)) as connection:
                connection.request("GET", path, headers={"Host": host} | (headers or {}))
                return connection.getresponse().status

        for path in ("/", "/_stcore/health"):
            assert [status(host, path) for host in ("sounds.example", "SOUNDS.example:80", "127.0.0.1:1")] == [200] * 3
            assert status("evil.example", path) == 400
        assert status("sounds.example", "/sounds/00000000/1/audio") == 404
        assert status("evil.example", "/sounds/00000000/1/audio") == 400
        assert status("sounds.example", "/_stcore/stream", upgrade) == 101
        assert status("evil.example", "/_stcore/stream", upgrade) in (400, 403)


@pytest.mark.parametrize("host", ["*.example.org", "http://sounds.example", "a b"])
def test_a_host_that_is_not_a_name_is_refused(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(options.ALLOWED_HOSTS, "")
        assert cli.main(["browse", "--allowed_hosts", host]) == 2
    assert "without a port" in capsys.readouterr().err

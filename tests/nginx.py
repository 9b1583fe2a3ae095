"""Helper for tests behind a real nginx."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")  # Debian's place is not on every path
START_S = 60.0

# The heads of a request as proxies pass them on. `Upgrade` is for the browser, whose pages need a WebSocket.
PASSED_ON = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    proxy_read_timeout 150s;
"""


def stripping(prefix: str, upstream: str) -> str:
    """A location that removes the prefix."""
    return f"location {prefix}/ {{ proxy_pass {upstream}/; }}"


def keeping(prefix: str, upstream: str) -> str:
    """A location that passes the prefix on."""
    return f"location {prefix}/ {{ proxy_pass {upstream}; }}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def proxy_with(*locations: str) -> Iterator[str]:
    """nginx with these locations, until the block ends; its URL without a prefix."""
    port = free_port()
    mapped = "map $http_upgrade $connection_header { default upgrade; '' ''; }"
    server = f"server {{ listen 127.0.0.1:{port}; client_max_body_size 51m; {PASSED_ON} {' '.join(locations)} }}"
    with running_nginx(f"events {{}} http {{ access_log off; {mapped} {server} }}", port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def deployed(*upstreams: str) -> Iterator[str]:
    """nginx with `deploy/nginx.conf` in front of services at these addresses (host:port), without its limits of
    requests, which one client of a test would exceed; its URL."""
    port = free_port()
    configuration = (Path(__file__).parent.parent / "deploy" / "nginx.conf").read_text()
    servers = " ".join(f"server {address};" for address in upstreams)
    configuration = configuration.replace("server boiler:8000;", servers).replace("listen 8080;", f"listen {port};")
    configuration = re.sub(r"^(worker_processes|pid) .*$", "", configuration, flags=re.MULTILINE)
    configuration = re.sub(r"rate=\d+r/s", "rate=100000r/s", configuration)
    with running_nginx(configuration, port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running_nginx(configuration: str, port: int) -> Iterator[None]:
    """nginx with this configuration, which listens on the port; skips the test where nginx is not installed."""
    if NGINX is None:
        pytest.skip("there is no nginx here (apt-get install nginx-light)")
    with tempfile.TemporaryDirectory(prefix="boiler-nginx-") as folder:
        path = Path(folder) / "nginx.conf"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
        path.write_text(configuration.replace("http {", f"http {{ {places}", 1))
        # One process, which does not become another user, so that it may write to its folder.
        flags = f"daemon off; master_process off; error_log {folder}/error.log;"
        flags += "" if "pid " in configuration else f" pid {folder}/pid;"
        process = subprocess.Popen(
            [NGINX, "-p", folder, "-c", str(path), "-e", f"{folder}/error.log", "-g", flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(port, process)
            yield
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=60)
            log = Path(folder) / "error.log"
            print(output.decode(), log.read_text() if log.exists() else "")  # pytest shows it where a test failed


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.02)
    raise AssertionError("nginx did not start")

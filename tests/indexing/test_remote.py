"""Sounds at an address give the index of a folder; what cannot be fetched is a failure of that file alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from remote_storage import WebServer, s3_server
from sounds import tone, write
from starlette.applications import Starlette
from starlette.testclient import TestClient

from boiler import index as index_command
from boiler.catalog import folder as folder_module
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import SoundNotHereError
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings, index
from boiler.indexing.repair import repair
from boiler.indexing.report import Report
from boiler.search.nearest import ByItem, Nearest
from boiler.service.media import media_routes
from boiler.store import generation

pytestmark = pytest.mark.slow  # each indexes

N_SOUNDS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "sounds"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    for n in range(N_SOUNDS):
        write(folder / "ab"[n % 2] / f"{n} \u00e9.wav", tone(200 + 60 * n, 0.3 + n / 20, 8_000), 8_000)
    (folder / "a" / "bad.wav").write_bytes(b"no sound")
    (folder / "b" / "twice.wav").write_bytes((folder / "a" / "0 \u00e9.wav").read_bytes())
    return folder


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder.parent)
    yield server
    server.close()


@pytest.fixture
def changing(folder: Path, tmp_path: Path) -> Iterator[tuple[Path, WebServer]]:
    """A copy of the folder, to be changed, and its server."""
    shutil.copytree(folder, tmp_path / "web" / "sounds")
    server = WebServer(tmp_path / "web")
    yield tmp_path / "web" / "sounds", server
    server.close()


def run(where: Path | str, model_dir: Path, **options: object) -> Report:
    return index(IndexSettings(where, "MFCCStats", model_dir=model_dir, device="cpu", workers=1, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("local") / "m"
    run(folder, model_dir)
    return model_dir


def assert_same(model_dir: Path, local: Path) -> None:
    """The same files, hashes, failures, rows and vectors."""
    contents = []
    for each in (model_dir, local):
        with Catalog(each / CATALOG_FILE, read_only=True) as catalog:
            files = catalog.db.execute("SELECT n, id, sha256, size_bytes FROM files ORDER BY n").fetchall()
            rows = list(catalog.rows())
            contents.append((files, catalog.failures(), [row[:3] for row in rows], [row[3] for row in rows]))
    assert contents[0][:3] == contents[1][:3]
    found, expected = (np.frombuffer(b"".join(each[3]), "<f4") for each in contents)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_address_is_indexed_searched_and_played_like_a_folder(
    folder: Path, web: WebServer, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir, address = tmp_path / "m", f"{web.url}/sounds"
    monkeypatch.setattr(folder_module, "_AHEAD_BYTES", 20_000)  # one or two files
    assert run(address, model_dir).tally.embedded == N_SOUNDS
    assert_same(model_dir, local)
    assert [path.name for path in model_dir.iterdir() if path.name.startswith(".fetched")] == []

    web.fetched.clear()
    again = run(address, model_dir)
    assert (again.tally.embedded, again.published, again.changes.unchanged) == (0, False, N_SOUNDS + 2)
    assert [path for path in web.fetched if path.endswith(".wav")] == []  # only pages

    with Nearest(model_dir) as remote, Nearest(local) as nearest:
        query = ByItem("a/2 \u00e9.wav")
        assert [m.id for m in remote.query(query, 5).matches] == [m.id for m in nearest.query(query, 5).matches]
        n = remote.item("a/2 \u00e9.wav").n
        with TestClient(Starlette(routes=media_routes(lambda: remote))) as client:
            for _ in range(2):
                answer = client.get(f"/items/{n}/audio")
                assert answer.content == (folder / "a" / "2 \u00e9.wav").read_bytes()
                assert client.get(f"/items/{n}/waveform?points=10").json()["high"]
                assert (
                    client.get(f"/items/{n}/audio", headers={"If-None-Match": answer.headers["etag"]}).status_code
                    == 304
                )
        assert web.fetched["/sounds/a/2%20%C3%A9.wav"] == 1
        web.failing = {"/sounds/b/1%20%C3%A9.wav": 404, "/sounds/b/3%20%C3%A9.wav": 500}
        for name, message in (("b/1", "is no longer at"), ("b/3", "cannot be fetched from .*: the server says 500")):
            with pytest.raises(SoundNotHereError, match=message):
                remote.path(f"{name} \u00e9.wav")
    web.failing = {}


def test_a_refresh_embeds_what_changed_and_a_server_that_fails_loses_nothing(
    changing: tuple[Path, WebServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, web = changing
    web.failing = {"/sounds/b/5%20%C3%A9.wav": 503}
    model_dir, words = tmp_path / "m", [f"{web.url}/sounds", "MFCCStats", "--model_dir", str(tmp_path / "m"), "--json"]
    assert index_command.main(words) == 1
    reasons = {one["id"]: one["reason"] for one in json.loads(capsys.readouterr().out)["failures"]}
    assert reasons["b/5 \u00e9.wav"] == "cannot be read: the server says 503 Service Unavailable"
    web.failing = {}
    write(folder / "a" / "4 \u00e9.wav", tone(900, 0.5, 8_000), 8_000)
    (folder / "a" / "6 \u00e9.wav").rename(folder / "a" / "moved.wav")
    changed = run(f"{web.url}/sounds", model_dir)
    assert (changed.changes.new, changed.changes.changed) == (["b/5 \u00e9.wav"], ["a/4 \u00e9.wav"])
    assert changed.changes.moved == [("a/6 \u00e9.wav", "a/moved.wav")]
    assert changed.tally.embedded == 2
    web.failing = {"/sounds/b/": 500}
    with pytest.raises(pipeline.CorpusError, match="cannot be listed"):
        run(f"{web.url}/sounds", model_dir)
    web.failing = {}

    catalog = model_dir / CATALOG_FILE
    catalog.write_bytes(b"damaged")
    repair(model_dir)
    assert index_command.main([str(model_dir), "--json"]) == 1  # the address is stored; the bad file is still bad
    repaired = json.loads(capsys.readouterr().out)
    assert (repaired["tally"]["embedded"], repaired["changes"]["unchanged"]) == (0, N_SOUNDS + 1)


def test_files_that_cannot_be_fetched_after_they_were_listed(
    folder: Path, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = pipeline._compare

    def compare_and_fail(*arguments: object) -> object:
        found = compare(*arguments)  # type: ignore[arg-type]
        web.failing = {"/sounds/b/7%20%C3%A9.wav": 503, "/sounds/b/9%20%C3%A9.wav": 404}
        return found

    monkeypatch.setattr(pipeline, "_compare", compare_and_fail)
    report = run(f"{web.url}/sounds", tmp_path / "m")
    web.failing = {}
    assert {one.id: one.reason for one in report.failures}["b/7 \u00e9.wav"].startswith(
        "it cannot be read: the server says 503"
    )
    assert (report.tally.vanished, report.tally.embedded) == (1, N_SOUNDS - 2)
    monkeypatch.setattr(pipeline, "_compare", compare)
    assert run(f"{web.url}/sounds", tmp_path / "m").tally.embedded == 2


def test_copies_that_a_killed_run_left_are_deleted(folder: Path, web: WebServer, tmp_path: Path) -> None:
    (left := tmp_path / "m" / ".fetched-left").mkdir(parents=True)
    (left / "one.wav").write_bytes(b"1")
    run(f"{web.url}/sounds", tmp_path / "m", include=("a",))
    assert not left.exists()


def test_an_index_of_a_bucket_holds_no_credentials(
    folder: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as s3:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-not-stored")
        s3.create_bucket(Bucket="sounds")
        for path in filter(Path.is_file, folder.rglob("*")):
            s3.put_object(Bucket="sounds", Key=f"x/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())
        run("s3://sounds/x", tmp_path / "m")
        with Nearest(tmp_path / "m") as nearest:
            assert nearest.path("b/twice.wav").read_bytes() == (folder / "b" / "twice.wav").read_bytes()
    with generation.open(tmp_path / "m").items() as database:
        assert database.meta()["wav_dir"] == "s3://sounds/x"
    stored = b"".join(path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file())
    assert b"s3://sounds/x" in stored
    assert b"a-secret" not in stored


def test_a_ray_cluster_fetches_the_sounds_of_an_address(web: WebServer, local: Path, tmp_path: Path) -> None:
    words = [f"{web.url}/sounds", "MFCCStats", "--model_dir", str(tmp_path / "m"), "--workers", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "boiler.index", *words, "--device", "cpu", "--on", "ray"],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # because of the bad file
    assert json.loads(done.stdout)["tally"]["embedded"] == N_SOUNDS
    assert_same(tmp_path / "m", local)

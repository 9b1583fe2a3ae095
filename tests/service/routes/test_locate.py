"""POST /locate and GET /items/{n}/places; missing and hostile files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving import assert_matches, assert_problem, publish, wav_bytes
from starlette.testclient import TestClient

from boiler.audio.synthesis import write_collection
from boiler.service.app import BoilerApp
from boiler.service.routes import locate
from boiler.service.settings import Settings


def test_sound_is_found_inside_a_recording(client: TestClient, number: Callable[[str], int]) -> None:
    recording = number("long.wav")
    ids = [item["id"] for item in client.get("/items").json()["items"]]
    n = number(sorted(one for one in ids if "/" in one)[1])
    sound = client.get(f"/items/{n}/audio").content
    for response in (
        client.post("/locate", params={"within": recording}, files={"file": sound}),
        client.get(f"/items/{n}/places", params={"within": recording}),
    ):
        answer = assert_matches(response, locate.LocateResponse)
        assert answer["results"][0]["id"] == "long.wav"
        assert answer["results"][0]["start_s"] == pytest.approx(7.0, abs=0.02)
        assert answer["complete"]
        assert answer["read_s"] == answer["total_s"] == answer["of_s"] == pytest.approx(20, abs=0.1)
    assert assert_problem(client.post("/locate?max_read_s=0", files={"file": sound}), 422) == "invalid-request"
    assert assert_problem(client.post("/locate", files={"file": b"no sound"}), 422) == "not-a-sound"


def test_missing_files_are_reported_without_paths(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    (tmp_path / "sounds" / "kind0").mkdir(parents=True)
    sound = wav_bytes(0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    (tmp_path / "sounds" / "kind0" / "s00000.wav").write_bytes(sound)
    settings = Settings(model_dir=tmp_path / "model", wav_dir=tmp_path / "sounds", log="none")
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        for response in (
            client.post("/locate?within=1&within=2", files={"file": sound}),
            client.get("/items/0/places?within=1"),
            client.get("/items/1/places"),
            client.get("/explain?n=0&answer=1"),
        ):
            assert assert_problem(response, 404) == "no-sound"
            assert str(tmp_path) not in response.text
        found = client.post("/locate", files={"file": sound})
        assert (found.json()["results"][0]["n"], found.json()["complete"]) == (0, False)
        assert str(tmp_path) not in found.text
        # Without an encoder nothing can choose which recordings to read.
        for name in ("max_read_s", "most_s"):  # the new and the old name
            assert assert_problem(client.post(f"/locate?{name}=10", files={"file": sound}), 422) == "no-encoder"
        assert assert_problem(client.post("/locate?max_read_s=10&most_s=10", files={"file": sound}), 422)


@pytest.mark.slow
def test_file_that_crashes_its_decoder_does_not_crash_the_service(tmp_path: Path, hostile: None) -> None:
    write_collection(tmp_path / "sounds", per_kind=1)
    dice = np.random.default_rng(0)
    for name in ("crash.wav", "whole.wav"):
        (tmp_path / "sounds" / name).write_bytes(wav_bytes(0.1 * dice.normal(size=40_000), 16_000))
    index = ["boiler.index", str(tmp_path / "sounds"), "MFCCStats", "--model_dir", str(tmp_path / "model")]
    subprocess.run([sys.executable, "-m", *index], check=True, capture_output=True)
    settings = Settings(model_dir=tmp_path / "model", log="none")
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        crash, whole = (client.get(f"/items?text={name}").json()["items"][0]["n"] for name in ("crash", "whole"))
        for path in (
            f"/explain?n={whole}&answer={crash}",
            f"/explain?n={crash}&answer={whole}&start_s=0.5&end_s=1",
            f"/items/{crash}/places",
        ):
            refused = client.get(path)
            assert assert_problem(refused, 422) == "sound-error", path
            assert "SIGSEGV" in refused.json()["detail"]
        found = client.get(f"/items/{whole}/places").json()
        assert (found["complete"], found["unread"]) == (False, ["crash.wav"])
        assert client.get(f"/explain?n={whole}&answer=1").status_code == 200

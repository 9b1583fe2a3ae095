"""An encoder defines its sampling rate, window and hop; indexing, search, HTTP and evaluation use them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import own_encoders
import pytest
import soxr
from PIL import Image
from pretrained_files import RATES_HZ
from sounds import tone, write
from starlette.testclient import TestClient

from boiler import encoder, index
from boiler.audio.windows import WindowSpec
from boiler.errors import CatalogError, UnknownNameError
from boiler.evaluation.evaluate import EvaluateSettings, evaluate
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings
from boiler.model import checkpoint
from boiler.search.nearest import ByItem, BySamples, BySound, Nearest
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings
from boiler.store import generation
from boiler.store.header import Header

# Kinds above and below 8 kHz: only an encoder with a rate above 16 kHz can distinguish the upper ones.
HIGH_HZ = {"ten": 10_100.0, "fourteen": 14_100.0, "eighteen": 18_100.0}
LOW_HZ = {"one": 500.0, "three": 3_300.0, "six": 6_500.0}
KINDS = {"own_encoders:HighBands": HIGH_HZ, "own_encoders:LongBands": LOW_HZ}
SPECS = {
    "own_encoders:HighBands": WindowSpec(48_000, 48_000, 0.5),
    "own_encoders:LongBands": WindowSpec(16_000, 163_840, 2.56),
}
RATE_HZ = 48_000
SECONDS = 12.0


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sounds of each kind, 12 and 2.2 s; `mixed` has one kind after another."""
    made = tmp_path_factory.mktemp("contract") / "sounds"
    made.mkdir()
    kinds = KINDS[name]
    for kind, hz in kinds.items():
        (made / kind).mkdir()
        write(made / kind / "long.wav", 0.5 * tone(hz, SECONDS, RATE_HZ), RATE_HZ)
        write(made / kind / "short.wav", 0.3 * tone(hz * 1.01, 2.2, RATE_HZ), RATE_HZ)
    write(made / "mixed.wav", np.concatenate([0.5 * tone(hz, 4.0, RATE_HZ) for hz in kinds.values()]), RATE_HZ)
    return made


@pytest.fixture(scope="module")
def model_dir(name: str, folder: Path) -> Path:
    assert index.main([str(folder), name, "--model_dir", str(folder.parent / "model"), "--workers", "1"]) == 0
    return folder.parent / "model"


@pytest.fixture(scope="module")
def nearest(model_dir: Path) -> Iterator[Nearest]:
    with Nearest(model_dir) as made:
        yield made


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none"))) as made:
        yield made


def test_the_windows_are_written_into_the_index_and_into_the_encoder(name: str, model_dir: Path) -> None:
    header = json.loads((model_dir / "boiler.json").read_text())
    _, inside = checkpoint.load_script(model_dir / "encoder.pt")
    for said in (header, inside):
        spec = WindowSpec(said["sample_rate_hz"], said["window_samples"], said["hop_s"])
        assert spec == SPECS[name] == encoder.find_encoder(name).window_spec()
    assert header["windows"] == "all"


def test_each_sound_has_the_windows_that_the_encoder_defines(name: str, nearest: Nearest) -> None:
    spec, rows = SPECS[name], generation.open(nearest.model_dir).rows
    for sound, seconds in (("long", SECONDS), ("short", 2.2)):
        for kind in KINDS[name]:
            n = nearest.item(f"{kind}/{sound}.wav").n
            assert (rows["n"] == n).sum() == spec.n_windows(round(seconds * spec.sample_rate_hz))
    lengths = set(np.round(rows["end_s"].astype(float) - rows["start_s"], 3).tolist())
    assert lengths == ({1.0} if name == "own_encoders:HighBands" else {2.2, 10.24})


def test_items_find_items_of_their_kind(name: str, nearest: Nearest) -> None:
    for kind in KINDS[name]:
        near = {match.id: match.distance for match in nearest.by_item(f"{kind}/short.wav", 6)}
        assert near.pop(f"{kind}/long.wav") < 0.2
        near.pop("mixed.wav")
        assert min(near.values()) > 0.5


def test_a_sound_is_found_by_its_file_by_a_part_and_by_its_samples(name: str, nearest: Nearest, folder: Path) -> None:
    for kind, hz in KINDS[name].items():
        path = folder / kind / "long.wav"
        samples = 0.2 * tone(hz, 3.0, RATE_HZ)
        for seed in (
            BySound(path),
            BySound(path, 1.0, 3.5),
            BySamples(samples, RATE_HZ),
            ByItem(f"{kind}/long.wav", 0.5, 2.0),
        ):
            found = [match.id for match in nearest.query(seed, 2).matches]
            assert {f"{kind}/long.wav", f"{kind}/short.wav"} & set(found), seed
    spec = SPECS[name]
    resampled = soxr.resample(samples, RATE_HZ, spec.sample_rate_hz)
    assert len(nearest.embed_samples(resampled.astype(np.float32))) == spec.n_windows(len(resampled))


def test_an_explanation_names_the_codes_and_the_seconds(name: str, nearest: Nearest) -> None:
    second = list(KINDS[name])[1]
    explanation = nearest.explain(ByItem("mixed.wav"), f"{second}/long.wav")
    assert explanation.kind == "codes"
    assert explanation.codes[0].share > 0.5
    (part,) = explanation.codes[0].query_spans
    # In `mixed` the second kind is at 4 to 8 s.
    assert part.start_s >= 3.8
    assert part.end_s <= 8.2
    assert all(
        moment.similarity > 0.9 for moment in explanation.query_curve if moment.start_s > 4.1 and moment.end_s < 7.9
    )


def test_a_short_sound_is_located(name: str, nearest: Nearest, folder: Path) -> None:
    rate_hz = 44_100
    random = np.random.default_rng(4)
    burst = 0.3 * random.standard_normal(rate_hz // 2)
    recording = 0.01 * random.standard_normal(rate_hz * 5)
    recording[2 * rate_hz : 2 * rate_hz + len(burst)] += burst
    write(folder / "mixed.wav", recording, rate_hz)  # the bytes are read again, not the vectors
    places = nearest.locate(BySamples(burst, rate_hz), 1, within=["mixed.wav"])
    assert [(place.id, place.start_s) for place in places] == [("mixed.wav", pytest.approx(2.0, abs=1e-3))]


@pytest.mark.slow
def test_the_service_gives_the_same_answers(name: str, client: TestClient, nearest: Nearest, folder: Path) -> None:
    model = client.get("/model").json()
    spec = SPECS[name]
    assert (model["sample_rate_hz"], model["window_samples"], model["hop_s"]) == (
        spec.sample_rate_hz,
        spec.window_samples,
        spec.hop_s,
    )
    kind = next(iter(KINDS[name]))
    sound = {"file": ("x.wav", (folder / kind / "long.wav").read_bytes())}
    rows = client.post("/nearest/audio?k=3", files=sound).json()
    assert [row["id"] for row in rows] == [match.id for match in nearest.by_sound(folder / kind / "long.wav", 3)]
    embedded = client.post("/embed", files=sound).json()
    assert len(embedded["windows"]) == spec.n_windows(round(SECONDS * spec.sample_rate_hz))
    n = nearest.item(f"{kind}/long.wav").n
    other = nearest.item(f"{kind}/short.wav").n
    explanation = client.get(f"/explain?n={n}&answer={other}")
    assert explanation.status_code == 200, explanation.text
    assert explanation.json()["kind"] == "codes"
    assert [old["word"] for old in explanation.json()["words"]] == [new["code"] for new in explanation.json()["codes"]]
    part = client.post("/nearest/query", json={"seeds": [{"n": n, "start_s": 0.5, "end_s": 2.0}], "k": 2})
    assert part.status_code == 200, part.text
    places = client.post("/locate?end_s=1", files=sound)
    assert places.status_code == 200, places.text
    assert Image.open(io.BytesIO(client.get(f"/items/{n}/spectrogram.png").content)).format == "PNG"


def test_an_index_of_the_encoder_can_be_evaluated(name: str, model_dir: Path, nearest: Nearest) -> None:
    scorecard = evaluate(EvaluateSettings(model_dir, baseline="always", robustness=3)).scorecard
    assert scorecard.robustness["as it is"].lowest_cosine > 0.999
    assert scorecard.codebook is not None
    assert scorecard.baseline_hubness is not None


def test_a_hop_longer_than_the_window_is_refused(name: str, model_dir: Path, folder: Path) -> None:
    with pytest.raises(CatalogError, match="at most a window"):
        pipeline.index(IndexSettings(folder, encoder=name, model_dir=model_dir.parent / "other", hop_s=11.0))
    assert not (model_dir.parent / "other").exists()


@pytest.mark.parametrize("wrong", ["own_encoders:Missing", "missing_module:Bands", "own_encoders:BANDS", "Bands", ":"])
def test_an_unknown_encoder_is_refused_with_a_list_of_known_ones(wrong: str) -> None:
    with pytest.raises(UnknownNameError, match="MFCCStats"):
        encoder.find_encoder(wrong)


def test_built_in_encoders_and_old_headers_have_the_default_windows() -> None:
    by_file = {"ASTEncoder", "WhisperEncoder", "ONNXEncoder", "TorchScriptEncoder"}  # whose file decides
    assert encoder.find_encoder("L3Encoder").window_spec() == WindowSpec(48_000, 48_000, 0.5)
    rates_hz = RATES_HZ | {"GeneralVQVAE": 32_000}
    for name, rate_hz in rates_hz.items():
        assert encoder.find_encoder(name).window_spec() == WindowSpec(rate_hz, 2**18, 2**17 / rate_hz)
    for known in encoder.ENCODERS.keys() - by_file - rates_hz.keys() - {"L3Encoder"}:
        assert encoder.find_encoder(known).window_spec() == WindowSpec(16_000, 2**17, 4.096)
    now = json.loads(Header(encoder="x", dim=2).to_json())
    before = {key: value for key, value in now.items() if key not in ("sample_rate_hz", "window_samples", "hop_s")}
    assert Header.from_json(json.dumps(before), Path("boiler.json")).window_spec == WindowSpec()


def test_the_default_hop_is_half_a_window() -> None:
    assert own_encoders.HighBands.window_spec().hop_s == 0.5
    assert own_encoders.LongBands.window_spec().hop_s == 2.56

"""Audio of an item in byte ranges, its waveform and its spectrogram."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from boiler.audio import stream as stream_module
from boiler.audio import transcode
from boiler.audio.media_pool import WORKERS
from boiler.audio.spectrogram import _to_columns, peaks, spectrogram_png
from boiler.errors import NotASoundError
from boiler.search.nearest import Nearest
from boiler.service import media
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

RATE_HZ = 44_100
SECONDS = 3.0
TONE_HZ = 1_000.0
# name, container, codec, what it is served as
FILES = [
    ("plain.wav", "wav", "pcm_s16le", "audio/wav"),
    ("plain.aiff", "aiff", "pcm_s16be", "audio/flac"),
    ("lossy.mp3", "mp3", "libmp3lame", "audio/mpeg"),
    ("plain.flac", "flac", "flac", "audio/flac"),
    ("phone.m4a", "mp4", "aac", "audio/mp4"),
    ("odd.wav", "wav", "adpcm_ms", "audio/flac"),
]


def tone(seconds: float = SECONDS, rate_hz: int = RATE_HZ) -> npt.NDArray[np.float32]:
    """A second of silence, then a tone, so that times can be checked."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(0.5 * np.sin(2 * np.pi * TONE_HZ * time) * (time >= 1.0), np.float32)


def write(path: Path, samples: npt.NDArray[np.float32], form: str, codec: str, rate_hz: int = RATE_HZ) -> None:
    with av.open(str(path), "w", format=form) as target:
        stream = target.add_stream(codec, rate=rate_hz, layout="stereo")
        packed = np.repeat(np.rint(samples * 32_767).astype(np.int16)[:, None], 2, axis=1)
        frame = av.AudioFrame.from_ndarray(packed.reshape(1, -1), "s16", "stereo")
        frame.sample_rate = rate_hz
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "stereo", rate_hz, context.frame_size or 1_024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(piece))
        target.mux(stream.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name, form, codec, _ in FILES:
        write(folder / name, tone(), form, codec)
    (folder / "gone.wav").write_bytes(b"")
    (folder / "broken.wav").write_bytes(b"RIFF not a sound at all" * 20)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    model_dir = tmp_path_factory.mktemp("media") / "model"
    names = [name for name, *_ in FILES] + ["gone.wav", "broken.wav"]
    vectors = np.eye(len(names), 8, dtype=np.float32)
    generation.publish(
        model_dir,
        Header(encoder="none", dim=8),
        vectors,
        rows_of(np.arange(len(names)), end_s=SECONDS),
        [Item(n, name, duration_s=SECONDS) for n, name in enumerate(names)],
    )
    (folder / "gone.wav").unlink(missing_ok=True)
    nearest = Nearest(model_dir, wav_dir=folder)
    with TestClient(Starlette(routes=media.media_routes(lambda: nearest, prefix="/x/items"))) as client:
        yield client
    nearest.close()


@pytest.fixture(autouse=True)
def own_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transcoded copies are kept in a folder of this test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def address(name: str) -> str:
    names = [one for one, *_ in FILES] + ["gone.wav", "broken.wav"]
    return f"/x/items/{names.index(name)}"


def assert_problem(response: Any, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


# ------------------------------------------------------------------------------------------------- the sound


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, _, _, kind in FILES])
def test_every_format_is_sent_in_a_format_that_browsers_play(
    client: TestClient, folder: Path, name: str, kind: str
) -> None:
    response = client.get(address(name) + "/audio")
    assert response.status_code == 200
    assert response.headers["content-type"] == kind
    assert response.headers["accept-ranges"] == "bytes"
    assert int(response.headers["content-length"]) == len(response.content)
    if kind != "audio/flac" or name == "plain.flac":
        assert response.content == (folder / name).read_bytes()
    else:
        heard, stored = stream_module.load(response.content), stream_module.load(folder / name)
        assert len(heard) == len(stored)
        np.testing.assert_allclose(heard, stored, atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=0-", 206, slice(0, None)),
        ("bytes=10-19", 206, slice(10, 20)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-999999999", 206, slice(0, None)),
        ("bytes=10-999999999999", 206, slice(10, None)),
        # ignored: not a single range of bytes
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=9-3", 200, slice(None)),
        ("bytes=a-b", 200, slice(None)),
        ("bytes=", 200, slice(None)),
        ("bytes", 200, slice(None)),
        ("items=0-3", 200, slice(None)),
        ("bytes=--5", 200, slice(None)),
        ("bytes=" + "9" * 3_000 + "-", 200, slice(None)),
    ],
)
def test_byte_ranges(client: TestClient, folder: Path, asked: str, status: int, expected: slice) -> None:
    stored = (folder / "plain.wav").read_bytes()
    for method in ("GET", "HEAD"):
        response = client.request(method, address("plain.wav") + "/audio", headers={"Range": asked})
        assert response.status_code == status
        assert int(response.headers["content-length"]) == len(stored[expected])
        assert response.content == (stored[expected] if method == "GET" else b"")
        if status == 206:
            first = range(len(stored))[expected][0]
            last = range(len(stored))[expected][-1]
            assert response.headers["content-range"] == f"bytes {first}-{last}/{len(stored)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
def test_unsatisfiable_byte_range(client: TestClient, folder: Path, asked: str) -> None:
    response = client.get(address("plain.wav") + "/audio", headers={"Range": asked})
    assert_problem(response, 416)
    assert response.headers["content-range"] == f"bytes */{(folder / 'plain.wav').stat().st_size}"


def test_a_cached_file_is_304_and_a_changed_file_is_sent_again(client: TestClient, folder: Path) -> None:
    where = address("plain.wav") + "/audio"
    tag = client.get(where).headers["etag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        response = client.get(where, headers={"If-None-Match": held})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", tag)
    assert client.get(where, headers={"If-None-Match": '"other"'}).status_code == 200
    # a range of what the client holds a part of, and of something else than that
    assert client.get(where, headers={"Range": "bytes=5-9", "If-Range": tag}).status_code == 206
    assert client.get(where, headers={"Range": "bytes=5-9", "If-Range": '"old"'}).status_code == 200
    samples = tone()
    write(folder / "plain.wav", samples * 0.5, "wav", "pcm_s16le")
    try:
        changed = client.get(where, headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag
    finally:
        write(folder / "plain.wav", samples, "wav", "pcm_s16le")


@pytest.mark.parametrize("name", [name for name, *_ in FILES])
def test_a_part_of_a_sound_is_sent(client: TestClient, folder: Path, name: str) -> None:
    response = client.get(address(name) + "/audio?start_s=0.5&end_s=1.5")
    assert response.headers["content-type"] == "audio/flac"
    heard, meant = stream_module.load(response.content), stream_module.load(folder / name, start_s=0.5, end_s=1.5)
    assert len(heard) == pytest.approx(len(meant), abs=2)
    onsets = [np.flatnonzero(np.abs(one) > 0.2)[0] / stream_module.SAMPLE_RATE_HZ for one in (heard, meant)]
    assert onsets[0] == pytest.approx(onsets[1], abs=0.002)


def test_a_part_after_the_end_is_a_problem(client: TestClient) -> None:
    assert_problem(client.get(address("plain.wav") + "/audio?start_s=99"), 422)


def test_a_file_is_transcoded_once_and_again_when_it_changed(folder: Path, tmp_path: Path) -> None:
    changing = tmp_path / "sound.aiff"
    write(changing, tone(), "aiff", "pcm_s16be")
    first = transcode.flac_copy(changing)
    made = first.stat().st_ino
    assert transcode.flac_copy(changing) == first
    assert first.stat().st_ino == made
    write(changing, tone(2.0), "aiff", "pcm_s16be")
    assert transcode.flac_copy(changing) != first
    assert first.parent.stat().st_mode & 0o777 == 0o700


def test_old_copies_are_deleted_but_not_those_in_use(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = transcode.flac_copy(folder / "plain.aiff", 0.0, 1.0)
    new = transcode.flac_copy(folder / "plain.aiff", 0.0, 2.0)
    monkeypatch.setattr(transcode, "MAX_KEPT_BYTES", 2 * new.stat().st_size)
    assert transcode.flac_copy(folder / "plain.aiff", 0.0, 2.0) == new
    with pytest.raises(transcode.NoRoomError):
        for n in range(30):  # all were requested a moment ago
            transcode.flac_copy(folder / "plain.aiff", 0.0, 2.0 + n / 100)
    assert old.exists()
    monkeypatch.setattr(transcode, "_IN_USE_S", 0.0)
    newest = transcode.flac_copy(folder / "plain.aiff", 0.0, 2.5)
    assert not old.exists()
    assert newest.exists()


@pytest.mark.parametrize("clock_went_back", [False, True])
def test_copies_keep_their_bound_while_one_is_written(
    clock_went_back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode, "MAX_KEPT_BYTES", 1_000_000)
    monkeypatch.setattr(transcode, "_WATCH_S", 0.001)
    names = [f"{n:032x}.flac" for n in range(10)]
    for n, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(85_000))
        used = time.time() + (3_600 if clock_went_back else -3_600) + n
        os.utime(tmp_path / name, (used, used))

    def total() -> int:
        n_bytes = 0
        for one in tmp_path.iterdir():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                n_bytes += one.stat().st_size
        return n_bytes

    with transcode.replacing_copy(tmp_path / f"{99:032x}.flac") as aside, aside.open("wb") as file:
        for _ in range(8):
            file.write(bytes(100_000))
            file.flush()
            end = time.monotonic() + 30
            while total() > 1_000_000:
                assert time.monotonic() < end, "the bound is not kept"
                time.sleep(0.001)
    assert (tmp_path / f"{99:032x}.flac").stat().st_size == 800_000
    kept = sorted(one.name for one in tmp_path.iterdir())[:-1]
    if not clock_went_back:
        assert kept == names[len(names) - len(kept) :]  # the oldest were deleted


def test_only_unfinished_copies_of_killed_processes_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode, "MAX_KEPT_BYTES", 1_000)
    for name, age_s in (("unfinished.flac", 600), ("abandoned.flac", 7_200)):
        (tmp_path / name).write_bytes(bytes(2_000))
        begun_s = time.time() - 7_200  # writing changes only the second time
        os.utime(tmp_path / name, (begun_s, time.time() - age_s))
    assert not transcode.evict(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["unfinished.flac"]


def test_a_cache_folder_that_others_may_write_to_is_not_used(folder: Path, tmp_path: Path) -> None:
    kept = transcode.flac_copy(folder / "plain.aiff", 0.0, 1.0).parent
    kept.chmod(0o777)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        transcode.flac_copy(folder / "plain.aiff", 0.0, 2.0)


@pytest.mark.parametrize("what", ["audio", "waveform", "spectrogram.png"])
def test_a_missing_file_or_one_that_is_no_sound_is_a_problem(client: TestClient, what: str) -> None:
    for n in ("999", "-1", "x", "..%2f..%2fetc%2fpasswd", "%2e%2e", "1e3", "9" * 30):
        assert client.get(f"/x/items/{n}/{what}").status_code == 404
    assert_problem(client.get(f"{address('gone.wav')}/{what}"), 404)
    assert_problem(client.get(f"{address('broken.wav')}/{what}"), 422)


@pytest.mark.parametrize(
    "query", ["start_s=-1", "start_s=nan", "start_s=x", "start_s=2&end_s=2", "end_s=0", "start_s=1e99"]
)
def test_an_invalid_part_is_a_problem(client: TestClient, query: str) -> None:
    for what in ("audio", "waveform", "spectrogram.png"):
        assert_problem(client.get(f"{address('plain.wav')}/{what}?{query}"), 422)


def test_errors_never_name_the_folder(client: TestClient, folder: Path) -> None:
    for name in ("gone.wav", "broken.wav"):
        for what in ("audio", "waveform", "spectrogram.png"):
            assert str(folder) not in client.get(f"{address(name)}/{what}").text


# ------------------------------------------------------------------------------------------------- the waveform


def test_peaks_are_the_extremes_of_each_column(folder: Path) -> None:
    samples = stream_module.load(folder / "plain.wav")
    drawn = peaks(folder / "plain.wav", 30)
    blocks = np.array_split(samples, 30)
    np.testing.assert_allclose(drawn.low, [block.min() for block in blocks], atol=0.02)
    np.testing.assert_allclose(drawn.high, [block.max() for block in blocks], atol=0.02)
    assert (drawn.start_s, drawn.end_s) == (0.0, pytest.approx(SECONDS, abs=1e-3))


def test_more_columns_than_samples_and_a_part_of_a_sound(folder: Path) -> None:
    drawn = peaks(folder / "plain.wav", 5_000, start_s=1.2, end_s=1.3)
    assert drawn.low.shape == drawn.high.shape == (5_000,)
    assert (drawn.start_s, drawn.end_s) == (1.2, pytest.approx(1.3, abs=1e-3))
    assert drawn.high.max() == pytest.approx(0.5, abs=0.02)


def test_the_waveform_is_json(client: TestClient) -> None:
    response = client.get(address("lossy.mp3") + "/waveform?points=60")
    answer = response.json()
    assert (answer["points"], len(answer["low"]), len(answer["high"])) == (60, 60, 60)
    quiet, loud = np.abs(answer["high"][:18]), np.abs(answer["high"][24:55])
    assert quiet.max() < 0.05 < 0.4 < loud.min()
    again = client.get(
        address("lossy.mp3") + "/waveform?points=60", headers={"If-None-Match": response.headers["etag"]}
    )
    assert again.status_code == 304
    other = client.get(
        address("lossy.mp3") + "/waveform?points=61", headers={"If-None-Match": response.headers["etag"]}
    )
    assert other.status_code == 200


# ------------------------------------------------------------------------------------------------- the spectrogram


def picture(png: bytes) -> npt.NDArray[np.uint8]:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("L"))


def test_the_tone_is_at_its_frequency_from_its_start(client: TestClient) -> None:
    response = client.get(address("plain.flac") + "/spectrogram.png?width=300&height=120")
    assert response.headers["content-type"] == "image/png"
    drawn = picture(response.content)
    assert drawn.shape == (120, 300)
    rows = np.geomspace(8_000.0, 50.0, 120)  # top to bottom
    assert rows[drawn[:, 200].argmax()] == pytest.approx(TONE_HZ, rel=0.05)
    assert drawn[:, :85].max() < 60  # silence
    assert drawn[:, 110:290].max(axis=0).min() > 180


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.5, 20.0])
def test_any_duration_fills_the_image(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "sound.wav"
    write(
        path, np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32), "wav", "pcm_s16le"
    )
    drawn = picture(spectrogram_png(path, 200, 64))
    assert drawn.shape == (64, 200)
    assert (drawn.max(axis=0) > 50).all()


def test_silence_is_dark_and_images_are_reproducible(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "silence.wav"
    write(path, np.zeros(RATE_HZ, np.float32), "wav", "pcm_s16le")
    assert picture(spectrogram_png(path, 50, 50)).max() < 10
    assert spectrogram_png(folder / "lossy.mp3") == spectrogram_png((folder / "lossy.mp3").read_bytes())


def test_columns_are_means_of_frames_or_interpolated() -> None:
    power = np.arange(12, dtype=np.float32)[:, None]
    np.testing.assert_allclose(_to_columns(power, 4)[:, 0], [1, 4, 7, 10])
    np.testing.assert_allclose(_to_columns(power[:2], 3)[:, 0], [0, 0.5, 1])
    assert _to_columns(power[:1], 7).shape == (7, 1)


def test_a_file_that_is_no_sound_is_refused_by_name(folder: Path) -> None:
    for draw in (peaks, spectrogram_png):
        with pytest.raises(NotASoundError, match="broken"):
            draw(folder / "broken.wav")


def test_a_sound_with_a_tag_that_is_not_utf8_is_sent(tmp_path: Path) -> None:
    """WAV tags state no encoding, and old programs wrote Latin-1."""
    write(tmp_path / "x.wav", tone(), "wav", "pcm_s16le")
    plain = (tmp_path / "x.wav").read_bytes()
    title = "Bj\xf6rk ".encode("latin-1")
    tag = b"LIST" + (4 + 8 + len(title)).to_bytes(4, "little") + b"INFOINAM" + len(title).to_bytes(4, "little") + title
    tagged = plain[:12] + tag + plain[12:]
    (tmp_path / "x.wav").write_bytes(tagged[:4] + (len(tagged) - 8).to_bytes(4, "little") + tagged[8:])
    assert len(stream_module.load(tmp_path / "x.wav")) == SECONDS * stream_module.SAMPLE_RATE_HZ
    assert transcode.media_type(tmp_path / "x.wav") == "audio/wav"
    copied = transcode.flac_copy(tmp_path / "x.wav", 1.0, 2.0)
    assert len(stream_module.load(copied)) == stream_module.SAMPLE_RATE_HZ


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_not_reported_as_a_bad_sound(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", tone(), "wav", "pcm_s16le")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(transcode.NoRoomError):
        transcode.write_flac(tmp_path / "x.wav", full, 0.0, None)


def test_a_full_disk_is_503_without_paths(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> tuple[dict[str, str], object]:
        return {"no_room": f"{tmp_path} is full"}, None  # as its process says it

    monkeypatch.setattr(media.media_pool(), "_once", full)
    response = client.get(address("plain.wav") + "/audio?start_s=1.25")
    assert_problem(response, 503)
    assert response.json()["type"].endswith(":no-room")
    assert str(tmp_path) not in response.text


def test_audio_does_not_wait_for_spectrograms(client: TestClient, folder: Path) -> None:
    os.utime(folder / "plain.wav", (1, 1))  # so that what kind of file it is has to be looked at
    with media.media_pool()._acquired(WORKERS) as drawing:
        assert len(drawing) == WORKERS
        assert client.get(address("plain.wav") + "/audio").status_code == 200

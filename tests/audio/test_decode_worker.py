"""`DecodeHandler` follows the protocol of the worker."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, wav_bytes, write

from boiler.audio import stream
from boiler.audio.decode_worker import ANSWER_SAMPLES, DecodeHandler
from boiler.audio.stream import SAMPLE_RATE_HZ, Limits
from boiler.audio.windows import WINDOW_SAMPLES, WindowSpec

LIMITS = Limits()
SPEC = WindowSpec()
ANSWER_S = ANSWER_SAMPLES / SAMPLE_RATE_HZ


def test_several_short_sounds_are_sent_in_one_answer(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.wav", tone(300 + n, 0.5, 22_050), 22_050) for n in range(5)]
    parts, samples = DecodeHandler().answer("files", [str(path) for path in paths], SPEC, LIMITS)
    assert [part["samples"] for part in parts] == [8_000] * 5
    assert np.array_equal(samples, np.concatenate([stream.load(path) for path in paths]))
    for part, path in zip(parts, paths, strict=True):
        assert part["probe"] == (0.5, 22_050, 1, "wav/pcm_s16le")
        assert part["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert part["size_bytes"] == path.stat().st_size
        assert part["mtime_s"] == pytest.approx(path.stat().st_mtime)
    assert json.loads(json.dumps(parts)) is not None


def test_a_long_sound_is_sent_in_several_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", tone(300, 2.5 * ANSWER_S, 8_000), 8_000)
    short = write(tmp_path / "short.wav", tone(300, 0.5, 8_000), 8_000)
    handler = DecodeHandler()
    parts, first = handler.answer("files", [str(path), str(short)], SPEC, LIMITS)
    assert len(parts) == 1  # the short one has to be requested again
    assert set(parts[0]) == {"samples"}
    got = [first]
    while "probe" not in parts[-1]:
        parts, samples = handler.answer("more")
        assert len(parts) == 1
        assert len(samples) <= (ANSWER_S + 5) * SAMPLE_RATE_HZ
        got.append(samples)
    assert np.array_equal(np.concatenate(got), stream.load(path))
    assert parts[0]["probe"][0] == 2.5 * ANSWER_S


def test_for_the_first_window_only_that_is_decoded_and_the_stated_duration_is_reported(tmp_path: Path) -> None:
    long = write(tmp_path / "long.wav", tone(300, 100.0, 8_000), 8_000)
    short = write(tmp_path / "short.wav", tone(300, 3.0, 8_000), 8_000)
    parts, samples = DecodeHandler().answer("files", [str(long), str(short)], WindowSpec(which="first"), LIMITS)
    assert [part["probe"][0] for part in parts] == [100.0, 3.0]
    assert parts[0]["samples"] == WINDOW_SAMPLES + 1
    assert np.array_equal(samples[:WINDOW_SAMPLES], stream.load(long)[:WINDOW_SAMPLES])


def test_files_are_decoded_at_the_rate_of_the_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", tone(300, 3.0, 44_100), 44_100)
    spec = WindowSpec(48_000, 48_000, 0.5)
    (part,), samples = DecodeHandler().answer("files", [str(path)], spec, LIMITS)
    assert part["probe"][:2] == (3.0, 44_100)
    assert np.array_equal(samples, stream.load(path, sample_rate_hz=48_000))
    (part,), samples = DecodeHandler().answer("files", [str(path)], replace(spec, which="first"), LIMITS)
    assert part["probe"][0] == 3.0
    assert len(samples) == 48_001


def test_errors_are_sent_with_type_path_and_reason(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("no sound")
    good = write(tmp_path / "good.wav", tone(300, 0.5, 8_000), 8_000)
    wide = tmp_path / "wide.wav"
    wide.write_bytes(wav_bytes(bytes(70_000), channels=65))
    parts, samples = DecodeHandler().answer(
        "files", [str(text), str(good), str(wide), str(tmp_path / "gone")], SPEC, LIMITS
    )
    errors = [part.get("error", ("", "", ""))[:2] for part in parts]
    assert errors == [
        ("NotASoundError", str(text)),
        ("", ""),
        ("SoundLimitError", str(wide)),
        ("NotASoundError", str(tmp_path / "gone")),
    ]
    assert len(samples) == 8_000


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", tone(300, 3.0 * ANSWER_S, 8_000), 8_000)
    handler = DecodeHandler()
    parts, _ = handler.answer("files", [str(path)], SPEC, LIMITS)
    with path.open("ab") as file:
        file.write(b"more")
    while len(parts[-1]) == 1:
        parts, _ = handler.answer("more")
    assert parts[-1]["error"][0] == "NotASoundError"
    assert "changed while it was read" in parts[-1]["error"][2]


def test_load_and_probe_agree_with_the_stream_module(tmp_path: Path) -> None:
    path = write(tmp_path / "x.flac", tone(300, 5.0, 44_100), 44_100, "flac")
    for source in (str(path), path.read_bytes()):
        (part,), samples = DecodeHandler().answer("load", source, 1.5, 2.5, 16_000, LIMITS)
        assert part == {"samples": 16_000}
        assert np.array_equal(samples, stream.load(path, start_s=1.5, end_s=2.5))
        (part,), samples = DecodeHandler().answer("load", source, 1.5, 2.5, 48_000, LIMITS)
        assert part == {"samples": 48_000}
        assert np.array_equal(samples, stream.load(path, start_s=1.5, end_s=2.5, sample_rate_hz=48_000))
        (part,), _ = DecodeHandler().answer("probe", source, LIMITS)
        assert part["probe"] == (5.0, 44_100, 1, "flac/flac")
    (part,), _ = DecodeHandler().answer("load", b"no sound", 0.0, None, 16_000, LIMITS)
    assert part["error"][:2] == ("NotASoundError", "the sound given")


def test_a_worker_imports_neither_torch_nor_anything_heavy() -> None:
    heavy = [
        "torch",
        "torchaudio",
        "soundfile",
        "scipy",
        "matplotlib",
        "streamlit",
        "fastapi",
        "boiler.audio.decoder_pool",
    ]
    code = f"import sys, boiler.audio.decode_worker; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

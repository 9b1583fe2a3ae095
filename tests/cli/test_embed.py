"""`boiler embed`: files and folders to .npz, what failed at the end, and the exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keras_files import l3_layers, write_layers
from PIL import Image
from sounds import tone, write
from videos import plain_frames, write_video

from boiler.cli import main
from boiler.model import l3


@pytest.mark.slow
def test_outputs_keep_the_folder_structure_and_a_second_run_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b/a.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "in" / name, tone(440, 1.2, 16_000), 16_000)
    (tmp_path / "in" / "notes.txt").write_text("no sound")
    flags = ["embed", str(tmp_path / "in"), "--output-dir", str(tmp_path / "out"), "--model", "MFCCStats"]
    assert main([*flags, "--hop_size", "0.3"]) == 0
    assert "2 embedded, 0 there already" in capsys.readouterr().out
    for name in ("a.npz", "b/a.npz"):
        with np.load(tmp_path / "out" / name) as saved:
            assert saved["embedding"].shape == (4, 80)
            assert saved["timestamps"] == pytest.approx([0, 0.3, 0.6, 0.9])
    assert main(flags) == 0
    assert "0 embedded, 2 there already" in capsys.readouterr().out
    assert main([*flags, "--overwrite", "--no-centering", "--suffix", "x"]) == 0
    with np.load(tmp_path / "out" / "a_x.npz") as saved:
        assert len(saved["embedding"]) == 3


def test_bad_files_are_listed_at_the_end_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "tone.wav", tone(440, 0.4, 16_000), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    names = [str(tmp_path / name) for name in ("text.wav", "tone.wav", "missing.wav")]
    assert main(["embed", *names, "-o", str(tmp_path / "out"), "--model", "MFCCStats", "--no_centering"]) == 1
    said = capsys.readouterr()
    assert "1 embedded" in said.out
    assert f"{names[0]}: " in said.err
    assert f"{names[2]}: there is no such file" in said.err
    assert "note: " in said.err
    assert "shorter than a frame" in said.err


@pytest.mark.slow
def test_pictures_and_videos_by_weight_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for modality, channels in (("audio", 1), ("image", 3)):
        write_layers(tmp_path / f"{modality}.h5", l3_layers(0, channels, l3.CHANNELS, "last"))
    Image.new("RGB", (224, 224), (1, 2, 3)).save(tmp_path / "a.png")
    write_video(tmp_path / "a.mp4", plain_frames([20, 200]), tone(440, 0.2, 48_000))
    out = ["-o", str(tmp_path / "out")]
    picture = ["--modality", "image", "--model", str(tmp_path / "image.h5"), "--image_embedding_size", "512"]
    assert main(["embed", str(tmp_path / "a.png"), *out, *picture]) == 0
    with np.load(tmp_path / "out" / "a.npz") as saved:
        assert saved["embedding"].shape == (1, 512)
    video = ["--modality", "video", "--model", "MFCCStats", "--image_model", str(tmp_path / "image.h5")]
    assert main(["embed", str(tmp_path / "a.mp4"), *out, *video]) == 0
    with np.load(tmp_path / "out" / "a_image.npz") as saved:
        assert saved["embedding"].shape == (2, 8192)
        assert saved["timestamps"] == pytest.approx([0, 0.1])
    assert (tmp_path / "out" / "a_audio.npz").is_file()
    assert "1 embedded" in capsys.readouterr().out


def test_invalid_arguments_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "tone.wav", tone(440, 1.0, 16_000), 16_000)
    monkeypatch.setenv("BOILER_OPENL3_WEIGHTS", str(tmp_path))
    assert main(["embed", str(tmp_path / "tone.wav")]) == 2
    assert "openl3_audio_mel256_music.h5" in capsys.readouterr().err
    assert main(["embed", str(tmp_path / "tone.wav"), "--model", "MFCCStats", "--hop_size", "0"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["embed", str(tmp_path / "empty"), "--modality", "image"]) == 2
    assert ".png" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.npz"))

"""The command `python -m boiler.train_l3`: flags, output, and what its checkpoint is good for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_videos import write_tonal_videos
from sounds import tone, write

from boiler import train_l3
from boiler.arguments import Parser
from boiler.cli import main as boiler
from boiler.embedding import openl3
from boiler.index import main as index
from boiler.model.l3_joint import JointSettings
from boiler.train_l3 import L3TrainSettings, settings_from


def parsed(*words: str) -> L3TrainSettings:
    parser = Parser()
    train_l3.add_arguments(parser)
    return settings_from(parser.parse_args(words))


def test_omitted_flags_have_the_defaults_of_the_settings() -> None:
    assert parsed("--video_dir", "in", "--save_path", "out") == L3TrainSettings(Path("in"), Path("out"))


def test_every_flag_sets_its_setting() -> None:
    words = "--video-dir in --save-path out --steps 3 --batch_size 16 --lr 0.01 --held_share 0.3 --seed 7 --workers 1"
    more = "--max_minutes 2.5 --steps_per_checkpoint 9 --input_repr linear --channels 8 8 16 16 --audio_shrink 1"
    found = parsed(*words.split(), *more.split(), "--image_shrink", "2")
    network = JointSettings("linear", (8, 8, 16, 16), audio_shrink=1, image_shrink=2)
    assert found == L3TrainSettings(
        Path("in"), Path("out"), steps=3, batch_size=16, lr=0.01, held_share=0.3, seed=7, workers=1, max_minutes=2.5,
        steps_per_checkpoint=9, network=network,
    )  # fmt: skip


@pytest.mark.slow
def test_a_checkpoint_indexes_sounds_and_embeds_sounds_pictures_and_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = write_tonal_videos(tmp_path / "videos", n=5)
    (videos / "broken.mp4").write_bytes(b"no video" * 100)
    small = ["--steps", "2", "--batch_size", "2", "--channels", "4", "4", "8", "8", "--workers", "1"]
    assert train_l3.main(["--video_dir", str(videos), "--save_path", str(tmp_path / "l3"), *small]) == 0
    said = capsys.readouterr()
    path = Path(said.out.strip())
    assert path == tmp_path / "l3" / "l3_001.pt"
    assert "broken.mp4 was not used: " in said.err
    assert "of the pairs of a sound and a picture were told apart" in said.err
    resumed = parsed("--video_dir", str(videos), "--save_path", str(path.parent), "--load_path", str(path))
    assert (resumed.steps, resumed.batch_size, resumed.network.channels) == (2, 2, (4, 4, 8, 8))

    (tmp_path / "sounds").mkdir()
    for n in range(3):
        write(tmp_path / "sounds" / f"{n}.wav", tone(300 * 2**n, 1.5, 22_050), 22_050)
    model_dir = tmp_path / "index"
    assert index([str(tmp_path / "sounds"), "L3Encoder", "--pt_path", str(path), "--model_dir", str(model_dir)]) == 0
    assert boiler(["search", str(model_dir), "0.wav"]) == 0

    words = ["embed", str(videos / "00.mp4"), "--modality", "video", "--model", str(path), "--output_dir"]
    assert boiler([*words, str(tmp_path / "out"), "--hop_size", "0.5"]) == 0
    found = {name: np.load(tmp_path / "out" / f"00_{name}.npz") for name in ("audio", "image")}
    assert {name: one["embedding"].shape[1] for name, one in found.items()} == {"audio": 8, "image": 8}
    assert len(found["image"]["embedding"]) == len(found["image"]["timestamps"]) == 15

    samples, rate_hz = soundfile.read(tmp_path / "sounds" / "1.wav")
    vectors, _ = openl3.get_audio_embedding(samples, rate_hz, model=str(path), hop_size=0.5)
    assert vectors.shape[1] == 8
    picture = np.full((240, 320, 3), 90, np.uint8)
    assert openl3.get_image_embedding(picture, model=str(path)).shape == (1, 8)

"""The OpenL3 interface: the properties that its published tests check, and more."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sounds import tone, write
from videos import plain_frames, write_video

from boiler.embedding import openl3
from boiler.embedding.models import WEIGHTS_VARIABLE, L3AudioModel, L3ImageModel
from boiler.embedding.openl3 import OpenL3Error, OpenL3Warning
from boiler.errors import CheckpointError

Sound = npt.NDArray[np.floating[Any]]


@pytest.fixture(scope="module")
def chirp() -> Sound:
    t = np.arange(2 * 48_000) / 48_000
    return 0.5 * np.sin(2 * np.pi * (100 + 2_000 * t) * t)


@pytest.mark.slow
def test_the_network_reads_its_published_weights_and_the_sound_decides(
    weights_dir: Path, monkeypatch: pytest.MonkeyPatch, chirp: Sound
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights_dir))
    embedding, timestamps = openl3.get_audio_embedding(
        chirp, 48_000, input_repr="mel128", embedding_size=512, hop_size=1.0, verbose=False
    )
    assert embedding.dtype == np.float32
    assert embedding.shape == (3, 512)
    assert timestamps.tolist() == [0, 1, 2]
    assert np.abs(embedding[0] - embedding[1]).max() > 0.01
    model = openl3.load_audio_embedding_model("mel128", "music", 512)
    again, _ = openl3.get_audio_embedding(chirp, 48_000, model=model, hop_size=1.0, batch_size=2)
    np.testing.assert_allclose(again, embedding, atol=1e-4)
    path = weights_dir / "audio.h5"
    for named in (openl3.load_audio_embedding_model_from_path(path, "mel128", 512), path, str(path)):
        (same,), _ = openl3.get_audio_embedding(
            [chirp], [48_000], model=named, input_repr="mel128", embedding_size=512, hop_size=1.0
        )
        np.testing.assert_allclose(same, embedding, atol=1e-4)


@pytest.mark.slow
def test_the_image_networks_read_their_published_weights(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights_dir))
    picture = np.random.default_rng(0).integers(0, 256, (240, 300, 3), dtype=np.uint8)
    embedding = openl3.get_image_embedding(picture, embedding_size=512, content_type="env", verbose=False)
    assert embedding.shape == (1, 512)
    model = openl3.load_image_embedding_model("linear", "env", 512)
    np.testing.assert_allclose(openl3.get_image_embedding(picture, model=model), embedding, atol=1e-4)
    path = weights_dir / "image.h5"
    from_path = openl3.load_image_embedding_model_from_path(path, 512)
    np.testing.assert_allclose(openl3.get_image_embedding(picture, model=from_path), embedding, atol=1e-4)


@pytest.mark.parametrize(("center", "first_half"), [(True, 24_000), (False, 0)])
def test_frames_and_times_follow_center_and_hop(
    small_sound_model: L3AudioModel, chirp: Sound, center: bool, first_half: int
) -> None:
    for hop_size in (0.1, 0.25, 1.5):
        embedding, timestamps = openl3.get_audio_embedding(
            chirp, 48_000, model=small_sound_model, center=center, hop_size=hop_size, verbose=False
        )
        n = 1 + int(np.ceil(max(0, len(chirp) + first_half - 48_000) / int(hop_size * 48_000)))
        assert len(embedding) == n
        np.testing.assert_allclose(timestamps, np.arange(n) * hop_size)


def test_centring_moves_frames_by_half_a_second(small_sound_model: L3AudioModel, chirp: Sound) -> None:
    centred, _ = openl3.get_audio_embedding(chirp, 48_000, model=small_sound_model, hop_size=0.5)
    plain, _ = openl3.get_audio_embedding(chirp, 48_000, model=small_sound_model, hop_size=0.5, center=False)
    np.testing.assert_allclose(centred[1 : 1 + len(plain)], plain, atol=1e-5)


def test_channels_are_averaged_and_rates_converted(small_sound_model: L3AudioModel, chirp: Sound) -> None:
    mono, _ = openl3.get_audio_embedding(chirp, 48_000, model=small_sound_model)
    stereo = np.stack([1.5 * chirp, 0.5 * chirp], axis=1)
    averaged, _ = openl3.get_audio_embedding(stereo, 48_000, model=small_sound_model)
    np.testing.assert_allclose(averaged, mono, atol=1e-3)
    t = np.arange(2 * 44_100) / 44_100
    at_44k = 0.5 * np.sin(2 * np.pi * (100 + 2_000 * t) * t)
    resampled, timestamps = openl3.get_audio_embedding(at_44k, 44_100, model=small_sound_model)
    assert resampled.shape == mono.shape
    cosine = (resampled * mono).sum(1) / np.linalg.norm(resampled, axis=1) / np.linalg.norm(mono, axis=1)
    assert cosine[2:-6].min() > 0.99  # not where the sound begins and ends: there each rate rings in its own way
    assert timestamps[-1] == pytest.approx(1.5)


def test_a_list_gives_a_list_with_each_result_as_if_alone(small_sound_model: L3AudioModel, chirp: Sound) -> None:
    other = tone(440, 1.3, 16_000)
    embeddings, timestamps = openl3.get_audio_embedding(
        [chirp, other], [48_000, 16_000], model=small_sound_model, batch_size=7
    )
    assert isinstance(embeddings, list)
    assert isinstance(timestamps, list)
    for sound, rate, embedding, times in zip([chirp, other], [48_000, 16_000], embeddings, timestamps, strict=True):
        alone, own_times = openl3.get_audio_embedding(sound, rate, model=small_sound_model)
        np.testing.assert_allclose(embedding, alone, atol=1e-5)
        assert np.array_equal(times, own_times)
    one_rate, _ = openl3.get_audio_embedding([chirp, chirp[:50_000]], 48_000, model=small_sound_model)
    assert [len(embedding) for embedding in one_rate] == [16, 7]


def test_silence_and_short_sounds_warn_and_are_embedded(small_sound_model: L3AudioModel) -> None:
    with pytest.warns(OpenL3Warning, match="zeros"):
        embedding, _ = openl3.get_audio_embedding(np.zeros(60_000), 48_000, model=small_sound_model)
    assert np.isfinite(embedding).all()
    with pytest.warns(OpenL3Warning, match="shorter"):
        embedding, timestamps = openl3.get_audio_embedding(
            tone(440, 0.2, 48_000), 48_000, model=small_sound_model, center=False
        )
    assert embedding.shape == (1, small_sound_model.embedding_size)
    assert timestamps.tolist() == [0]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"audio": np.empty(0)}, "empty"),
        ({"audio": np.ones((10, 10, 10))}, "3 axes"),
        ({"audio": np.full(48_000, np.nan)}, "NaN or infinite"),
        ({"audio": "dog.wav"}, "array"),
        ({"audio": [[0.0, 1.0]]}, "array"),
        ({"sr": 0}, "sr"),
        ({"sr": -1}, "sr"),
        ({"sr": "48000"}, "sr"),
        ({"audio": [np.ones(48_000)] * 2, "sr": [48_000]}, "2 inputs and 1"),
        ({"audio": [np.ones(48_000)], "sr": [0]}, "sr"),
        ({"input_repr": "invalid"}, "input_repr"),
        ({"content_type": "invalid"}, "content_type"),
        ({"embedding_size": 42}, "512"),
        ({"embedding_size": "invalid"}, "512"),
        ({"embedding_size": 8192}, "512"),
        ({"hop_size": 0}, "hop_size"),
        ({"hop_size": -1}, "hop_size"),
        ({"hop_size": 1e-9}, "hop_size"),
        ({"hop_size": "0.1"}, "hop_size"),
        ({"center": "invalid"}, "center"),
        ({"batch_size": 0}, "batch_size"),
        ({"frontend": "invalid"}, "frontend"),
        ({"verbose": -1}, "verbose"),
        ({"model": 3}, "model"),
    ],
)
def test_wrong_arguments_of_a_sound_raise_one_kind_of_error(
    small_sound_model: L3AudioModel, wrong: dict[str, Any], reason: str
) -> None:
    right = {"audio": np.ones(48_000), "sr": 48_000, "model": small_sound_model}
    with pytest.raises(OpenL3Error, match=reason):
        openl3.get_audio_embedding(**(right | wrong))  # type: ignore[arg-type]


def test_invalid_names_are_refused_before_weights_are_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    for wrong in ({"input_repr": "x"}, {"content_type": "x"}, {"embedding_size": 1}, {"frontend": "x"}):
        with pytest.raises(OpenL3Error):
            openl3.load_audio_embedding_model(**wrong)  # type: ignore[arg-type]
    for wrong in ({"input_repr": "x"}, {"content_type": "x"}, {"embedding_size": 6144}):
        with pytest.raises(OpenL3Error):
            openl3.load_image_embedding_model(**wrong)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="openl3_image_mel256_music"):
        openl3.load_image_embedding_model()


def test_preprocessing_gives_the_input_of_the_librosa_front_end(chirp: Sound) -> None:
    assert openl3.preprocess_audio(chirp, 48_000, hop_size=0.5).shape == (4, 1, 48_000)
    for input_repr, shape in (("linear", (257, 197)), ("mel128", (128, 199)), ("mel256", (256, 199))):
        spectrograms = openl3.preprocess_audio(chirp, 48_000, hop_size=0.5, input_repr=input_repr)
        assert spectrograms.shape == (4, *shape, 1)
        assert (spectrograms.max(axis=(1, 2, 3)) == 0).all()
        assert spectrograms.min() >= -80
    with pytest.raises(OpenL3Error, match="input_repr"):
        openl3.preprocess_audio(chirp, 48_000, input_repr="none")


def test_every_encoder_of_boiler_takes_any_hop(chirp: Sound) -> None:
    embedding, timestamps = openl3.get_audio_embedding(chirp, 48_000, model="MFCCStats", hop_size=0.07)
    assert embedding.shape == (len(timestamps), 80)
    assert np.diff(timestamps) == pytest.approx(0.07)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_pictures_and_lists_of_them_with_and_without_times(small_picture_model: L3ImageModel) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (230, 300, 3), dtype=np.uint8)
    several = rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)

    def embed(image: Any, frame_rate: Any = None) -> Any:
        return openl3.get_image_embedding(image, frame_rate, model=small_picture_model, batch_size=2, verbose=False)

    alone = embed(one)
    assert alone.shape == (1, small_picture_model.embedding_size)
    embedding, timestamps = embed(several, 30)
    assert len(embedding) == 3
    assert timestamps == pytest.approx([0, 1 / 30, 2 / 30])
    both = embed([one, several])
    np.testing.assert_allclose(both[0], alone, atol=1e-5)
    np.testing.assert_allclose(both[1], embedding, atol=1e-5)
    _, times = embed([one, several], [10, 20])
    assert [time.tolist() for time in times] == [[0], pytest.approx([0, 0.05, 0.1])]
    _, times = embed([one, several], 10)
    assert times[1] == pytest.approx([0, 0.1, 0.2])
    with pytest.warns(OpenL3Warning, match="zeros"):
        embed(np.zeros((224, 224, 3), np.uint8))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"image": np.empty((0, 224, 3))}, "empty"),
        ({"image": np.ones((224, 224))}, "axes"),
        ({"image": np.ones((100, 224, 3))}, "224"),
        ({"image": np.ones((224, 224, 1))}, "channels"),
        ({"image": "daisy.jpg"}, "array"),
        ({"image": ["daisy.jpg"]}, "array"),
        ({"frame_rate": 0}, "frame_rate"),
        ({"frame_rate": -1}, "frame_rate"),
        ({"frame_rate": "30"}, "frame_rate"),
        ({"frame_rate": [30, 30]}, "1 inputs and 2"),
        ({"input_repr": "invalid"}, "input_repr"),
        ({"content_type": "invalid"}, "content_type"),
        ({"embedding_size": 6144}, "8192"),
        ({"batch_size": 0}, "batch_size"),
        ({"verbose": 2}, "verbose"),
        ({"model": "MFCCStats"}, "model"),
    ],
)
def test_wrong_arguments_of_a_picture_raise_one_kind_of_error(
    small_picture_model: L3ImageModel, wrong: dict[str, Any], reason: str
) -> None:
    right = {"image": np.ones((224, 224, 3)), "model": small_picture_model}
    with pytest.raises(OpenL3Error, match=reason):
        openl3.get_image_embedding(**(right | wrong))  # type: ignore[arg-type]


def test_output_paths() -> None:
    assert openl3.get_output_path("/a/b/sound.wav", "embedding.npz", "/out") == "/out/sound_embedding.npz"
    assert openl3.get_output_path("/a/b/sound.wav", "embedding.npz") == "/a/b/sound_embedding.npz"
    assert openl3.get_output_path("/a/b/sound.wav", ".npz") == "/a/b/sound.npz"
    assert openl3.get_output_path("/a/b/a.b.wav", ".npz") == "/a/b/a.b.npz"


@pytest.mark.slow
def test_sound_files_give_what_their_samples_give(
    small_sound_model: L3AudioModel, tmp_path: Path, chirp: Sound
) -> None:
    stereo = np.stack([chirp, 0.5 * chirp])
    write(tmp_path / "stereo.wav", stereo, 48_000)
    write(tmp_path / "tone.wav", tone(440, 1.4, 22_050), 22_050)
    openl3.process_audio_file(
        [str(tmp_path / "stereo.wav"), tmp_path / "tone.wav"],
        output_dir=tmp_path / "out" / "deeper",
        model=small_sound_model,
        hop_size=0.2,
        verbose=False,
    )
    with np.load(tmp_path / "out" / "deeper" / "stereo.npz") as saved:
        assert sorted(saved) == ["embedding", "timestamps"]
        expected, timestamps = openl3.get_audio_embedding(
            stereo.T, 48_000, model=small_sound_model, hop_size=0.2, verbose=False
        )
        np.testing.assert_allclose(saved["embedding"], expected, atol=0.01)  # of 16 bits
        assert np.array_equal(saved["timestamps"], timestamps)
    assert (tmp_path / "out" / "deeper" / "tone.npz").is_file()
    openl3.process_audio_file(str(tmp_path / "tone.wav"), suffix="l3", model=small_sound_model)
    assert (tmp_path / "tone_l3.npz").is_file()


def test_existing_output_files_are_kept_unless_overwrite_is_set(
    small_sound_model: L3AudioModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "tone.wav", tone(440, 1.4, 22_050), 22_050)
    (tmp_path / "tone.npz").write_bytes(b"mine")
    openl3.process_audio_file(tmp_path / "tone.wav", model=small_sound_model)
    assert (tmp_path / "tone.npz").read_bytes() == b"mine"
    assert "tone.npz exists" in capsys.readouterr().out
    openl3.process_audio_file(tmp_path / "tone.wav", model=small_sound_model, overwrite=True)
    assert (tmp_path / "tone.npz").read_bytes() != b"mine"


def test_bad_files_are_named_after_the_good_ones_are_written(small_sound_model: L3AudioModel, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    for name in ("a/tone.wav", "b/tone.wav"):
        (tmp_path / name).parent.mkdir()
        write(tmp_path / name, tone(440, 1.1, 16_000), 16_000)
    names = ["missing.wav", "text.wav", "a/tone.wav", "b/tone.wav"]
    with pytest.raises(OpenL3Error) as refused:
        openl3.process_audio_file(
            [tmp_path / name for name in names], output_dir=tmp_path / "out", model=small_sound_model, verbose=False
        )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tone.npz"]
    for name in ("missing.wav", "text.wav", "b/tone.wav"):
        assert str(tmp_path / name) in str(refused.value)
    assert f"{tmp_path / 'a/tone.wav'}: " not in str(refused.value)
    for wrong in (3, [3]):
        with pytest.raises(OpenL3Error, match="int"):
            openl3.process_audio_file(wrong, model=small_sound_model)  # type: ignore[arg-type]


def test_picture_files(small_picture_model: L3ImageModel, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (230, 240, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "noise.png")
    Image.new("RGB", (10, 10), (9, 9, 9)).save(tmp_path / "small.png")
    with pytest.raises(OpenL3Error, match=r"small\.png: a picture must be at least 224"):
        openl3.process_image_file(
            [tmp_path / "noise.png", tmp_path / "small.png"], model=small_picture_model, suffix="l3", verbose=False
        )
    with np.load(tmp_path / "noise_l3.npz") as saved:
        assert list(saved) == ["embedding"]
        expected = openl3.get_image_embedding(pixels[..., :3], model=small_picture_model, verbose=False)
        np.testing.assert_allclose(saved["embedding"], expected, atol=1e-5)


@pytest.mark.slow
def test_video_files_give_their_sound_and_every_frame(
    small_sound_model: L3AudioModel, small_picture_model: L3ImageModel, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames(range(20, 240, 11)), tone(440, 2.0, 48_000))
    openl3.process_video_file(
        path,
        output_dir=tmp_path / "out",
        suffix="l3",
        audio_model=small_sound_model,
        image_model=small_picture_model,
        audio_hop_size=0.5,
        image_batch_size=3,
        verbose=False,
    )
    with np.load(tmp_path / "out" / "a_audio_l3.npz") as saved:
        assert saved["timestamps"].tolist()[:4] == [0, 0.5, 1, 1.5]
        assert len(saved["embedding"]) == len(saved["timestamps"])
    with np.load(tmp_path / "out" / "a_image_l3.npz") as saved:
        assert saved["embedding"].shape == (20, small_picture_model.embedding_size)
        np.testing.assert_allclose(saved["timestamps"], np.arange(20) / 10)
    openl3.process_video_file(path, audio_model=small_sound_model, image_model=small_picture_model, verbose=False)
    assert (tmp_path / "a_audio.npz").is_file()
    assert (tmp_path / "a_image.npz").is_file()


def test_a_video_without_sound_is_named_and_its_frames_are_written(
    small_sound_model: L3AudioModel, small_picture_model: L3ImageModel, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", plain_frames([9] * 3))
    with pytest.raises(OpenL3Error, match="no sound track"):
        openl3.process_video_file(path, audio_model=small_sound_model, image_model=small_picture_model, verbose=False)
    assert [found.name for found in tmp_path.glob("*.npz")] == ["a_image.npz"]


# The public sample files of OpenL3


@pytest.mark.slow
def test_the_sample_sounds(openl3_data: Path, small_sound_model: L3AudioModel, tmp_path: Path) -> None:
    names = ["chirp_mono", "chirp_stereo", "chirp_44k", "chirp_1s", "short", "silence"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(OpenL3Error, match=r"empty\.wav"):
            openl3.process_audio_file(
                [openl3_data / "audio" / f"{name}.wav" for name in [*names, "empty"]],
                output_dir=tmp_path,
                model=small_sound_model,
                verbose=False,
            )
    texts = [str(one.message) for one in caught if one.category is OpenL3Warning]
    assert any("silence.wav is all zeros" in text for text in texts)
    assert any("short.wav is shorter" in text for text in texts)
    found = {name: np.load(tmp_path / f"{name}.npz") for name in names}
    assert all(np.isfinite(one["embedding"]).all() for one in found.values())
    assert len(found["chirp_1s"]["embedding"]) == 1 + int(np.ceil(24_000 / 4_800))
    mono, stereo, resampled = (found[name]["embedding"] for name in ("chirp_mono", "chirp_stereo", "chirp_44k"))
    assert mono.shape == resampled.shape == stereo.shape
    np.testing.assert_allclose(found["chirp_mono"]["timestamps"], np.arange(len(mono)) * 0.1)


@pytest.mark.slow
def test_the_sample_pictures_and_video(
    openl3_data: Path, small_sound_model: L3AudioModel, small_picture_model: L3ImageModel, tmp_path: Path
) -> None:
    for name in ("blank.png", "daisy.jpg", "smol.png"):
        shutil.copy(openl3_data / "image" / name, tmp_path)
    with (
        pytest.warns(OpenL3Warning, match="zeros"),
        pytest.raises(OpenL3Error, match=r"^[^;]*smol\.png: a picture must be at least 224 x 224 pixels, not 110"),
    ):
        openl3.process_image_file(
            [str(tmp_path / name) for name in ("blank.png", "daisy.jpg", "smol.png")],
            model=small_picture_model,
            verbose=False,
        )
    assert np.load(tmp_path / "daisy.npz")["embedding"].shape == (1, small_picture_model.embedding_size)
    with pytest.warns(OpenL3Warning, match="shorter"):
        openl3.process_video_file(
            str(openl3_data / "video" / "bento.mp4"),
            output_dir=tmp_path,
            audio_model=small_sound_model,
            image_model=small_picture_model,
            verbose=False,
        )
    with np.load(tmp_path / "bento_image.npz") as saved:
        assert len(saved["embedding"]) == 11
        np.testing.assert_allclose(saved["timestamps"], np.arange(11) / 10)
    with np.load(tmp_path / "bento_audio.npz") as saved:
        assert len(saved["embedding"]) == len(saved["timestamps"]) >= 6

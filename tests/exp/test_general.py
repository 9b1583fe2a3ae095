"""The scripts that make the corpus of the general encoder, its teachers' targets and its training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.encoder.conditioning import condition_clip, fade_samples
from boiler.model.general import GeneralMel, GeneralSettings, scaled
from exp.general import corpus, deduplicate, teachers, train, yardstick
from exp.general.corpus import Licences


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("usr/share/x/sounds/hit.ogg", "*", True),
        ("usr/share/x/sounds/hit.ogg", "data/sounds/*", True),
        ("usr/share/x/sounds/hit.ogg", "data/sounds/hit.*", True),
        ("usr/share/x/sounds/hit.ogg", "debian/*", False),
        ("usr/share/x/sounds/hit.ogg", "data/music/*", False),
        ("usr/share/x/sounds/hit.ogg", "*.png", False),
    ],
)
def test_the_licence_of_a_file_is_that_of_the_folder_it_had_in_the_source(path: str, pattern: str, fits: bool) -> None:
    assert Licences._fits(Path(path), pattern) == fits


def test_the_last_rule_that_fits_decides(tmp_path: Path) -> None:
    copyright = tmp_path / "usr/share/doc/game/copyright"
    copyright.parent.mkdir(parents=True)
    copyright.write_text(
        "Files: *\nLicense: GPL-2+\n\nFiles: debian/*\nLicense: ISC\n\nFiles: data/music/*\n data/voices/a.ogg\n"
        "License: CC-BY-NC-3.0\n",
        encoding="utf-8",
    )
    licences = Licences(tmp_path, "game")
    assert licences.of(Path("usr/share/games/game/sounds/hit.ogg")) == "GPL-2+"
    assert licences.of(Path("usr/share/games/game/music/theme.ogg")) == "CC-BY-NC-3.0"
    assert licences.of(Path("usr/share/games/game/voices/a.ogg")) == "CC-BY-NC-3.0"


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0-1.0", True),
        ("CC-BY-SA-3.0", True),
        ("GPL-2+ or CC-BY-3.0", True),
        ("CC-BY-NC-3.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-ND-4.0", False),
        ("Proprietary", False),
    ],
)
def test_licences_that_do_not_allow_it_are_refused(licence: str, free: bool) -> None:
    assert corpus.free(licence) == free


def test_a_long_sound_gives_pieces_that_do_not_overlap_and_few_of_music() -> None:
    ramp = np.arange(200 * corpus.RATE_HZ, dtype=np.float32)
    for category, n in (("effect", 12), ("music", 4)):
        begins = [float(piece[0]) for piece in corpus.pieces(ramp, category)]
        assert len(begins) == n
        assert np.diff(begins).min() >= corpus.PIECE_S * corpus.RATE_HZ
    assert [len(piece) for piece in corpus.pieces(ramp[:100], "effect")] == [100]


def test_sounds_inside_another_format_are_found_whole() -> None:
    one = b"RIFF" + (36).to_bytes(4, "little") + b"WAVE" + bytes(32)
    assert list(corpus.riff_sounds(b"OPENTTD" + one + b"name" + one + one[:20])) == [one, one]


def test_a_midi_file_holds_its_events_in_order_of_time() -> None:
    data = corpus.midi([(1.0, b"\x80\x3c\x00"), (0.0, b"\x90\x3c\x40")])
    assert data.startswith(b"MThd")
    assert data.endswith(b"\x00\x90\x3c\x40" + b"\x87\x40\x80\x3c\x00" + b"\x00\xff\x2f\x00")  # 960 ticks are 87 40


def test_the_sounds_of_a_kit_keep_its_folder(tmp_path: Path) -> None:
    kit = tmp_path / "package/usr/share/hydrogen/drumkits/TR"
    kit.mkdir(parents=True)
    for name in ("kick.wav", "drumkit.xml", "README.md"):
        (kit / name).write_bytes(b"x")
    assert yardstick.copy_sounds(tmp_path / "package", tmp_path / "kits", in_folders=True) == 2
    assert yardstick.copy_sounds(tmp_path / "package", tmp_path / "flat", in_folders=False) == 2
    assert (tmp_path / "kits/TR/kick.wav").is_file()
    assert (tmp_path / "flat/kick.wav").is_file()


def test_a_sound_that_is_mixed_in_is_further_away() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, other = np.zeros(1000, np.float32), rng.standard_normal(400).astype(np.float32)
        own[:] = 0.1 * rng.standard_normal(1000)
        both = teachers.mixed(own, other, rng)
        rest = both * max(1.0, float(np.abs(both).max())) - own
        energy = np.sqrt(np.square(rest[rest != 0]).mean() / np.square(own).mean())
        assert 0.09 < energy < 0.72  # 3 to 20 dB below


def test_spectrograms_of_crops_are_those_of_the_encoder_and_silent_behind_it() -> None:
    sound = np.sin(np.arange(16_000, dtype=np.float32))
    mel = GeneralMel(GeneralSettings())
    kept = teachers.decades(mel, sound)
    assert kept.shape == (teachers.CROP_SAMPLES // 400 + 1, 64)
    assert float(kept[50:].max()) == teachers.LOWEST
    power = 10 ** torch.from_numpy(kept[:41].astype(np.float32)).T[None]
    torch.testing.assert_close(scaled(power, 7.0)[0], mel(torch.from_numpy(sound)), atol=0.01, rtol=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus of 60 crops of two kinds, as `exp.general.teachers` leaves it."""
    rng = np.random.default_rng(0)
    (tmp_path / "parts").mkdir()
    (tmp_path / "crops").mkdir()
    kinds = rng.integers(0, 2, 60)
    lines = [json.dumps({"file": f"{n}.wav", "category": "effect", "labels": [f"group{n % 5}"]}) for n in range(60)]
    (tmp_path / "parts" / "all.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mel = np.full((60, 186, 64), teachers.LOWEST, np.float16)
    for n, kind in enumerate(kinds):
        mel[n, :100, 30 * kind : 30 * kind + 20] = rng.uniform(-3, 0, (100, 20))
    centre = rng.standard_normal((2, 512))
    aisfx = (centre[kinds] + 0.1 * rng.standard_normal((60, 512))).astype(np.float16)
    speech = rng.standard_normal((60, 192)).astype(np.float16)
    aisfx[:5], speech[5:] = np.nan, np.nan
    names = np.array([f"{n}.wav" for n in range(60)])
    np.savez(tmp_path / "crops" / "00000.npz", clip=names, mel=mel, aisfx=aisfx, speech=speech)
    return tmp_path


def trained(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(root / "general.pt"), *words])
    train.main()


@pytest.mark.slow
def test_training_resumes_and_what_it_exports_is_the_average_that_it_evaluated(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(root), "--batch_size", "8", "--minutes"]
    trained(root, monkeypatch, *arguments, "0.02")
    first = torch.load(root / "general.pt", weights_only=True)
    trained(root, monkeypatch, *arguments, "0.001")
    second = torch.load(root / "general.pt", weights_only=True)
    assert second["step"] > first["step"] > 0
    assert second["trained_s"] > first["trained_s"]
    assert "held out" in capsys.readouterr().out
    trained(root, monkeypatch, "--export", str(root / "general.safetensors"))
    made = encoder.create("GeneralEncoder", root / "general.safetensors")
    student = train.Student(GeneralSettings(), len(second["words"])).eval()
    student.load_state_dict(second["average"])
    sound = torch.randn(2**18, generator=torch.Generator().manual_seed(0))
    conditioned = condition_clip(sound, fade_samples(GeneralSettings.sample_rate_hz))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(student(GeneralMel(GeneralSettings())(conditioned)[None]), dim=1)
    torch.testing.assert_close(made(sound[None, None]), expected, atol=1e-5, rtol=0)


def test_a_teacher_that_did_not_hear_a_crop_says_nothing_of_it(root: Path) -> None:
    torch.manual_seed(0)
    crops, rng = train.Crops(root), np.random.default_rng(0)
    numbers = np.arange(32)
    mel, said, words = train.batch(crops, numbers, rng, GeneralSettings())
    assert mel.shape[:2] == (64, 64)
    assert said["aisfx"][:5].isnan().all()
    assert not said["aisfx"].isnan().all(dim=1)[5:].all()
    student = train.Student(GeneralSettings(), len(crops.words))
    parts = train.losses(student, student(mel), said, words)
    assert all(value.isfinite() for value in parts.values())
    without = train.losses(student, student(mel), {name: value * float("nan") for name, value in said.items()}, words)
    assert float(without["regression"]) == float(without["relations"]) == 0


def test_the_second_view_of_a_spoken_word_is_mostly_another_speakers(root: Path) -> None:
    lines = [{"file": f"{n}.wav", "category": "speech", "labels": [f"said_{n % 5}"] * (n < 40)} for n in range(60)]
    (root / "parts" / "all.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    crops, rng = train.Crops(root), np.random.default_rng(0)
    said = [n for n in crops.train if crops.labels[n] and n < 40]
    assert sorted(crops.said) == said
    for n in said:
        assert all(crops.labels[other] == crops.labels[n] for other in crops.said[n])
    numbers = np.array(said[:16])
    crops.teachers = {"aisfx": torch.arange(60.0)[:, None].expand(60, 512)}
    same = 0.0
    for _ in range(40):
        _, teachers, words = train.batch(crops, numbers, rng, GeneralSettings())
        own = teachers["aisfx"][:16, 0] == torch.from_numpy(numbers)  # nothing is mixed in
        same += float((teachers["aisfx"][:16, 0] == teachers["aisfx"][16:, 0])[own].float().mean()) / 40
        assert torch.equal(words[:16][own], words[16:][own])
    assert 0.3 < same < 0.5  # not `OTHER_SPEAKER`, or one of eight draws itself


def test_crops_of_a_category_that_is_weighed_are_drawn_as_many_times_as_often(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"file": f"{n}.wav", "category": "drum" if n < 20 else "effect", "labels": []} for n in range(60)]
    (root / "parts" / "all.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    crops = train.Crops(root)
    chances = crops.probabilities({"drum": 4.0})
    assert chances.sum() == pytest.approx(1)
    is_drum = np.array([int(crops.names[n].removesuffix(".wav")) < 20 for n in crops.train])
    assert chances[is_drum] == pytest.approx(4 * chances[~is_drum][0])
    with pytest.raises(SystemExit):
        trained(root, monkeypatch, "--corpus", str(root), "--weigh", "drums=4")
    assert "no category drums" in capsys.readouterr().err


def test_duplicates_are_left_out_of_training(root: Path) -> None:
    (root / "duplicates.txt").write_text("7.wav\n12.wav\n", encoding="utf-8")
    names = train.Crops(root).names
    assert len(names) == 58
    assert not {"7.wav", "12.wav"} & set(names)


def test_a_clip_and_its_copies_at_other_levels_are_near_duplicates_and_others_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = corpus.Corpus(tmp_path)
    noise = 0.2 * rng.standard_normal(32_000).astype(np.float32).clip(-4, 4)
    for name, gain in (("a", 1.0), ("b", 0.5), ("c", 0.2)):
        made.write(f"game/{name}.wav", gain * noise)
    for hz in (300, 1_000, 5_000):
        made.write(f"game/tone{hz}.wav", 0.5 * np.sin(2 * np.pi * hz * np.arange(32_000) / 32_000).astype(np.float32))
    assert deduplicate.find_duplicates(tmp_path, deduplicate.MAX_DISTANCE) == ["game/b.wav", "game/c.wav"]

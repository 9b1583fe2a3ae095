"""The scripts that make the corpus of the general encoder, its teachers' targets and its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exp.general import corpus, yardstick
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

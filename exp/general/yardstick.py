"""Fetch what one-shots are measured on: `python -m exp.general.yardstick --out DIR`.

    DIR/hydrogen       drum kits, of Debian's hydrogen-drumkits
    DIR/sonic_pi       samples, of Debian's sonic-pi-samples
    DIR/soundfonts     four notes of each program of two soundfonts, rendered with fluidsynth

Then, for each: `boiler index DIR/hydrogen --encoder NAME` and `boiler evaluate MODEL_DIR --dataset hydrogen`. Packages are
downloaded and unpacked, never installed. Encoders are not trained on the first two (`exp.general.corpus`), nor on the
soundfont that is called `musescore`; the other one is in the corpus, so those figures are of half-known sounds.

Needs apt-get and dpkg-deb; fluidsynth for the soundfonts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from exp.general.corpus import PIECE_S, RATE_HZ, Corpus, audible, fetch, rendered, trimmed

PACKAGES = {"hydrogen": "hydrogen-drumkits", "sonic_pi": "sonic-pi-samples"}
FONTS = {
    "musescore": ("musescore-general-soundfont", "MuseScore_General_Full.sf3"),
    "timgm": ("timgm6mb-soundfont", "TimGM6mb.sf2"),
}
SUFFIXES = (".wav", ".flac", ".aiff", ".ogg", ".xml")
NOTES = ((48, 100, 0.3), (60, 70, 0.8), (64, 110, 0.15), (72, 90, 1.5))
"""Pitch, velocity and seconds."""


def copy_sounds(unpacked: Path, target: Path, *, in_folders: bool) -> int:
    """The sounds of a package, each in the folder that it has there or all in one; how many."""
    sounds = [path for path in sorted(unpacked.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    for path in sounds:
        folder = target / path.parent.name if in_folders else target
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)
    return len(sounds)


def render_notes(soundfont: Path, corpus: Corpus, name: str) -> int:
    """`NOTES` of all 128 programs as {name}/{program}-{number}.wav; how many are audible."""
    n = 0
    with tempfile.TemporaryDirectory() as room:
        for program in range(128):
            events, at_s = [(0.0, bytes([0xC0, program]))], 0.1
            begins = []
            for pitch, velocity, length_s in NOTES:
                events += [(at_s, bytes([0x90, pitch, velocity])), (at_s + length_s, bytes([0x80, pitch, 0]))]
                begins.append(at_s)
                at_s += length_s + 2.5
            sound = rendered(soundfont, [*events, (at_s, bytes([0xB0, 123, 0]))], Path(room))
            for number, (begin_s, note) in enumerate(zip(begins, NOTES, strict=True)):
                cut = sound[round(begin_s * RATE_HZ) : round((begin_s + min(note[2] + 1.5, PIECE_S)) * RATE_HZ)]
                if audible(cut := trimmed(cut)):
                    corpus.write(f"{name}/{program:03d}-{number:02d}.wav", cut.astype(np.float32))
                    n += 1
    return n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes (some 500 MB)")
    args = parser.parse_args()
    if missing := [name for name in ("apt-get", "dpkg-deb", "fluidsynth") if not shutil.which(name)]:
        sys.exit(f"{', '.join(missing)} not found: apt-get install fluidsynth")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as room:
        corpus = Corpus(Path(room))
        corpus.clips = args.out.resolve() / "soundfonts"
        for name, package in PACKAGES.items():
            print(
                f"{name}: {copy_sounds(_fetched(corpus, package), args.out / name, in_folders=name == 'hydrogen')} files"
            )
        for name, (package, file) in FONTS.items():
            print(
                f"{name}: {render_notes(next(_fetched(corpus, package).rglob(file)), corpus, name)} notes", flush=True
            )


def _fetched(corpus: Corpus, package: str) -> Path:
    fetched = fetch(corpus, package)
    if fetched is None:
        sys.exit(f"{package}: not in the archive (apt-get update?)")
    return fetched[0]


if __name__ == "__main__":
    main()

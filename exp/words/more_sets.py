"""Four more sets on which search in words is measured: `python -m exp.words.more_sets --sets DIR --stamps STAMPS
--soundfont FILE --out OUT`, DIR of `exp.general.yardstick`, STAMPS the folder `usr/share/tuxpaint/stamps` of
Debian's tuxpaint-stamps-default, FILE of musescore-general-soundfont.

    OUT/hydrogen/CLASS/...     drums by the names of the kits' instruments
    OUT/sonic_pi/CLASS/...     samples by their names
    OUT/tuxpaint/CLASS/...     sound effects by the names of their stamps; what is spoken is left out
    OUT/soundfont/CLASS/...    four notes of each of the instruments below

All but those of tuxpaint, which are in the corpus of the general encoder, were never trained on.

Then, for each: `boiler index OUT/hydrogen GeneralEncoder --model_dir MODEL_DIR`, and `boiler evaluate MODEL_DIR
--zero_shot words`, whose classes are the names of the folders.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from boiler.evaluation.datasets.one_shots import HydrogenDrumKits
from exp.general.corpus import PIECE_S, RATE_HZ, Corpus, audible, rendered, trimmed
from exp.general.yardstick import NOTES
from exp.words.picture_pairs import SPOKEN

DRUMS = {
    "kick": "bass drum", "snare": "snare drum", "clap": "hand clap", "tom": "tom tom", "hihat_open": "hi hat",
    "hihat_pedal": "hi hat", "hihat_closed": "hi hat", "splash": "splash cymbal", "crash": "crash cymbal",
    "ride": "ride cymbal", "cowbell": "cowbell", "tambourine": "tambourine", "rimshot": "rimshot",
}  # fmt: skip
SONIC_PI = (
    ("bass drum", r"bd_"), ("snare drum", r"drum_snare|sn_"), ("cymbal", r"drum_(cymbal|splash)|elec_cymbal"),
    ("tom tom", r"drum_tom"), ("cowbell", r"drum_cowbell"), ("bass", r"bass_"), ("guitar", r"guit_"),
    ("tabla", r"tabla_"), ("bell", r"(elec|perc)_bell"), ("scratch", r"vinyl_(scratch|rewind|backspin)"),
    ("ambient", r"ambi_"),
)  # fmt: skip
INSTRUMENTS = {
    0: "piano", 6: "harpsichord", 9: "glockenspiel", 11: "vibraphone", 12: "marimba", 13: "xylophone", 14: "bells",
    19: "organ", 21: "accordion", 22: "harmonica", 24: "guitar", 40: "violin", 42: "cello", 46: "harp", 47: "timpani",
    52: "choir", 56: "trumpet", 57: "trombone", 58: "tuba", 65: "saxophone", 68: "oboe", 70: "bassoon", 71: "clarinet",
    73: "flute", 78: "whistle", 104: "sitar", 105: "banjo", 108: "kalimba", 109: "bagpipes", 114: "steel drum",
    122: "seashore", 123: "bird", 124: "telephone", 125: "helicopter", 126: "applause", 127: "gunshot",
}  # fmt: skip
"""Programs of General MIDI."""


def drums(kits: Path) -> Iterator[tuple[str, Path]]:
    for entry in HydrogenDrumKits().entries(kits):
        if (name := DRUMS.get(entry.labels[0])) is not None:
            yield name, kits / entry.id


def samples(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob("*.flac")):
        if name := next((name for name, pattern in SONIC_PI if re.match(pattern, path.stem)), None):
            yield name, path


def effects(stamps: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(stamps.rglob("*.ogg")):
        if path.with_suffix(".png").is_file() and path.relative_to(stamps).parts[0] not in SPOKEN:
            yield re.sub(r"[^a-z]+", " ", path.stem.lower()).strip(), path


def render(soundfont: Path, target: Path) -> None:
    """All notes of all instruments in one run: the soundfont takes seconds to load."""
    events, cuts, at_s = [], [], 0.1
    for program, name in INSTRUMENTS.items():
        events.append((at_s, bytes([0xC0, program])))
        for number, (pitch, velocity, length_s) in enumerate(NOTES):
            at_s += 0.1
            events += [(at_s, bytes([0x90, pitch, velocity])), (at_s + length_s, bytes([0x80, pitch, 0]))]
            cuts.append((f"{name}/{number}.wav", at_s, min(length_s + 1.5, PIECE_S)))
            at_s += length_s + 2.5
    with tempfile.TemporaryDirectory() as room:
        sound = rendered(soundfont, [*events, (at_s, bytes([0xB0, 123, 0]))], Path(room))
        corpus = Corpus(Path(room))
        corpus.clips = target.resolve()
        for file, begin_s, length_s in cuts:
            cut = sound[round(begin_s * RATE_HZ) : round((begin_s + length_s) * RATE_HZ)]
            if audible(cut := trimmed(cut)):
                corpus.write(file, cut.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sets", "stamps", "soundfont", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    for name, found in (
        ("hydrogen", drums(args.sets / "hydrogen")),
        ("sonic_pi", samples(args.sets / "sonic_pi")),
        ("tuxpaint", effects(args.stamps)),
    ):
        for n, (kind, path) in enumerate(found):
            (args.out / name / kind).mkdir(parents=True, exist_ok=True)
            (args.out / name / kind / f"{n:04d}{path.suffix}").symlink_to(path.resolve())
    render(args.soundfont, args.out / "soundfont")


if __name__ == "__main__":
    main()

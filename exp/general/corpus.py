"""Bring the training corpus of the general encoder together: `python -m exp.general.corpus --out DIR`.

Everything comes from Debian packages, which are downloaded and unpacked below DIR and never installed; nothing of them is
committed. Five steps, each of which continues where it was stopped:

1. fetch     `apt-get download` of `PACKAGES`; the version of each goes into the manifest
2. extract   `dpkg-deb -x`
3. files     every audio file of the packages, decoded to mono at 32 kHz; long ones give up to `PIECES` pieces
4. render    notes, drums and phrases of sampled instruments with fluidsynth; spoken words with espeak-ng; synthesis
5. manifest  DIR/manifest.jsonl, a clip a line: file, package, version, licence, category, labels, seconds

The labels are what the names of files and folders say (instrument, drum, animal, word, language). `hydrogen-drumkits`,
`sonic-pi-samples` and `musescore-general-soundfont` are what one-shots are measured on (`exp.general.yardstick`) and are
left out.

Needs apt-get, dpkg-deb, fluidsynth and espeak-ng on the PATH.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import wave
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from boiler.audio import synthesis
from boiler.audio.container import Limits, open_track
from boiler.errors import BoilerError

RATE_HZ = 32_000
PIECE_S = 10.0
"""Longest clip."""
PIECES = {"music": 4}
"""Most clips of one long file, by its category; `MOST_PIECES` of the others."""
MOST_PIECES = 12
MIN_S = 0.03
SILENCE_PEAK = 1e-3
"""A clip that never exceeds this is not worth training on."""
SEED = 20_26

Sound = NDArray[np.float32]

# Games, desktops and teaching programs: effects, ambiences, music, speech. The category is that of most of their files;
# `CATEGORY_OF_PATH` corrects it file by file.
PACKAGES: dict[str, str] = {
    "sound-theme-freedesktop": "effect",
    "oxygen-sounds": "effect",
    "openttd-opensfx": "effect",
    "openarena-data": "effect",
    "wesnoth-1.16-data": "effect",
    "warzone2100-data": "effect",
    "teeworlds-data": "effect",
    "minetest-data": "effect",
    "ufoai-sound": "effect",
    "scratch": "effect",
    "bzflag-data": "effect",
    "pingus-data": "effect",
    "neverball-data": "effect",
    "lincity-ng-data": "effect",
    "lmms-common": "drum",
    "xblast-tnt-sounds": "effect",
    "boswars-data": "effect",
    "megaglest-data": "effect",
    "supertux-data": "effect",
    "endless-sky-data": "effect",
    "freeorion-data": "effect",
    "tuxpaint-stamps-default": "speech",
    "openarena-085-data": "effect",
    "unknown-horizons": "effect",
    "berusky2-data": "effect",
    "naev-data": "effect",
    "torcs-data": "effect",
    "0ad-data": "effect",
    "widelands-data": "effect",
    "supertuxkart-data": "effect",
    "redeclipse-data": "effect",
    "flightgear-data-base": "effect",
    "alienblaster-data": "effect",
    "armagetronad-common": "effect",
    "asc-data": "effect",
    "ballz-data": "effect",
    "brainparty-data": "effect",
    "briquolo-data": "effect",
    "colobot-common-sounds": "effect",
    "cube2-data": "effect",
    "deepin-sound-theme": "effect",
    "freecol": "effect",
    "freedroid-data": "effect",
    "frozen-bubble-data": "effect",
    "hedgewars-data": "effect",
    "lomiri-sounds": "effect",
    "psi-plus-sounds": "effect",
    "eiskaltdcpp-sounds": "effect",
    "simutrans-data": "effect",
    "triplane": "effect",
    "xmoto-data": "effect",
    "planetblupi-common": "effect",
    "warmux-data": "effect",
    "lugaru-data": "effect",
    "holotz-castle-data": "effect",
    "kobodeluxe-data": "effect",
    "trigger-rally-data": "effect",
    "freedink-data": "effect",
    "searchandrescue-data": "effect",
    "marsshooter-data": "effect",
    "enigma-data": "effect",
    "freedoom": "effect",
    "hydrogen-data": "drum",
    "extremetuxracer-data": "music",
    "wesnoth-1.16-music": "music",
    "asterisk-core-sounds-en-wav": "speech",
    "asterisk-core-sounds-es-wav": "speech",
    "asterisk-core-sounds-fr-wav": "speech",
    "asterisk-core-sounds-it-wav": "speech",
    "asterisk-core-sounds-ru-wav": "speech",
    "fillets-ng-data": "speech",
    "klettres-data": "speech",
    "ktuberling-data": "speech",
}
SOUNDFONTS = {
    "fluid-soundfont-gm": "FluidR3_GM.sf2",
    "timgm6mb-soundfont": "TimGM6mb.sf2",
}

CATEGORY_OF_PATH = (
    (re.compile(r"/(music|musics|soundtrack|tracks)/", re.I), "music"),
    (re.compile(r"/(voices?|speech|vo|speak)/|_desc_|alphabet|words|colors|geography", re.I), "speech"),
    (re.compile(r"/(ambient|ambience|ambiance|nature|weather|environment)/", re.I), "ambience"),
    (re.compile(r"drum|kick|snare|hihat|cymbal|tr808|percussion", re.I), "drum"),
)
SUFFIXES = (".ogg", ".oga", ".wav", ".flac", ".mp3", ".opus", ".aiff", ".aif", ".au", ".m4a", ".spx", ".mp2")
ARCHIVES = (".zip", ".pk3", ".pk4", ".wz", ".ja", ".sb2", ".cat")
"""Suffixes of the archives, most of them ZIP by another name, that games keep their sounds in."""

# Tags of Debian's copyright files that allow training and redistribution of what was trained.
FREE = re.compile(
    r"^(cc0|public[- ]domain|cc-by(-sa)?[- ]?\d|cc-by(-sa)?$|gpl|lgpl|agpl|mit|expat|bsd|apache|zlib|isc|wtfpl|artistic|"
    r"gfdl-niv|gfdl|free[- ]?art|lal|sil|ofl|permissive|same-as|unlicense|boost|x11|other|custom|fair|sampling-plus)",
    re.I,
)

GM_GROUPS = (  # noqa: SIM905
    "piano chromatic_percussion organ guitar bass strings ensemble brass reed pipe synth_lead synth_pad synth_effects "
    "ethnic percussive sound_effects"
).split()
GM_DRUMS = {
    35: "kick", 36: "kick", 37: "rimshot", 38: "snare", 39: "clap", 40: "snare", 41: "tom", 42: "hihat_closed", 43: "tom",
    44: "hihat_pedal", 45: "tom", 46: "hihat_open", 47: "tom", 48: "tom", 49: "crash", 50: "tom", 51: "ride", 52: "china",
    53: "ride_bell", 54: "tambourine", 55: "splash", 56: "cowbell", 57: "crash", 58: "vibraslap", 59: "ride", 60: "bongo",
    61: "bongo", 62: "conga", 63: "conga", 64: "conga", 65: "timbale", 66: "timbale", 67: "agogo", 68: "agogo",
    69: "cabasa", 70: "maracas", 71: "whistle", 72: "whistle", 73: "guiro", 74: "guiro", 75: "claves", 76: "woodblock",
    77: "woodblock", 78: "cuica", 79: "cuica", 80: "triangle", 81: "triangle",
}  # fmt: skip
DRUM_KITS = (0, 8, 16, 24, 25, 32, 40, 48)
"""Programs of channel 10: standard, room, power, electronic, TR-808, jazz, brush, orchestra."""


@dataclass(frozen=True)
class Clip:
    """One line of the manifest."""

    file: str
    """Below DIR/clips."""
    package: str
    version: str
    licence: str
    category: str
    """speech, note, drum, effect, ambience, music or synthetic."""
    labels: list[str]
    seconds: float


class Corpus:
    """The folder that everything is written to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.debs = root / "debs"
        self.unpacked = root / "unpacked"
        self.clips = root / "clips"
        self.parts = root / "parts"  # a manifest per source, merged at the end
        for folder in (self.debs, self.unpacked, self.clips, self.parts):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, sound: Sound) -> float:
        """A clip as 16-bit WAV at its own level; its seconds."""
        path = self.clips / name
        path.parent.mkdir(parents=True, exist_ok=True)
        peak = float(np.abs(sound).max())
        samples = (sound / max(peak, 1.0) * 32767).round().astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(samples.tobytes())
        return len(sound) / RATE_HZ

    def finish(self, source: str, clips: list[Clip]) -> None:
        """Write the manifest of one source, whole or not at all."""
        aside = self.parts / f".{source}.jsonl"
        aside.write_text("".join(json.dumps(asdict(one)) + "\n" for one in clips), encoding="utf-8")
        aside.replace(self.parts / f"{source}.jsonl")

    def finished(self, source: str) -> bool:
        return (self.parts / f"{source}.jsonl").is_file()


def fetch(corpus: Corpus, package: str) -> tuple[Path, str] | None:
    """Download and unpack one package; its folder and version. None: the archive has no such package."""
    folder = corpus.unpacked / package
    debs = sorted(corpus.debs.glob(f"{package}_*.deb"))
    if not debs:
        done = subprocess.run(
            ["apt-get", "download", "-qq", package], cwd=corpus.debs, capture_output=True, check=False
        )
        debs = sorted(corpus.debs.glob(f"{package}_*.deb"))
        if done.returncode or not debs:
            return None
    version = debs[-1].name.split("_")[1].replace("%3a", ":")
    if not folder.is_dir():
        aside = folder.with_name(f".{package}")
        shutil.rmtree(aside, ignore_errors=True)
        subprocess.run(["dpkg-deb", "-x", debs[-1], aside], check=True)
        for archive in [path for path in aside.rglob("*") if path.suffix.lower() in ARCHIVES and path.is_file()]:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as opened:  # extractall() keeps members inside the folder
                    sounds = [name for name in opened.namelist() if name.lower().endswith(SUFFIXES)]
                    opened.extractall(archive.with_name(f"{archive.name}.d"), sounds)
            else:
                for number, sound in enumerate(riff_sounds(archive.read_bytes())):
                    archive.with_name(f"{archive.stem}{number}.wav").write_bytes(sound)
        aside.rename(folder)
    return folder, version


def riff_sounds(data: bytes) -> Iterator[bytes]:
    """The WAV files that stand uncompressed inside another format (the sound packs of OpenTTD)."""
    for found in re.finditer(rb"RIFF(....)WAVE", data, re.S):
        size = int.from_bytes(found[1], "little") + 8
        if found.start() + size <= len(data):
            yield data[found.start() : found.start() + size]


class Licences:
    """What a package's copyright file says of each of its files (the machine-readable format; else of the whole)."""

    def __init__(self, folder: Path, package: str) -> None:
        path = folder / "usr/share/doc" / package / "copyright"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        self.rules: list[tuple[list[str], str]] = []
        for paragraph in re.split(r"\n\s*\n", text):
            patterns = re.search(r"^Files:((?:.*\n(?:[ \t].*\n?)*))", paragraph + "\n", re.M)
            licence = re.search(r"^License:\s*(\S.*)$", paragraph, re.M)
            if patterns and licence:
                self.rules.append((patterns[1].split(), licence[1].strip()))
        self.whole = "see the package's copyright file" if not self.rules else self.rules[0][1]

    def of(self, path: Path) -> str:
        """The licence of a file, by the last rule whose pattern fits the end of its path."""
        found = self.whole
        for patterns, licence in self.rules:
            if any(self._fits(path, pattern) for pattern in patterns):
                found = licence
        return found

    @staticmethod
    def _fits(path: Path, pattern: str) -> bool:
        """Installed paths differ from those of the source in front, so a pattern may begin at any folder, and loses its
        own folders down to the last one that says something: `data/sounds/*` fits `usr/share/NAME/sounds/hit.ogg`."""
        parts = pattern.removeprefix("./").split("/")
        shortest = len(parts) - (2 if not parts[-1].strip("*.?") else 1)
        tails = {"/".join(parts[first:]) for first in range(max(shortest, 0) + 1)}
        return pattern == "*" or any(fnmatch(f"/{path}", f"*/{tail}") for tail in tails if tail.strip("*.?/"))


def free(licence: str) -> bool:
    """Whether every alternative or part of a licence expression allows what is done here. NC and ND do not."""
    if re.search(r"\b(nc|nd|non-?commercial|no-?deriv)", licence, re.I):
        return False
    return licence.startswith("see ") or bool(FREE.match(licence))


def labels_of(path: Path) -> list[str]:
    """The words in the last three parts of a path, in lower case, numbers and duplicates left out."""
    words: list[str] = []
    for part in (*path.parts[-3:-1], path.stem):
        for word in re.findall(r"[a-z]{3,}", re.sub(r"([a-z])([A-Z])", r"\1 \2", part).lower()):
            if word not in words and word not in {"usr", "share", "data", "sounds", "sound", "games", "sfx", "audio"}:
                words.append(word)
    return words


def decode(path: Path) -> Sound:
    """Mono at 32 kHz, as boiler decodes it. At most ten minutes."""
    with open_track(path, Limits(max_seconds=3600)) as track:
        blocks, rate_hz, n = [], track.rate_hz, 0
        for rate_hz, block in track.blocks(0):
            blocks.append(block)
            n += len(block)
            if n > 600 * rate_hz:
                break
    sound = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return sound if rate_hz == RATE_HZ else soxr.resample(sound, rate_hz, RATE_HZ, "HQ").astype(np.float32)


def pieces(sound: Sound, category: str) -> Iterator[Sound]:
    """The parts of a sound that become clips: itself, or of a long one a few that do not overlap."""
    length = round(PIECE_S * RATE_HZ)
    if len(sound) <= 1.5 * length:
        yield sound[:length]
        return
    n = min(PIECES.get(category, MOST_PIECES), len(sound) // length)
    for begin in np.linspace(0, len(sound) - length, n).round().astype(int):
        yield sound[begin : begin + length]


def audible(sound: Sound) -> bool:
    return (
        len(sound) >= MIN_S * RATE_HZ and bool(np.isfinite(sound).all()) and float(np.abs(sound).max()) > SILENCE_PEAK
    )


def from_package(root: Path, package: str, category: str) -> str:
    """Steps 1 to 3 for one package; a sentence on what came of it."""
    corpus = Corpus(root)
    if corpus.finished(package):
        return f"{package}: already there"
    fetched = fetch(corpus, package)
    if fetched is None:
        return f"{package}: not in the archive"
    folder, version = fetched
    licences = Licences(folder, package)
    clips: list[Clip] = []
    n_refused = n_failed = 0
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.suffix.lower() not in SUFFIXES:
            continue
        inside = path.relative_to(folder)
        if not free(licence := licences.of(inside)):
            n_refused += 1
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if digest in seen:
            continue
        seen.add(digest)
        try:
            sound = decode(path)
        except (BoilerError, ValueError, OSError):
            n_failed += 1
            continue
        kind = next((name for pattern, name in CATEGORY_OF_PATH if pattern.search(f"/{inside}")), category)
        for number, piece in enumerate(pieces(sound, kind)):
            if audible(piece):
                file = f"{package}/{digest}-{number}.wav"
                clips.append(Clip(file, package, version, licence, kind, labels_of(inside), corpus.write(file, piece)))
    corpus.finish(package, clips)
    shutil.rmtree(folder)
    hours = sum(one.seconds for one in clips) / 3600
    return f"{package}: {len(clips)} clips, {hours:.2f} h; {n_failed} not decoded, {n_refused} of a licence that does not fit"


# --- sampled instruments --------------------------------------------------------------------------------------------


def midi(events: list[tuple[float, bytes]]) -> bytes:
    """A MIDI file of one track from (seconds, message) pairs: 480 ticks a beat, 120 beats a minute."""
    track, last = bytearray(), 0
    for at_s, message in sorted(events, key=lambda event: event[0]):
        tick = round(at_s * 960)
        delta = tick - last
        last = tick
        quantity = bytes([delta & 0x7F])
        while delta := delta >> 7:
            quantity = bytes([0x80 | (delta & 0x7F)]) + quantity
        track += quantity + message
    track += b"\x00\xff\x2f\x00"
    return b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def rendered(soundfont: Path, events: list[tuple[float, bytes]], room: Path) -> Sound:
    """What fluidsynth makes of the events, mono."""
    score, out = room / "score.mid", room / "out.wav"
    score.write_bytes(midi(events))
    subprocess.run(
        ["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.7", "-r", str(RATE_HZ), "-F", out, soundfont, score],
        check=True,
        capture_output=True,
    )
    return decode(out)


def trimmed(sound: Sound) -> Sound:
    """Without the silence behind it."""
    loud = np.flatnonzero(np.abs(sound) > 10 ** (-60 / 20) * max(float(np.abs(sound).max()), 1e-9))
    return sound[: loud[-1] + RATE_HZ // 50] if len(loud) else sound[:0]


def from_soundfont(root: Path, package: str, name: str, programs: list[int]) -> str:
    """Notes and phrases of some programs of a soundfont; program 128 and above: its drum kits."""
    corpus = Corpus(root)
    source = f"{package}-{programs[0]:03d}"
    if corpus.finished(source):
        return f"{source}: already there"
    fetched = fetch(corpus, package)
    if fetched is None:
        return f"{package}: not in the archive"
    folder, version = fetched
    soundfont = next(folder.rglob(name), None)
    if soundfont is None:
        return f"{package}: holds no {name}"
    licence = Licences(folder, package).of(soundfont.relative_to(folder))
    room = root / f".room-{source}"
    room.mkdir(exist_ok=True)
    clips: list[Clip] = []
    for program in programs:
        rng = np.random.default_rng([SEED, program, len(package)])
        kit = program >= 128
        channel = 9 if kit else 0
        events: list[tuple[float, bytes]] = [
            (0.0, bytes([0xC0 | channel, DRUM_KITS[program - 128] if kit else program]))
        ]
        cuts: list[tuple[float, float, str, list[str]]] = []
        at_s = 0.1
        family = "drums" if kit else GM_GROUPS[program // 8]

        def note(pitch: int, velocity: int, begin_s: float, length_s: float) -> None:
            events.append((begin_s, bytes([0x90 | channel, pitch, velocity])))  # noqa: B023
            events.append((begin_s + length_s, bytes([0x80 | channel, pitch, 0])))  # noqa: B023

        if kit:
            for pitch, drum in GM_DRUMS.items():
                for velocity in rng.integers(40, 128, 2):
                    note(pitch, int(velocity), at_s, 0.5)
                    cuts.append((at_s, 2.0, "drum", [drum, f"kit{program - 128}"]))
                    at_s += 2.2
            for _ in range(6):  # loops: what a sample library calls beats
                beat_s = float(60 / rng.uniform(80, 170) / 2)
                chosen = rng.choice(list(GM_DRUMS), 4)
                for step in range(16):
                    for pitch in chosen:
                        if rng.random() < 0.35:
                            note(int(pitch), int(rng.integers(50, 120)), at_s + step * beat_s, 0.3)
                cuts.append((at_s, 16 * beat_s, "drum", ["beat", f"kit{program - 128}"]))
                at_s += 16 * beat_s + 2.0
        else:
            for _ in range(10):
                length_s = float(np.exp(rng.uniform(np.log(0.1), np.log(3.0))))
                note(int(rng.integers(30, 94)), int(rng.integers(30, 128)), at_s, length_s)
                cuts.append((at_s, length_s + 1.5, "note", [family, f"program{program}"]))
                at_s += length_s + 3.0
            for _ in range(3):  # phrases: melodies and chords
                root_pitch, begin_s, chords = int(rng.integers(40, 72)), at_s, rng.random() < 0.5
                step_s = float(rng.uniform(0.12, 0.5))
                for step in range(int(rng.integers(6, 14))):
                    pitch = root_pitch + int(rng.choice([0, 2, 4, 5, 7, 9, 11, 12]))
                    for interval in (0, 4, 7) if chords else (0,):
                        note(pitch + interval, int(rng.integers(50, 120)), begin_s + step * step_s, step_s)
                    at_s = begin_s + (step + 1) * step_s
                cuts.append(
                    (begin_s, min(at_s - begin_s + 1.0, PIECE_S), "note", [family, f"program{program}", "phrase"])
                )
                at_s += 3.0
        sound = rendered(soundfont, [*events, (at_s + 0.5, bytes([0xB0 | channel, 123, 0]))], room)
        for number, (begin_s, length_s, category, labels) in enumerate(cuts):
            cut = trimmed(sound[round(begin_s * RATE_HZ) : round((begin_s + length_s) * RATE_HZ)])
            if audible(cut):
                file = f"{package}/{program:03d}-{number:03d}.wav"
                clips.append(Clip(file, package, version, licence, category, labels, corpus.write(file, cut)))
    shutil.rmtree(room)
    corpus.finish(source, clips)
    return f"{source}: {len(clips)} clips, {sum(one.seconds for one in clips) / 3600:.2f} h"


# --- speech and synthesis -------------------------------------------------------------------------------------------

SAID = "said_"
"""Begins the label that names the word a clip says."""
VARIANTS = ("", "+m1", "+m3", "+m7", "+f1", "+f2", "+f4", "+croak", "+whisper", "+klatt2")
WORDS = (  # noqa: SIM905
    "zero one two three four five six seven eight nine ten yes no stop go left right up down on off house tree water "
    "fire dog cat bird music morning evening happy open close light dark river mountain summer winter red green blue"
).split()

# What is told apart by what is said, whoever says it: every word by many speakers (`exp.general.train` pairs them).
SPOKEN = (  # noqa: SIM905
    "zero one two three four five six seven eight nine ten eleven twelve twenty hundred yes no stop go left right up down on "
    "off house tree water fire dog cat bird music morning evening happy open close light dark river mountain summer winter "
    "red green blue yellow black white apple bread cheese chair table window door floor garden street school teacher friend "
    "mother father sister brother baby people money number letter word story picture paper pencil kitchen bottle spoon "
    "knife horse cow sheep wolf fish snake spider forward backward follow learn remember forget monday friday "
    "sunday hello thanks please sorry wait hurry play pause next volume louder quiet question answer"
).split()
SPEAKERS_A_WORD = 40
ENGLISH = "en-gb en-us en-gb-scotland en-gb-x-gbclan en-gb-x-rp en-gb-x-gbcwmd en-029 en-us-nyc".split()  # noqa: SIM905


def from_espeak_words(root: Path) -> str:
    """Each of `SPOKEN` by many speakers: accent, voice, speed, pitch and length of the vocal tract drawn."""
    corpus = Corpus(root)
    if corpus.finished("espeak-ng-words"):
        return "espeak-ng-words: already there"
    printed = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    version = printed.split()[3]
    voices = Path(printed.split("Data at: ")[1].strip()) / "voices" / "!v"
    variants = sorted(path.name for path in voices.iterdir() if "robo" not in path.name.lower())
    clips: list[Clip] = []
    rng = np.random.default_rng([SEED, 7])
    out = root / ".espeak-ng-words.wav"
    for word in SPOKEN:
        for number in range(SPEAKERS_A_WORD):
            speed, pitch = str(int(rng.integers(90, 250))), str(int(rng.integers(5, 96)))
            voice = f"{rng.choice(ENGLISH)}+{rng.choice(variants)}"
            tract = float(rng.uniform(0.87, 1.15))
            command = ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "-w", out, word]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                continue
            sound = trimmed(soxr.resample(decode(out), RATE_HZ, RATE_HZ * tract, "HQ").astype(np.float32))
            if audible(sound):
                file, labels = f"espeak-ng-words/{word}-{number:02d}.wav", [f"{SAID}{word}"]
                clips.append(Clip(file, "espeak-ng", version, "GPL-3+", "speech", labels, corpus.write(file, sound)))
    out.unlink(missing_ok=True)
    corpus.finish("espeak-ng-words", clips)
    return f"espeak-ng-words: {len(clips)} clips"


def from_espeak(root: Path, languages: list[str]) -> str:
    """Words spoken by espeak-ng in the given languages, voices, speeds and pitches."""
    corpus = Corpus(root)
    source = f"espeak-ng-{languages[0].replace('/', '_')}"
    if corpus.finished(source):
        return f"{source}: already there"
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout.split()[3]
    clips: list[Clip] = []
    rng = np.random.default_rng([SEED, *languages[0].encode()])
    out = root / f".{source.replace('/', '_')}.wav"
    for language in languages:
        for number in range(40):
            words = [str(word) for word in rng.choice(WORDS, 1 if rng.random() < 0.7 else int(rng.integers(2, 7)))]
            speed, pitch = str(int(rng.integers(110, 240))), str(int(rng.integers(10, 90)))
            voice = language + str(rng.choice(VARIANTS))
            command = ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "-w", out, " ".join(words)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                continue
            sound = trimmed(decode(out))[: round(PIECE_S * RATE_HZ)]
            if audible(sound):
                file = f"espeak-ng/{language.replace('/', '_')}-{number:03d}.wav"
                labels = [f"language_{language}", *(words if len(words) == 1 else [])]
                clips.append(Clip(file, "espeak-ng", version, "GPL-3+", "speech", labels, corpus.write(file, sound)))
    out.unlink(missing_ok=True)
    corpus.finish(source, clips)
    return f"{source}: {len(clips)} clips"


def from_synthesis(root: Path, per_kind: int) -> str:
    """Sounds of `boiler.audio.synthesis`."""
    corpus = Corpus(root)
    if corpus.finished("synthesis"):
        return "synthesis: already there"
    rng = np.random.default_rng(SEED)
    clips: list[Clip] = []
    for kind in synthesis.KINDS:
        for number in range(per_kind):
            made = synthesis.make(kind, rng)
            sound = soxr.resample(made, synthesis.RATE_HZ, RATE_HZ, "HQ").astype(np.float32)[: round(PIECE_S * RATE_HZ)]
            file = f"synthesis/{kind}-{number:03d}.wav"
            clips.append(Clip(file, "boiler", "", "Apache-2.0", "synthetic", [kind], corpus.write(file, sound)))
    corpus.finish("synthesis", clips)
    return f"synthesis: {len(clips)} clips"


def languages() -> list[str]:
    """The languages of espeak-ng by their names on its command line."""
    printed = subprocess.run(["espeak-ng", "--voices"], capture_output=True, text=True, check=True).stdout
    return sorted({line.split()[1] for line in printed.splitlines()[1:]})


def merge(corpus: Corpus) -> str:
    """Step 5: one manifest; what it holds, by category and by licence."""
    lines = [line for path in sorted(corpus.parts.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    clips = [json.loads(line) for line in lines]
    aside = corpus.root / ".manifest.jsonl"
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    aside.replace(corpus.root / "manifest.jsonl")
    rows = [f"{len(clips)} clips, {sum(one['seconds'] for one in clips) / 3600:.1f} hours"]
    for key in ("category", "licence"):
        groups: dict[str, list[float]] = {}
        for one in clips:
            groups.setdefault(one[key], []).append(one["seconds"])
        for name, seconds in sorted(groups.items(), key=lambda group: -sum(group[1])):
            rows.append(f"  {key} {name}: {len(seconds)} clips, {sum(seconds) / 3600:.2f} h")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes (some 15 GB)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="sources worked on at once")
    parser.add_argument(
        "--per_kind", type=int, default=100, help="synthetic sounds of each kind (default: %(default)s)"
    )
    args = parser.parse_args()
    missing = [name for name in ("apt-get", "dpkg-deb", "fluidsynth", "espeak-ng") if not shutil.which(name)]
    if missing:
        sys.exit(f"{', '.join(missing)} not found: apt-get install fluidsynth espeak-ng")
    corpus = Corpus(args.out.resolve())
    with concurrent.futures.ProcessPoolExecutor(args.processes) as pool:
        jobs = []
        for package, name in SOUNDFONTS.items():
            fetch(corpus, package)  # once, before several processes want it
            jobs += [
                pool.submit(from_soundfont, corpus.root, package, name, list(range(b, b + 8))) for b in range(0, 136, 8)
            ]
        spoken = languages()
        jobs += [pool.submit(from_espeak, corpus.root, spoken[b : b + 8]) for b in range(0, len(spoken), 8)]
        jobs.append(pool.submit(from_espeak_words, corpus.root))
        jobs.append(pool.submit(from_synthesis, corpus.root, args.per_kind))
        for package, category in PACKAGES.items():
            jobs.append(pool.submit(from_package, corpus.root, package, category))
        for job in concurrent.futures.as_completed(jobs):
            print(job.result(), flush=True)
    print(merge(corpus))


if __name__ == "__main__":
    main()

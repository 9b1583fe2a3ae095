"""One-shots: single hits and notes, as in sample libraries. `python -m exp.general.yardstick` fetches all three.

* Hydrogen drum kits (Debian's hydrogen-drumkits): `KIT/drumkit.xml` next to its samples. The label is the type of drum,
  from the name of the instrument; a kit is a group, so that a snare has to be found in other kits.
* Sonic Pi's samples (Debian's sonic-pi-samples): `PREFIX_name.flac`; the label is the prefix (bd, sn, ambi, ...).
* Instruments of General MIDI in several soundfonts: `FONT/PPP-NN.wav`, PPP the program. The label is the program; a
  soundfont is a group.

What is measured here stays out of the training of encoders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from boiler.errors import CorpusError
from boiler.evaluation.datasets import DatasetEntry, DatasetLayout, normalized_id

_AMBIGUOUS = re.compile(r"crash/ride|roll|semi|swish|choke|flink|vinyl|loop", re.I)
_DRUMS = (
    ("rimshot", r"\brim|stick|click"),
    ("kick", r"kick|bass ?drum|\bbd\b"),
    ("snare", r"snare"),
    ("clap", r"clap"),
    ("tom", r"\btom"),
    ("hihat_open", r"(hat|hh).*\b(op|open|opened)\b|\bopen.*(hat|hh)"),
    ("hihat_pedal", r"(hat|hh).*\b(pd|pedal|foot)\b|pedal.*(hat|hh)"),
    ("hihat_closed", r"(hat|hh).*\b(cl|closed)\b|closed.*(hat|hh)"),
    ("ride_bell", r"ride.*(bell|cup)|\bbell\b"),
    ("splash", r"splash"),
    ("china", r"china"),
    ("crash", r"crash"),
    ("ride", r"\bride"),
    ("cowbell", r"cowbell"),
    ("tambourine", r"tambourine"),
)


def drum_type(name: str) -> str | None:
    """The type of drum in the name of an instrument; None if it names none of these types, or several.

    >>> drum_type("Snare 2 Rimshot (14x3.5)"), drum_type("Hat 1 Op"), drum_type("Crash/Ride Bow")
    ('rimshot', 'hihat_open', None)
    """
    if _AMBIGUOUS.search(name):
        return None
    return next((kind for kind, pattern in _DRUMS if re.search(pattern, name, re.IGNORECASE)), None)


class HydrogenDrumKits(DatasetLayout):
    """One-shots of acoustic and electronic drum kits, by type across kits."""

    title = "Hydrogen's drum kits"
    source = "Debian package hydrogen-drumkits; the licence of each kit is in its drumkit.xml"
    description = "a folder for each kit, with drumkit.xml and its samples"
    groups = ("kit",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        tables = sorted(root.rglob("drumkit.xml"))
        if not tables:
            raise self.not_found(root, "there is no drumkit.xml")
        for table in tables:
            kit = normalized_id(table.parent.relative_to(root).as_posix())
            for file, kind in _samples(table):
                if (table.parent / file).is_file():
                    yield DatasetEntry(normalized_id(f"{kit}/{file}"), (kind,), groups={"kit": kit})


def _samples(table: Path) -> Iterator[tuple[str, str]]:
    """Files of a kit and their types, each file once."""
    try:
        # Without the namespace, which newer kits have and older ones have not.
        text = re.sub(r'\sxmlns(:\w+)?="[^"]*"|\sxsi:\w+="[^"]*"', "", table.read_text(encoding="utf-8"))
        instruments = list(ElementTree.fromstring(text).iter("instrument"))  # noqa: S314  # Expat limits expansion
    except (ElementTree.ParseError, UnicodeDecodeError, OSError) as error:
        raise CorpusError(f"{table} is not the table of a drum kit: {error}") from error
    seen: set[str] = set()
    for instrument in instruments:
        kind = drum_type(instrument.findtext("name") or "")
        for file in instrument.iter("filename"):
            if kind and file.text and file.text not in seen:
                seen.add(file.text)
                yield file.text, kind


class SonicPiSamples(DatasetLayout):
    """Samples of Sonic Pi by their prefix. Loops are left out, because their content varies."""

    title = "Sonic Pi's samples"
    source = "Debian package sonic-pi-samples, CC0"
    description = "{prefix}_{name}.flac"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        return self.entries_by_name(root, (".flac", ".wav"))

    def from_id(self, id: str) -> DatasetEntry | None:
        prefix, underscore, _ = PurePosixPath(id).stem.partition("_")
        if not underscore or prefix in ("loop", "misc") or not prefix.isalpha():
            return None
        return DatasetEntry(id, (prefix,))


class Soundfonts(DatasetLayout):
    """Notes of the 128 programs of General MIDI: an instrument of one soundfont has to be found in the others."""

    title = "notes of soundfonts"
    source = "rendered by python -m exp.general.yardstick from Debian's soundfonts"
    description = "{soundfont}/{program}-{number}.wav"
    groups = ("soundfont",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        return self.entries_by_name(root, (".wav",))

    def from_id(self, id: str) -> DatasetEntry | None:
        path = PurePosixPath(id)
        match = re.fullmatch(r"(\d{3})-\d{2}", path.stem)
        if match is None:
            return None
        return DatasetEntry(id, (match[1],), groups={"soundfont": path.parent.name})

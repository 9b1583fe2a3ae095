"""NSynth: single notes, `nsynth-{train,valid,test}/audio/*.wav` with `examples.json` beside each `audio/`.

The label is the family of the instrument. The notes of one instrument, at other pitches and velocities, are a group.
The root may also be one of the three folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from boiler.errors import CorpusError
from boiler.evaluation.datasets import DatasetEntry, DatasetLayout

_PARTS = ("train", "valid", "test")


class NSynth(DatasetLayout):
    """305,979 notes of 1,006 instruments in 11 families."""

    title = "NSynth"
    source = (
        "J. Engel, C. Resnick, A. Roberts, S. Dieleman, D. Eck, K. Simonyan and M. Norouzi, Neural Audio Synthesis of"
        " Musical Notes with WaveNet Autoencoders, ICML 2017"
    )
    description = "nsynth-train, nsynth-valid and nsynth-test (or one of them), each with audio/ and examples.json"
    groups = ("instrument",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        places = [(part, f"nsynth-{part}/") for part in _PARTS if (root / f"nsynth-{part}").is_dir()]
        if not places and (root / "examples.json").exists():
            places = [(next((part for part in _PARTS if root.name.endswith(part)), ""), "")]
        if not places:
            raise self.not_found(root, "there is no nsynth-train, nsynth-valid or nsynth-test, and no examples.json")
        for part, below in places:
            path = root / below / "examples.json"
            try:
                notes = json.loads(path.read_text(encoding="utf-8"))
                for name, note in sorted(notes.items()):
                    yield DatasetEntry(
                        f"{below}audio/{name}.wav",
                        (str(note["instrument_family_str"]),),
                        fold=part,
                        groups={"instrument": str(note["instrument_str"])},
                    )
            except OSError as error:
                raise self.not_found(root, f"it has no {below}examples.json") from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CorpusError(f"{path} is not the table of notes of {self.title}: {error}") from error

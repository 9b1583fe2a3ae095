"""The search for the best encoder that needs no training of its own, repeatable: see records/encoders.md.

    python -m exp.studies.encoder_search ../shared/data dev      # the parts, on the classes for choosing
    python -m exp.studies.encoder_search ../shared/data all      # everything, once: also the classes set aside
    python -m exp.studies.encoder_search ../shared/data unseen   # tested on recordings and speakers not learned from

The folder holds `esc10/` and `fsdd/`. One thread; some minutes each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from boiler import encoder
from boiler.audio import stream, synthesis, windows
from boiler.encoder import joined_descriptors, whitening
from boiler.encoder.joined_descriptors import JoinedDescriptors
from boiler.encoder.loop_length import loop_length
from boiler.evaluation import robustness
from boiler.progress import meter

CHOOSING = {"baby_cry", "chainsaw", "clock_tick", "dog_bark", "fire_crackling", "helicopter", *"012345"}


class Collection:
    """Sounds with a label each, and a group whose members do not answer for one another."""

    def __init__(self, name: str, sounds: list[np.ndarray], labels: list[str], groups: list[str]) -> None:
        self.name, self.sounds, self.labels, self.groups = name, sounds, np.array(labels), np.array(groups)

    def some(self, which: np.ndarray) -> Collection:
        places = np.flatnonzero(which)
        return Collection(self.name, [self.sounds[i] for i in places], self.labels[which], self.groups[which])


def clip_of(made: JoinedDescriptors, window: stream.Samples) -> Tensor:
    """The log-mel of the clip that fills a window, without its repetitions: [F, M]."""
    waveform = torch.from_numpy(window)
    return made.clip(waveform, loop_length(waveform))


def esc(folder: Path) -> Collection:
    files = sorted((folder / "esc10").glob("*/*.ogg"))
    recordings = ["-".join(file.stem.split("-")[:2]) for file in files]
    return Collection("ESC-10", [stream.load(file) for file in files], [file.parent.name for file in files], recordings)


def fsdd(folder: Path) -> Collection:
    files = sorted((folder / "fsdd").glob("*.wav"))
    speakers = [file.stem.split("_")[1] for file in files]
    return Collection("FSDD", [stream.load(file) for file in files], [file.stem[0] for file in files], speakers)


def made_up(per_kind: int = 24) -> Collection:
    sounds, labels = [], []
    for place, kind in enumerate(synthesis.KINDS):
        for number in range(per_kind):
            made = synthesis.synthesize(kind, np.random.default_rng((7, place, number)))
            sounds.append(stream.soxr.resample(made, synthesis.RATE_HZ, stream.SAMPLE_RATE_HZ))
            labels.append(kind)
    return Collection("made up", sounds, labels, [str(i) for i in range(len(sounds))])


def batches(sounds: Iterable[np.ndarray], size: int = 16) -> Iterator[Tensor]:
    """Windows of them, [B, 1, T]: made when asked for, since 3,400 at once are 2 GB."""
    rest = iter(sounds)
    while some := list(islice(rest, size)):
        yield torch.from_numpy(np.stack([windows.fill_window(sound) for sound in some]))[:, None]


def vectors_of(made: encoder.Encoder, sounds: Iterable[np.ndarray]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([made(batch) for batch in batches(sounds)])


def measured(vectors: Tensor, of: Collection) -> tuple[float, float, float]:
    """P@1, P@10, mAP: every sound a query, its group left out of the answers."""
    likeness = (normalize(vectors, dim=1) @ normalize(vectors, dim=1).T).numpy().copy()
    likeness[of.groups[:, None] == of.groups] = -np.inf
    order = np.argsort(-likeness, axis=1, kind="stable")
    first, ten, average = [], [], []
    for row, ranked in enumerate(order):
        hits = (of.labels[ranked] == of.labels[row])[: int(np.isfinite(likeness[row]).sum())]
        found = np.cumsum(hits)
        first.append(hits[0])
        ten.append(hits[:10].mean())
        average.append((found[hits] / (np.flatnonzero(hits) + 1)).mean() if hits.any() else 0.0)
    return float(np.mean(first)), float(np.mean(ten)), float(np.mean(average))


def line(what: str, rows: dict[str, Tensor], collections: list[Collection]) -> None:
    cells = [
        " / ".join(f"{value:.3f}"[1:] if value < 1 else "1.0" for value in measured(rows[one.name], one))
        for one in collections
    ]
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def fit(made: encoder.Fitted, learned_from: list[Collection], seed: int) -> float:
    """Fits, and returns the processor seconds that took."""
    sounds = [sound for one in learned_from for sound in one.sounds]
    order = np.random.default_rng(seed).permutation(len(sounds))
    joined_descriptors.SEED = seed
    begin = time.process_time()
    made.fit(batches(sounds[place] for place in order))
    return time.process_time() - begin


def halves(vectors: Tensor) -> dict[str, Tensor]:
    return {
        "all 192": vectors,
        "linear 64": vectors[:, : joined_descriptors.LINEAR_DIM],
        "projection 128": vectors[:, joined_descriptors.LINEAR_DIM :],
        "int8": (vectors * 127 / vectors.abs().max()).round(),
        "192 bits": vectors.sign(),
    }


def show(made: encoder.Encoder, what: str, collections: list[Collection]) -> dict[str, Tensor]:
    rows = {one.name: vectors_of(made, one.sounds) for one in collections}
    line(what, rows, collections)
    return rows


def dev(folder: Path, seeds: int) -> None:
    """What each part is worth, on the classes for choosing."""
    learned_from = [one.some(np.isin(one.labels, list(CHOOSING))) for one in (esc(folder), fsdd(folder))]
    learned_from[1] = learned_from[1].some(np.arange(len(learned_from[1].sounds)) % 2 == 0)
    collections = [*learned_from, made_up(12)]
    made = JoinedDescriptors()
    with torch.inference_mode(False), torch.no_grad():
        clips = {one.name: [clip_of(made, windows.fill_window(sound)) for sound in one.sounds] for one in collections}
        draw = torch.Generator().manual_seed(0)
        all_clips = [clip for one in learned_from for clip in clips[one.name]]
        made.descriptors = made._fit_descriptors(all_clips, draw)
        with meter("views", len(all_clips)) as progress:
            views = made._described_views(all_clips, draw, progress)
        parts = {
            name: [torch.stack(part) for part in zip(*(made.descriptors(c) for c in some), strict=True)]
            for name, some in clips.items()
        }
        names = ["mfcc_contour", "mfcc_moments", "mfcc_covariance", "modulation", "patch_codes", "patch_filters"]
        for at, name in enumerate(names):
            white = whitening.Whitening(
                **whitening.fit([views[at].flatten(0, 1)], joined_descriptors.DIMS_PER_DESCRIPTOR)
            )
            line(f"{name} alone, half-whitened", {key: white(value[at]) for key, value in parts.items()}, collections)
        white = [
            whitening.Whitening(**whitening.fit([v.flatten(0, 1)], joined_descriptors.DIMS_PER_DESCRIPTOR))
            for v in views
        ]
        line(
            "all six, each half-whitened, joined",
            {key: torch.cat([w(v) for w, v in zip(white, value, strict=True)], 1) for key, value in parts.items()},
            collections,
        )
        for left_out in [None, *range(6)]:
            kept = [i for i in range(6) if i != left_out]
            with meter("training", joined_descriptors.STEPS) as progress:
                head = made._fit_head([views[i] for i in kept], torch.Generator().manual_seed(1), progress)
            rows = {
                key: torch.stack([head(row) for row in torch.cat([value[i] for i in kept], 1)])
                for key, value in parts.items()
            }
            if left_out is None:
                for what, some in {
                    w: {k: halves(v)[w] for k, v in rows.items()} for w in ("linear 64", "projection 128")
                }.items():
                    line(f"all six, {what}", some, collections)
            line("all six by contrast" if left_out is None else f"without {names[left_out]}", rows, collections)


def whole(folder: Path, seeds: int) -> None:
    """Learned from everything, unlabelled; measured on everything, on the classes set aside, and stored smaller."""
    collections = [esc(folder), fsdd(folder), made_up()]
    aside = [one.some(~np.isin(one.labels, list(CHOOSING))) for one in collections[:2]]
    classic = encoder.create("MFCCStats")
    fit(classic, collections[:2], 0)
    show(classic, "MFCCStats", collections)
    for seed in range(seeds):
        made = JoinedDescriptors()
        took = fit(made, collections[:2], seed)
        rows = show(made, f"JoinedDescriptors, seed {seed}, {took:.0f} s", collections)
        for what in ("linear 64", "projection 128", "int8", "192 bits"):
            line(what, {key: halves(value)[what] for key, value in rows.items()}, collections)
        for one, other in zip(aside, collections[:2], strict=True):
            rows[one.name] = rows[one.name][torch.from_numpy(~np.isin(other.labels, list(CHOOSING)))]
        line("classes set aside", rows, aside)
        if seed == 0:
            robust(made, collections[0])


def unseen(folder: Path, seeds: int) -> None:
    """Learned from three folds of ESC-10 and three speakers; measured on the others."""
    environment, digits = esc(folder), fsdd(folder)
    folds = np.array([int(group[0]) for group in environment.groups])
    speakers = np.unique(digits.groups)
    known = np.isin(digits.groups, speakers[::2])
    tested = [environment.some(folds > 3), digits.some(~known), made_up()]
    for name in ("MFCCStats", "JoinedDescriptors"):
        made = encoder.create(name)
        fit(made, [environment.some(folds <= 3), digits.some(known)], 0)
        show(made, f"{name}, learned from others", tested)
        made = encoder.create(name)
        fit(made, tested[:2], 0)
        show(made, f"{name}, learned from these", tested)


def robust(made: encoder.Encoder, one: Collection) -> None:
    """How often every other clip, altered, still finds its original first among all."""
    originals = vectors_of(made, one.sounds)
    asked = torch.arange(0, len(originals), 2)
    print("| alteration | original first | mean cosine | lowest |\n| --- | --- | --- | --- |")
    for name, alter in robustness.ALTERATIONS.items():
        altered = (
            alter(sound[: windows.WINDOW_SAMPLES], np.random.default_rng(place), windows.SAMPLE_RATE_HZ)
            for place, sound in enumerate(one.sounds)
            if place % 2 == 0
        )
        likeness = vectors_of(made, altered) @ originals.T
        own = likeness[torch.arange(len(asked)), asked]
        first = (likeness.argmax(dim=1) == asked).float().mean()
        print(f"| {name} | {first:.3f} | {own.mean():.3f} | {own.min():.3f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["dev", "all", "unseen"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"dev": dev, "all": whole, "unseen": unseen}[given.what](given.folder, given.seeds)
    sys.exit(0)

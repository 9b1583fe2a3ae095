"""Reproduce the search for the best encoder without a checkpoint, see records/encoders.md.

    python -m exp.studies.encoder_search ../shared/data dev      # each descriptor, on the development classes
    python -m exp.studies.encoder_search ../shared/data all      # all data, and the held-out classes
    python -m exp.studies.encoder_search ../shared/data unseen   # tested on unseen recordings and speakers

The folder holds `esc10/` and `fsdd/`. Runs on one thread for some minutes.
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
from boiler.encoder import contrastive_head, joined_descriptors, whitening
from boiler.encoder.joined_descriptors import JoinedDescriptors
from boiler.encoder.loop_length import loop_length
from boiler.evaluation import robustness
from boiler.progress import meter

DEV_CLASSES = {"baby_cry", "chainsaw", "clock_tick", "dog_bark", "fire_crackling", "helicopter", *"012345"}


class Collection:
    """Sounds with a label and a group each; a sound is not an answer to queries of its own group."""

    def __init__(self, name: str, sounds: list[np.ndarray], labels: list[str], groups: list[str]) -> None:
        self.name, self.sounds, self.labels, self.groups = name, sounds, np.array(labels), np.array(groups)

    def subset(self, which: np.ndarray) -> Collection:
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


def synthesized(per_kind: int = 24) -> Collection:
    sounds, labels = [], []
    for place, kind in enumerate(synthesis.KINDS):
        for number in range(per_kind):
            made = synthesis.synthesize(kind, np.random.default_rng((7, place, number)))
            sounds.append(stream.soxr.resample(made, synthesis.RATE_HZ, stream.SAMPLE_RATE_HZ))
            labels.append(kind)
    return Collection("synthesized", sounds, labels, [str(i) for i in range(len(sounds))])


def batches(sounds: Iterable[np.ndarray], size: int = 16) -> Iterator[Tensor]:
    """Yield batches of windows lazily, as 3,400 at once take 2 GB. Shape: [B, 1, T]"""
    rest = iter(sounds)
    while batch := list(islice(rest, size)):
        yield torch.from_numpy(np.stack([windows.fill_window(sound) for sound in batch]))[:, None]


def vectors_of(made: encoder.Encoder, sounds: Iterable[np.ndarray]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([made(batch) for batch in batches(sounds)])


def measured(vectors: Tensor, collection: Collection) -> tuple[float, float, float]:
    """P@1, P@10 and mAP with every sound as a query and its group excluded from the answers."""
    similarity = (normalize(vectors, dim=1) @ normalize(vectors, dim=1).T).numpy().copy()
    similarity[collection.groups[:, None] == collection.groups] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")
    first, ten, average = [], [], []
    for row, ranked in enumerate(order):
        hits = (collection.labels[ranked] == collection.labels[row])[: int(np.isfinite(similarity[row]).sum())]
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


def fit(made: encoder.Fitted, fitted_on: list[Collection], seed: int) -> float:
    """Fit the encoder; return the CPU seconds it took."""
    sounds = [sound for one in fitted_on for sound in one.sounds]
    order = np.random.default_rng(seed).permutation(len(sounds))
    joined_descriptors.SEED = seed
    start = time.process_time()
    made.fit(batches(sounds[place] for place in order))
    return time.process_time() - start


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
    """Measure each descriptor alone, all together, and all but one, on the development classes."""
    fitted_on = [one.subset(np.isin(one.labels, list(DEV_CLASSES))) for one in (esc(folder), fsdd(folder))]
    fitted_on[1] = fitted_on[1].subset(np.arange(len(fitted_on[1].sounds)) % 2 == 0)
    collections = [*fitted_on, synthesized(12)]
    made = JoinedDescriptors()
    with torch.inference_mode(False), torch.no_grad():
        clips = {one.name: [clip_of(made, windows.fill_window(sound)) for sound in one.sounds] for one in collections}
        rng = torch.Generator().manual_seed(0)
        all_clips = [clip for one in fitted_on for clip in clips[one.name]]
        made.descriptors = made._fit_descriptors(all_clips, rng)
        with meter("views", len(all_clips)) as progress:
            views = made._described_views(all_clips, rng, progress)
        parts = {
            name: [torch.stack(part) for part in zip(*(made.descriptors(c) for c in some_clips), strict=True)]
            for name, some_clips in clips.items()
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
                head = contrastive_head.fit_head(
                    [views[i] for i in kept],
                    joined_descriptors.DIMS_PER_DESCRIPTOR,
                    torch.Generator().manual_seed(1),
                    steps=joined_descriptors.STEPS,
                    on_step=progress.step,
                )
            rows = {
                key: torch.stack([head(row) for row in torch.cat([value[i] for i in kept], 1)])
                for key, value in parts.items()
            }
            if left_out is None:
                for what, part in {
                    w: {k: halves(v)[w] for k, v in rows.items()} for w in ("linear 64", "projection 128")
                }.items():
                    line(f"all six, {what}", part, collections)
            line("all six, contrastive head" if left_out is None else f"without {names[left_out]}", rows, collections)


def whole(folder: Path, seeds: int) -> None:
    """Fit to all sounds without labels; measure on all, on the held-out classes, and with smaller vectors."""
    collections = [esc(folder), fsdd(folder), synthesized()]
    held_out = [one.subset(~np.isin(one.labels, list(DEV_CLASSES))) for one in collections[:2]]
    classic = encoder.create("MFCCStats")
    fit(classic, collections[:2], 0)
    show(classic, "MFCCStats", collections)
    for seed in range(seeds):
        made = JoinedDescriptors()
        took = fit(made, collections[:2], seed)
        rows = show(made, f"JoinedDescriptors, seed {seed}, {took:.0f} s", collections)
        for what in ("linear 64", "projection 128", "int8", "192 bits"):
            line(what, {key: halves(value)[what] for key, value in rows.items()}, collections)
        for one, other in zip(held_out, collections[:2], strict=True):
            rows[one.name] = rows[one.name][torch.from_numpy(~np.isin(other.labels, list(DEV_CLASSES)))]
        line("held-out classes", rows, held_out)
        if seed == 0:
            robust(made, collections[0])


def unseen(folder: Path, seeds: int) -> None:
    """Fit to three folds of ESC-10 and three speakers of FSDD; measure on the others."""
    environment, digits = esc(folder), fsdd(folder)
    folds = np.array([int(group[0]) for group in environment.groups])
    speakers = np.unique(digits.groups)
    known = np.isin(digits.groups, speakers[::2])
    tested = [environment.subset(folds > 3), digits.subset(~known), synthesized()]
    for name in ("MFCCStats", "JoinedDescriptors"):
        made = encoder.create(name)
        fit(made, [environment.subset(folds <= 3), digits.subset(known)], 0)
        show(made, f"{name}, fitted to others", tested)
        made = encoder.create(name)
        fit(made, tested[:2], 0)
        show(made, f"{name}, fitted to these", tested)


def robust(made: encoder.Encoder, one: Collection) -> None:
    """For every second clip: how often its altered version finds the original first among all."""
    originals = vectors_of(made, one.sounds)
    query_rows = torch.arange(0, len(originals), 2)
    print("| alteration | original first | mean cosine | lowest |\n| --- | --- | --- | --- |")
    for name, alter in robustness.ALTERATIONS.items():
        altered = (
            alter(sound[: windows.WINDOW_SAMPLES], np.random.default_rng(place), windows.SAMPLE_RATE_HZ)
            for place, sound in enumerate(one.sounds)
            if place % 2 == 0
        )
        similarity = vectors_of(made, altered) @ originals.T
        own = similarity[torch.arange(len(query_rows)), query_rows]
        first = (similarity.argmax(dim=1) == query_rows).float().mean()
        print(f"| {name} | {first:.3f} | {own.mean():.3f} | {own.min():.3f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["dev", "all", "unseen"])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"dev": dev, "all": whole, "unseen": unseen}[args.what](args.folder, args.seeds)
    sys.exit(0)

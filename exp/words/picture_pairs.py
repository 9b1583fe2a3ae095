"""Measure `boiler.train_pictures` on pairs: `python -m exp.words.picture_pairs STAMPS`, the folder
`usr/share/tuxpaint/stamps` of Debian's package tuxpaint-stamps-default.

A pair is a picture and the sound effect of the same name (files of the same bytes are one sound); what is spoken
(descriptions, letters, numbers) is left out. Ten times, a fifth of the pairs is held out; printed is how often a
held-out picture finds its sound among the held-out ones: by the trained space for each loss, by the names of what
the picture shows (no pairs used), and by chance.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from boiler.crossmodal import picture_query, trainer
from boiler.crossmodal.trainer import LOSSES, SpaceTrainSettings
from boiler.crossmodal.training_pairs import RECALL_AT, PicturedVectors
from boiler.indexing import pipeline
from boiler.search.nearest import Nearest
from boiler.search.snapshot import Snapshot
from boiler.search.words import WeightedWords, row_similarity, understand_picture
from boiler.vision import picture_features
from boiler.vision.picture_features import PictureSource

SPOKEN = ("symbols", "military", "town")
SEEDS = range(10)
HELD_SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stamps", type=Path, metavar="STAMPS")
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    names = sorted(
        path.relative_to(args.stamps).with_suffix("").as_posix()
        for path in args.stamps.rglob("*.ogg")
        if path.with_suffix(".png").is_file() and path.relative_to(args.stamps).parts[0] not in SPOKEN
    )
    with tempfile.TemporaryDirectory() as folder:
        sounds = Path(folder) / "sounds"
        for name in names:
            (sounds / name).parent.mkdir(parents=True, exist_ok=True)
            (sounds / f"{name}.ogg").symlink_to(args.stamps / f"{name}.ogg")
        settings = pipeline.IndexSettings(sounds, "GeneralEncoder", model_dir=Path(folder) / "index", workers=1)
        pipeline.index(settings)
        with Nearest(Path(folder) / "index") as nearest:
            items = [item for item in nearest.items(limit=1_000) if not item.silent]
            sound_of = {item.id.removesuffix(".ogg"): item.sha256 for item in items}
            found = {item.sha256: nearest.query_vector(item.n) for item in items}
        names = [name for name in names if name in sound_of]
        sounds_found = [*found]
        network = picture_query.open_network()
        sources = [PictureSource(args.stamps / f"{name}.png") for name in names]
        features, _ = picture_features.features_of(sources, network, Path(folder) / "features.npz")
        data = PicturedVectors.from_pairs(
            np.stack([*found.values()]),
            np.stack([features[source] for source in sources]),
            [(sounds_found.index(sound_of[name]), n) for n, name in enumerate(names)],
            network.sha256,
        )
        print(f"{len(names)} pictures, {len(found)} sounds")
        one_name = {sound: name for name, sound in sound_of.items()}
        by_names = _match_by_names(Path(folder) / "index", [one_name[sound] for sound in sounds_found], sources)
        for method in (*LOSSES, "names of what it shows"):
            rows = []
            for seed in SEEDS:
                if method in LOSSES:
                    run = Path(folder) / method / str(seed)
                    chosen = SpaceTrainSettings(
                        run, loss=method, steps=args.steps, held_share=HELD_SHARE, seed=seed, steps_per_checkpoint=10**6
                    )
                    metrics = trainer.train(data, "", chosen).metrics
                else:
                    held = data.split(HELD_SHARE, seed)[1]
                    metrics = data.metrics(by_names[:, held].T, np.eye(len(names), dtype=np.float32), held)
                rows.append([metrics[f"{what}_at_{k}"] for k in RECALL_AT for what in ("recall", "chance")])
            mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0)
            print(
                f"{method}: "
                + ", ".join(
                    f"recall at {k} {mean[2 * n]:.3f} (standard deviation {deviation[2 * n]:.3f}, by chance"
                    f" {mean[2 * n + 1]:.3f})"
                    for n, k in enumerate(RECALL_AT)
                )
            )


def _match_by_names(model_dir: Path, names: list[str], sources: list[PictureSource]) -> np.ndarray:
    """How well each sound matches each picture by class names. Shape: [pictures, sounds]"""
    snapshot = Snapshot.open(model_dir)
    first = [snapshot.rows_of(f"{name}.ogg")[1][0] for name in names]
    rows = []
    for source in sources:
        seen = picture_query.see(source.path).classes
        rows.append(row_similarity(snapshot, [WeightedWords(understand_picture(snapshot, seen), 1.0)])[first])
    return np.stack(rows)


if __name__ == "__main__":
    main()

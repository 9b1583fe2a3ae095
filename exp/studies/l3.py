"""Audio-visual training on made-up videos: correspondence and retrieval on videos kept out, and by kind.

    $ python -m exp.studies.l3 --folder /tmp/l3 --per_kind 12 --steps 600

Writes videos (`exp.common.made_videos`), trains `boiler.train_l3` on them, and prints what its checkpoint reaches on
the videos held out: pairs told apart; how often the own picture of a sound is the first, and how often the first is of
its kind, with chance beside both.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from boiler.model import l3_joint
from boiler.training import correspondence
from boiler.training.correspondence import L3TrainSettings
from exp.common.made_videos import write_videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for videos and checkpoints")
    parser.add_argument("--per_kind", type=int, default=12, help="videos of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="trainings, each with its own seed (default: %(default)s)")
    args = parser.parse_args()
    videos = args.folder / "videos"
    if not videos.is_dir():
        print(f"{len(write_videos(videos, per_kind=args.per_kind))} videos", flush=True)
    for seed in range(args.seeds):
        began = time.monotonic()
        result = correspondence.train(
            L3TrainSettings(videos, args.folder / f"seed_{seed}", steps=args.steps, seed=seed, held_share=0.2)
        )
        minutes = (time.monotonic() - began) / 60
        network = l3_joint.load(result.path).build().eval()
        _, held = result.dataset.split(0.2, seed)
        numbers, begins = result.dataset.evenly(held, 1)
        with torch.inference_mode():
            audio, image = correspondence.embed(network, result.dataset, numbers, begins)
        kinds = [Path(result.dataset.videos[n].id).parent.name for n in numbers]
        first = (audio @ image.T).argmax(dim=1).tolist()
        of_kind = sum(kinds[n] == kinds[found] for n, found in enumerate(first)) / len(first)
        by_chance = sum(kinds.count(kind) for kind in kinds) / len(kinds) ** 2
        said = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
        print(
            f"seed {seed}, {result.step} steps in {minutes:.1f} min, {len(held)} videos held out: {said}, "
            f"first picture of the same kind {of_kind:.3f} (chance {by_chance:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()

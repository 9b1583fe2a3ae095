"""Audio-visual training on made-up videos: correspondence and retrieval on videos kept out, and by kind.

    $ python -m exp.studies.l3 --folder /tmp/l3 --per_kind 12 --steps 600

Writes videos (`exp.common.made_videos`), trains `boiler.train_l3` on them, and prints what its checkpoint reaches on
the videos held out: pairs told apart, of all videos and of those of other kinds alone (a picture of the same kind cannot
be told from the right one); how often the own picture of a sound is the first, and how often the first is of its kind,
with chance beside both. `--measure FILE ...` measures checkpoints of one training and trains nothing; of several, it also
chooses the one that tells apart most pairs of half of the videos held out, and measures that one on the other half.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from boiler.model import l3_joint
from boiler.training import correspondence
from boiler.training.correspondence import L3TrainSettings
from boiler.training.videos import VideoDataset, prepare_videos
from exp.common.made_videos import write_videos

HELD_SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for videos and checkpoints")
    parser.add_argument("--per_kind", type=int, default=12, help="videos of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="trainings, each with its own seed (default: %(default)s)")
    parser.add_argument(
        "--measure", type=Path, nargs="+", metavar="FILE", help="checkpoints of seed 0, which are only measured"
    )
    args = parser.parse_args()
    videos = args.folder / "videos"
    if not videos.is_dir():
        print(f"{len(write_videos(videos, per_kind=args.per_kind))} videos", flush=True)
    if args.measure:
        shrink = l3_joint.load(args.measure[0]).build().settings.image_shrink
        dataset = prepare_videos(videos, args.folder / "cache", shrink)
        for checkpoint in args.measure:
            print(f"{checkpoint.name}: {measured(checkpoint, dataset, 0)}", flush=True)
        if len(args.measure) > 1:
            print(chosen_by_halves(args.measure, dataset, 0))
        return
    for seed in range(args.seeds):
        began = time.monotonic()
        result = correspondence.train(
            L3TrainSettings(videos, args.folder / f"seed_{seed}", steps=args.steps, seed=seed, held_share=HELD_SHARE)
        )
        minutes = (time.monotonic() - began) / 60
        said = measured(result.path, result.dataset, seed)
        print(f"seed {seed}, {result.step} steps in {minutes:.1f} min, {said}", flush=True)


@torch.inference_mode()
def chosen_by_halves(checkpoints: list[Path], dataset: VideoDataset, seed: int, draws: int = 5) -> str:
    """The accuracy of a checkpoint on videos that had no say in which checkpoint it is."""
    _, held = dataset.split(HELD_SHARE, seed)
    networks = [l3_joint.load(checkpoint).build().eval() for checkpoint in checkpoints]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(held)
        halves = [sorted(half.tolist()) for half in np.array_split(order, 2)]
        accuracy = np.array(
            [[correspondence.evaluate(n, dataset, h)["correspondence_accuracy"] for h in halves] for n in networks]
        )
        found += [accuracy[accuracy[:, 0].argmax(), 1], accuracy[accuracy[:, 1].argmax(), 0]]
    return (
        f"chosen on a half, measured on the other: pairs told apart {np.mean(found):.3f} (mean of {len(found)}, from "
        f"{np.min(found):.3f} to {np.max(found):.3f})"
    )


@torch.inference_mode()
def measured(checkpoint: Path, dataset: VideoDataset, seed: int) -> str:
    network = l3_joint.load(checkpoint).build().eval()
    _, held = dataset.split(HELD_SHARE, seed)
    metrics = correspondence.evaluate(network, dataset, held)
    numbers, begins = dataset.evenly(held, correspondence.HELD_SECONDS)
    audio, image = correspondence.embed(network, dataset, numbers, begins)
    kinds = [Path(dataset.videos[n].id).parent.name for n in numbers]
    other = torch.tensor([[one != another for another in kinds] for one in kinds])
    logits = network.logits(audio, image)
    true = (logits.diagonal() > 0).float().mean()
    false = ((logits <= 0) & other).sum() / other.sum()
    numbers, begins = dataset.evenly(held, 1)
    audio, image = correspondence.embed(network, dataset, numbers, begins)
    kinds = [Path(dataset.videos[n].id).parent.name for n in numbers]
    first = (audio @ image.T).argmax(dim=1).tolist()
    of_kind = sum(kinds[n] == kinds[found] for n, found in enumerate(first)) / len(first)
    by_chance = sum(kinds.count(kind) for kind in kinds) / len(kinds) ** 2
    said = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    return (
        f"{len(held)} videos held out: {said}; accuracy against other kinds {float(true + false) / 2:.3f} (true pairs "
        f"{float(true):.3f}, false {float(false):.3f}), first picture of the same kind {of_kind:.3f} (chance "
        f"{by_chance:.3f})"
    )


if __name__ == "__main__":
    main()

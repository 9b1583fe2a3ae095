"""Train the word model of the package: `python -m exp.words.train --crops DIR --weights general.safetensors`.

Needs DIR of `exp.words.teacher`: spectrograms of crops of the corpus, and what YAMNet says of them. The vectors of the
crops are computed with the given weights of the general encoder; a network of one hidden layer learns from these what
the teacher says. It takes a minute or two of one core, so it is run anew whenever the general encoder's weights change:
the model states their sha256, and `boiler index` uses it with no others.

What competes for a sound are standardised log-odds (mean and deviation over the corpus, times `COMPETITION`): a class
that the teacher gives to everything says nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from boiler import files
from boiler.crossmodal import word_model
from boiler.crossmodal.word_model import WordModel
from boiler.encoder import create
from boiler.encoder.general import GeneralEncoder
from boiler.model.general import scaled
from exp.general.teachers import LOWEST

HIDDEN = 512
EPOCHS = 25
BATCH = 256
LOGIT_OFFSET = 1.0
"""Added to the teacher's log-odds, which are low for crops as short as these."""
BELOW_LOUDEST = 1.5
"""A class that sounds only for a moment: the loudest patch's log-odds less this, if that is more than the mean."""
LOWEST_LOGIT, HIGHEST_LOGIT = -10.0, 8.0
LOGIT_WEIGHT = 1.0
"""Of the squared error of log-odds, beside the cross-entropy: it tells the improbable classes apart."""
COMPETITION = 2.5


def crops(folder: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays that the teacher wrote."""
    parts = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz"))]
    if not parts:
        raise SystemExit(f"{folder} is empty: python -m exp.words.teacher")
    return {name: np.concatenate([part[name] for part in parts]) for name in ("frames", "mel", "mean", "loudest")}


@torch.inference_mode()
def vectors(encoder: GeneralEncoder, frames: NDArray[np.int64], mels: NDArray[np.float16]) -> Tensor:
    """The encoder's vectors of crops, from their spectrograms. Shape: frames [N], mels [sum of frames, M] to [N, D]"""
    ends = np.cumsum(frames)
    order = np.argsort(frames, kind="stable")
    found = torch.zeros(len(frames), encoder.dim)
    for begin in range(0, len(order), 16):
        some = order[begin : begin + 16]
        log = np.full((len(some), int(frames[some].max()), mels.shape[1]), LOWEST, np.float32)
        for row, n in zip(log, some, strict=True):
            row[: frames[n]] = mels[ends[n] - frames[n] : ends[n]]
        power = torch.from_numpy(10**log).transpose(1, 2)
        found[torch.from_numpy(some)] = functional.normalize(encoder.network(scaled(power, encoder.mel.decades)), dim=1)
    return found


def train(sounds: Tensor, teacher: Tensor, seed: int) -> nn.Sequential:
    """The network. Shape: sounds [N, D], standardised, teacher [N, C] log-odds"""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Dropout(0.1),
        nn.Linear(sounds.shape[1], HIDDEN),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN, teacher.shape[1]),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
    steps = EPOCHS * -(-len(sounds) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (steps + 1))
    probabilities, kept = torch.sigmoid(teacher + LOGIT_OFFSET), teacher.clamp(LOWEST_LOGIT, HIGHEST_LOGIT)
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in torch.randperm(len(sounds)).split(BATCH):
            logits = network(sounds[chosen])
            entropy = functional.binary_cross_entropy_with_logits(logits, probabilities[chosen], reduction="none")
            loss = entropy.sum(dim=1).mean() + LOGIT_WEIGHT * functional.mse_loss(logits, kept[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen) / len(sounds)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total:.3f}", flush=True)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, required=True, metavar="DIR", help="what exp.words.teacher wrote")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of the general encoder")
    parser.add_argument("--out", type=Path, default=word_model.FILE, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    classes = tuple((args.crops / "classes.txt").read_text("utf-8").splitlines())
    found = crops(args.crops)
    encoder = create("GeneralEncoder", args.weights)
    assert isinstance(encoder, GeneralEncoder)
    sounds = vectors(encoder, found["frames"], found["mel"])
    print(f"{len(sounds):,} crops", flush=True)
    mean, scale = sounds.mean(dim=0), sounds.std(dim=0) + 1e-4
    sounds = (sounds - mean) / scale
    teacher = torch.from_numpy(np.maximum(found["mean"].astype(np.float32), found["loudest"] - BELOW_LOUDEST))
    network = train(sounds, teacher.float(), args.seed)
    with torch.no_grad():
        logits = network(sounds)
    hidden, last = network[1], network[4]
    factor = COMPETITION / logits.std(dim=0)
    weights = {
        "mean": mean,
        "scale": scale,
        "hidden_weight": hidden.weight.T,
        "hidden_bias": hidden.bias,
        "weight": last.weight.T * factor,
        "bias": (last.bias - logits.mean(dim=0)) * factor,
    }
    model = WordModel(
        classes, {name: value.detach().numpy() for name, value in weights.items()}, files.sha256_of(args.weights)
    )
    model.save(args.out)
    print(f"{args.out}: {len(classes)} classes, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

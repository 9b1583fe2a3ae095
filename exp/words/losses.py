"""Compare the losses and the audio sides of `boiler train_words`: `python -m exp.words.losses MODEL_DIR`, an index of
ESC-10's folders.

For ten random halves of the classes, a space is learned from one half; of the sounds of the other one the share is
printed for which the name of their own class is the nearest of the five unseen names, and of the seen sounds that were
held out the share with their own of all seen names. With `--audio cnn` a network over spectrograms is trained in the
place of the vectors of the index; with `--sentence_model` the names have its vectors in the place of GloVe's.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from boiler.crossmodal import sentences, trainer
from boiler.crossmodal.common_space import words_of
from boiler.crossmodal.mel_windows import mel_windows
from boiler.crossmodal.trainer import LOSSES, SpaceTrainSettings
from boiler.crossmodal.training_pairs import LabelledVectors
from boiler.evaluation.zero_shot import HALVES
from boiler.search.nearest import Nearest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--audio", choices=("encoder", "cnn"), default="encoder")
    parser.add_argument("--wav_dir", type=Path, help="for --audio cnn: the folder that was indexed")
    parser.add_argument("--loss", choices=LOSSES, nargs="+", default=LOSSES)
    parser.add_argument("--sentence_model", type=Path, metavar="DIR")
    parser.add_argument("--halves", type=int, default=HALVES, help="of the ten, only so many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as room, Nearest(args.model_dir) as nearest:
        items = nearest.items(limit=len(nearest))
        if args.audio == "encoder":
            sounds = np.stack([nearest.query_vector(item.n) for item in items])
            numbers = np.arange(len(items))
        else:
            sounds, numbers, _ = mel_windows(args.wav_dir, [item.id for item in items], Path(room) / "spectrograms")
        labels = np.array([items[n].label for n in numbers])
        compare(args, sounds, labels, numbers)


def compare(args: argparse.Namespace, sounds: np.ndarray, labels: np.ndarray, numbers: np.ndarray) -> None:
    model = None if args.sentence_model is None else sentences.load(args.sentence_model)
    names = sorted({*labels.tolist()})
    rng = np.random.default_rng(0)
    halves = [{names[n] for n in rng.permutation(len(names))[: len(names) // 2]} for _ in range(HALVES)]
    for loss in args.loss:
        unseen, seen = [], []
        for hidden in halves[: args.halves]:
            is_hidden = np.isin(labels, sorted(hidden))
            pairs = LabelledVectors.from_labels(
                sounds[~is_hidden], [(one,) for one in labels[~is_hidden]], numbers[~is_hidden], model
            )
            with tempfile.TemporaryDirectory() as folder:
                settings = SpaceTrainSettings(
                    Path(folder), loss=loss, steps=args.steps, batch_size=args.batch_size, steps_per_checkpoint=10**6
                )
                result = trainer.train(pairs, "" if args.audio == "encoder" else None, settings)
            asked = LabelledVectors.from_labels(sounds[is_hidden], [(one,) for one in labels[is_hidden]])
            with torch.no_grad():
                blocks = np.array_split(np.arange(len(asked.vectors)), 8)
                in_space = np.concatenate(
                    [result.network.of_sounds(torch.from_numpy(asked.vectors[block])).numpy() for block in blocks]
                )
            space = result.space if model is None else replace(result.space, sentences=model)
            of_names = np.stack([space.of_words(words_of(name)) for name in asked.label_names])
            best = (in_space @ of_names.T).argmax(axis=1)
            rows = np.arange(len(best))
            unseen.append(asked.of(rows)[rows, best].mean())
            seen.append(result.metrics["label_accuracy"])
        print(
            f"{args.audio}, {loss}, {args.sentence_model or 'GloVe'}: unseen names {np.mean(unseen):.3f} (halves {np.min(unseen):.2f} to"
            f" {np.max(unseen):.2f}), seen names {np.mean(seen):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

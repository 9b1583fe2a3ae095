"""Train a model that finds sounds by words, from labelled sounds.

    $ boiler train_words --model_dir exp/esc10/MFCCStats --labels folder --save_path exp/words
    $ boiler train_words --model_dir exp/loops/MFCCStats --labels loops.csv --save_path exp/words_2
    $ boiler train_words --wav_dir ~/sounds --encoder MFCCStats --labels filename --save_path exp/words_3
    $ boiler train_words --wav_dir ~/sounds --audio cnn --labels filename --steps 20 --save_path exp/words_4

The sounds are those of an index, or of a folder, which is then indexed under --save_path. Labels are the names of
folders or of files, or those of a table (columns id and label, or labels with several, separated by semicolons). What
counts of a label are its English words. One projection of the sound's vector and one of the word vector are learned, so
that both meet in a space of 128 numbers; a query need not be one of the labels, but words far from all of them are not
understood: with few labels, words that no label has are found hardly better than by chance. --audio cnn trains, in the
place of an encoder and its projection, a convolutional network over log-mel spectrograms from the beginning; the folder
is then indexed with it. With --words sentences the labels, and the queries in words, have vectors of a model of
sentences, which knows every word and their order.

Writes words.safetensors, the model, words_NNN.pt and TensorBoard events under --save_path; with --audio cnn also the
network, cnn.pt. Ctrl-C saves after the current step; --load_path exp/words/words_002.pt continues, bit for bit; flags
that are not given keep the values of that run. Search with

    $ boiler search exp/esc10/MFCCStats "hound" --words_model exp/words/words.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from boiler import arguments, files
from boiler.arguments import printable
from boiler.audio.stream import SUFFIXES
from boiler.catalog import scan
from boiler.catalog.items import Failure, Item
from boiler.crossmodal import sentences, trainer
from boiler.crossmodal.common_space import WordSpace
from boiler.crossmodal.mel_windows import WINDOWS, mel_windows
from boiler.crossmodal.sentences import SentenceEncoder
from boiler.crossmodal.trainer import SpaceTrainResult, SpaceTrainSettings, SpectrogramTower
from boiler.crossmodal.training_pairs import LabelledVectors
from boiler.errors import SettingsError
from boiler.evaluation import ground_truth, labelled_index
from boiler.evaluation.ground_truth import GroundTruth
from boiler.indexing import pipeline, space_training
from boiler.indexing.pipeline import IndexSettings
from boiler.model import checkpoint
from boiler.store import generation
from boiler.training.budget import TimeBudget

__all__ = ["SpaceTrainSettings", "add_arguments", "main", "run"]

FOLDER, FILENAME = "folder", "filename"
GLOVE, SENTENCES = "glove", "sentences"
ENCODER, CNN = "encoder", "cnn"
SPECTROGRAMS = "spectrograms.f16"
SCRIPT = "cnn.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    space_training.add_arguments(parser, WordSpace)
    parser.add_argument(
        "--labels", required=True, metavar="folder|filename|CSV", help="where the labels of the sounds are from"
    )
    parser.add_argument(
        "--words",
        choices=(GLOVE, SENTENCES),
        default=GLOVE,
        help="vectors of the labels: GloVe's of their words (default), or of sentences by --sentence_model",
    )
    parser.add_argument(
        "--sentence_model",
        type=Path,
        metavar="DIR",
        help="for --words sentences: a model of transformers (default: what boiler encoders add all-minilm-l6-v2 "
        "wrote)",
    )
    parser.add_argument(
        "--audio",
        choices=(ENCODER, CNN),
        default=ENCODER,
        help="encoder: project the vectors of an encoder (default); cnn: train a convolutional network over log-mel "
        "spectrograms, and index --wav_dir with it",
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print the model. The exit code is 0; 1 if sounds could not be read; 130 or 143 if a signal stopped
    it."""
    _check(args)
    settings, budget = space_training.settings_of(args, LabelledVectors)
    encoder = None if args.words == GLOVE else sentences.load(sentences.folder_of(args.sentence_model))
    learn = _from_spectrograms if args.audio == CNN else _from_vectors
    learned = learn(args, settings, budget, encoder)
    for failure in learned.failures:
        print(printable(f"boiler: {failure.id} was not used: {failure.reason}"), file=sys.stderr)
    if left_out := [name for name in learned.truth.label_names if name not in learned.pairs.label_names]:
        known = ", ".join(left_out[:10]) + (", ..." if len(left_out) > 10 else "")
        print(printable(f"boiler: labels without a known English word were left out: {known}"), file=sys.stderr)
    model = settings.save_path / WordSpace.FILE
    example = f'{learned.model_dir} "WORDS" --words_model {model}'
    if args.sentence_model is not None:
        example += f" --sentence_model {args.sentence_model}"
    return space_training.report(learned.result, learned.pairs, model, example) or int(bool(learned.failures))


def _check(args: argparse.Namespace) -> None:
    """Raises: SettingsError: a flag has no effect beside the others."""
    if args.sentence_model is not None and args.words != SENTENCES:
        raise SettingsError("--sentence_model is of --words sentences: give that, too")
    if args.audio == CNN and args.wav_dir is None:
        raise SettingsError("--audio cnn learns from the sounds themselves: give --wav_dir instead of --model_dir")
    if args.audio == CNN and space_training.names_encoder(args):
        raise SettingsError("--audio cnn trains the network itself: leave out --encoder and --pt_path")


class _Learned(NamedTuple):
    """What was learned, from what, and the index that it is searched in."""

    result: SpaceTrainResult[WordSpace]
    pairs: LabelledVectors
    truth: GroundTruth
    model_dir: Path
    failures: Sequence[Failure]


def _from_vectors(
    args: argparse.Namespace, settings: SpaceTrainSettings, budget: TimeBudget, encoder: SentenceEncoder | None
) -> _Learned:
    model_dir, failures = space_training.index_of(args)
    labelled = labelled_index.open_labelled(model_dir, args.wav_dir, lambda items, _: read_labels(args.labels, items))
    pairs = LabelledVectors.from_labels(labelled.collection.vectors, labelled.truth.labels, sentences=encoder)
    result = trainer.train(pairs, labelled.generation.header.encoder_sha256, settings, budget=budget)
    return _Learned(result, pairs, labelled.truth, model_dir, failures)


def _from_spectrograms(
    args: argparse.Namespace, settings: SpaceTrainSettings, budget: TimeBudget, encoder: SentenceEncoder | None
) -> _Learned:
    """Train the network, and index the folder with it."""
    ids = sorted(file.id for file in scan.walk(args.wav_dir, SUFFIXES))
    truth = read_labels(args.labels, [Item(n, id) for n, id in enumerate(ids)])
    settings.save_path.mkdir(parents=True, exist_ok=True)
    spectrograms = settings.save_path / SPECTROGRAMS
    try:
        windows = mel_windows(args.wav_dir, ids, spectrograms)
        labels = [truth.labels[number] for number in windows.sounds]
        pairs = LabelledVectors.from_labels(windows.mels, labels, windows.sounds, encoder)
        result = trainer.train(pairs, None, settings, budget=budget)
    finally:
        spectrograms.unlink(missing_ok=True)  # a resumed run writes it again
    model_dir, script = settings.save_path / "index", settings.save_path / SCRIPT
    if result.stopped_by is None:
        assert isinstance(result.network.tower, SpectrogramTower)
        header = {"sample_rate_hz": WINDOWS.sample_rate_hz, "window_samples": WINDOWS.window_samples}
        checkpoint.save_script(result.network.tower.network, script, header)
        options = {"sha256": files.sha256_of(script)}
        chosen = IndexSettings(args.wav_dir, "TorchScriptEncoder", script, options, model_dir)
        pipeline.index(chosen)
        sha256 = generation.open(model_dir).header.encoder_sha256
        replace(result.space, encoder_sha256=sha256).save(settings.save_path / WordSpace.FILE)
    return _Learned(result, pairs, truth, model_dir, windows.failures)


def read_labels(source: str, items: Sequence[Item]) -> GroundTruth:
    """The labels of items: the names of their folders (`folder`) or files (`filename`), or those of a table.

    Raises: CorpusError: the table cannot be read, or lists none of them.
    """
    if source not in (FOLDER, FILENAME):
        return ground_truth.from_csv(Path(source), [item.id for item in items])
    paths = [PurePosixPath(item.id) for item in items]
    names = [path.parent.name if source == FOLDER else path.stem for path in paths]
    return GroundTruth(source, tuple((name,) if name else () for name in names), ("",) * len(items), {})


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_words`."""
    return arguments.command(
        argv, prog="python -m boiler.train_words", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())

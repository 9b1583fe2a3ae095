"""Train a model that finds sounds by pictures, from pairs of a picture and a sound.

    $ boiler train_pictures --model_dir exp/esc10/MFCCStats --pairs pairs.csv --save_path exp/pictures
    $ boiler train_pictures --wav_dir ~/videos --encoder MFCCStats --pairs frames.csv --save_path exp/pictures_2

The table has the columns picture and sound: names of files, relative to the table or to the folder of the sounds.
If the picture is a video, the column picture_s says which second of it is shown, to half a second; sound_s says
which second of a long sound is meant (default: of a video that is both, the same second). The sounds are those of
an index, or of a folder, which is then indexed under --save_path.

What a picture shows is the input of the last layer of EfficientNet-Lite0, which `boiler encoders add
efficientnet-lite0` fetches once; it is computed once for each picture. One projection of it and one of the sound's
vector are learned, so that both meet in a space of 128 numbers. A share of the pairs is held out, none of whose
pictures and sounds are trained on.

Writes pictures.safetensors, the model, pictures_NNN.pt, picture_features.npz and TensorBoard events under
--save_path. Ctrl-C saves after the current step; --load_path exp/pictures/pictures_002.pt continues, bit for bit;
flags that are not given keep the values of that run. Search with

    $ boiler search exp/esc10/MFCCStats photo.jpg --pictures_model exp/pictures/pictures.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from boiler import arguments
from boiler.arguments import printable
from boiler.arrays import Float32Array
from boiler.catalog import scan
from boiler.catalog.folder import is_address
from boiler.crossmodal import picture_query, trainer
from boiler.crossmodal.common_space import PictureSpace
from boiler.crossmodal.picture_pairs import PicturePair, read_pairs
from boiler.crossmodal.trainer import SpaceTrainSettings
from boiler.crossmodal.training_pairs import PicturedVectors
from boiler.errors import CorpusError
from boiler.indexing import space_training
from boiler.store import generation
from boiler.store.generation import Generation
from boiler.vision import image_model, picture_features
from boiler.vision.picture_features import PictureSource

__all__ = ["SpaceTrainSettings", "add_arguments", "main", "run"]

FEATURES_FILE = "picture_features.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    space_training.add_arguments(parser, PictureSpace)
    parser.add_argument("--pairs", type=Path, required=True, metavar="CSV", help="the table of pairs")
    image_model.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, and print the model. The exit code is 0; 1 if pictures or sounds could not be used; 130 or 143 if a signal
    stopped it."""
    settings, budget = space_training.settings_of(args, PicturedVectors)
    pairs = read_pairs(args.pairs)
    network = picture_query.open_network(image_model.from_arguments(args))
    model_dir, failed = space_training.index_of(args)
    failures = {failure.id: failure.reason for failure in failed}
    opened = generation.open(model_dir)
    sounds = _Sounds(opened, args.wav_dir)
    folders = [args.pairs.parent, *([sounds.wav_dir] if sounds.wav_dir else [])]
    sources: dict[PictureSource, None] = {}
    found: list[tuple[int, PictureSource]] = []
    for pair in pairs:
        number, source = sounds.find(pair, args.pairs.parent), _picture(pair, folders)
        if number is None:
            failures.setdefault(pair.sound, f"it is no sound of {model_dir}")
        elif source is None:
            failures.setdefault(pair.picture, f"there is no such file in {' or '.join(map(str, folders))}")
        else:
            found.append((number, source))
            sources[source] = None
    features, unusable = picture_features.features_of([*sources], network, settings.save_path / FEATURES_FILE)
    failures |= {str(source): reason for source, reason in unusable.items()}
    for name, reason in failures.items():
        print(printable(f"boiler: {name} was not used: {reason}"), file=sys.stderr)
    place = {source: n for n, source in enumerate(features)}
    related = [(number, place[source]) for number, source in found if source in place]
    if not related:
        raise CorpusError(f"{args.pairs} has no pair of a picture and a sound that can be used, of {len(pairs)}")
    data = PicturedVectors.from_pairs(sounds.vectors(), np.stack([*features.values()]), related, network.sha256)
    result = trainer.train(data, opened.header.encoder_sha256, settings, budget=budget)
    model = settings.save_path / PictureSpace.FILE
    code = space_training.report(result, data, model, f"{model_dir} PICTURE --pictures_model {model}")
    return code or int(bool(failures))


class _Sounds:
    """The sounds of an index, and seconds of them, each under a number."""

    def __init__(self, opened: Generation, wav_dir: Path | None) -> None:
        with opened.items() as database:
            records, meta = database.records(), database.meta()
        indexed = meta.get("wav_dir")
        self.wav_dir = wav_dir or (Path(indexed) if indexed and not is_address(indexed) else None)
        self._opened = opened
        self._place = {record["id"]: n for n, record in enumerate(records)}
        self._rows = [(record["first_row"], record["n_rows"]) for record in records]
        self._numbers: dict[tuple[int, int | None], int] = {}

    def find(self, pair: PicturePair, folder: Path) -> int | None:
        """The number of the sound of a pair, or of the window of it that holds the second; None if there is none.

        folder: what its name may be relative to, beside the folder that was indexed
        """
        place = self._place.get(scan.id_of(str(PurePosixPath(pair.sound))))
        if place is None and self.wav_dir is not None:
            path = (folder / pair.sound).resolve()
            if path.is_relative_to(self.wav_dir.resolve()):
                place = self._place.get(scan.id_of(path.relative_to(self.wav_dir.resolve()).as_posix()))
        if place is None:
            return None
        row = None if pair.sound_s is None else self._row(place, pair.sound_s)
        return self._numbers.setdefault((place, row), len(self._numbers))

    def vectors(self) -> Float32Array:
        """Those of the sounds and windows that were found, in the order of their numbers. Shape: [N, D]"""
        vectors = [
            self._opened.item_vectors[place] if row is None else self._opened.vectors[row]
            for place, row in self._numbers
        ]
        return np.stack(vectors)

    def _row(self, place: int, second: float) -> int:
        """The window whose middle is nearest to a second."""
        first, n = self._rows[place]
        rows = self._opened.rows[first : first + n]
        return int(first + np.abs((rows["start_s"] + rows["end_s"]) / 2 - second).argmin())


def _picture(pair: PicturePair, folders: Sequence[Path]) -> PictureSource | None:
    path = next((folder / pair.picture for folder in folders if (folder / pair.picture).is_file()), None)
    return None if path is None else PictureSource(path, pair.picture_s or 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_pictures`."""
    return arguments.command(
        argv, prog="python -m boiler.train_pictures", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())

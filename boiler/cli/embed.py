"""Write embeddings of sounds, pictures or videos to .npz files, as OpenL3's command does: one file for each input.

    $ boiler embed ~/sounds --output_dir out --model MFCCStats
    $ boiler embed dog.wav bird.ogg --output_dir out --model exp/mine/vqvae_012.pt --hop_size 0.5
    $ BOILER_OPENL3_WEIGHTS=~/weights boiler embed clip.mp4 --modality video --output_dir out

A folder is searched for files of the modality, and its tree is kept under --output_dir. A .npz contains `embedding`
[n, D] and `timestamps` [n] in seconds (only `embedding` for a picture). Files that cannot be embedded are listed at the
end, with the reason, and make the exit code 1; all others are written.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from boiler import arguments
from boiler.audio import stream
from boiler.catalog import scan
from boiler.embedding import models, openl3
from boiler.embedding.openl3 import FileJob, JobSelection
from boiler.errors import CorpusError
from boiler.model import l3, l3_joint
from boiler.progress import meter
from boiler.vision import image, video

SUFFIXES = {"audio": stream.SUFFIXES, "image": image.SUFFIXES, "video": video.SUFFIXES}
"""The suffixes that a folder is searched for, by modality."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE|DIR", help="files, and folders to search")
    parser.add_argument("--output_dir", "-o", type=Path, help="folder to write to (default: that of each file)")
    parser.add_argument(
        "--modality", choices=tuple(SUFFIXES), default="audio", help="what to embed (default: %(default)s)"
    )
    parser.add_argument("--suffix", help="written to <name>_<suffix>.npz (default: <name>.npz)")
    parser.add_argument(
        "--model",
        help="an encoder's name, NAME:CHECKPOINT, a checkpoint, a model directory, an l3_NNN.pt, or a .h5 file of "
        f"OpenL3's weights (default: OpenL3's network, with the weights that {models.WEIGHTS_VARIABLE} names)",
    )
    parser.add_argument(
        "--image_model",
        help="the same for the pictures of --modality video: a .h5 file or an l3_NNN.pt (default: as --model, if that "
        "is an l3_NNN.pt)",
    )
    parser.add_argument(
        "--hop_size", type=float, default=0.1, help="seconds from frame to frame of sound (default: %(default)s)"
    )
    parser.add_argument(
        "--no_centering",
        action="store_true",
        help="timestamps are the starts of frames, not their middles: no zeros are prepended to a sound",
    )
    parser.add_argument("--batch_size", type=arguments.at_least_1, default=32, help="frames per batch (%(default)s)")
    parser.add_argument(
        "--input_repr",
        choices=tuple(l3.INPUT_REPRESENTATIONS),
        default="mel256",
        help="input spectrogram of OpenL3's audio network (default: %(default)s)",
    )
    parser.add_argument(
        "--content_type",
        choices=models.CONTENT_TYPES,
        default="music",
        help="the videos that OpenL3's network was trained on (default: %(default)s)",
    )
    parser.add_argument(
        "--audio_embedding_size",
        type=int,
        choices=(512, 6144),
        default=6144,
        help="dimension of OpenL3's audio embeddings (default: %(default)s)",
    )
    parser.add_argument(
        "--image_embedding_size",
        type=int,
        choices=(512, 8192),
        default=8192,
        help="dimension of OpenL3's image embeddings (default: %(default)s)",
    )
    parser.add_argument(
        "--frontend",
        choices=l3.FRONTENDS,
        default="kapre",
        help="library whose spectrogram is computed (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="embed files again whose .npz exists")


def run(args: argparse.Namespace) -> int:
    center = not args.no_centering
    openl3.check_hop(args.hop_size, center)
    sources = _sources(args)
    none = JobSelection([], [], [])
    sounds = none if args.modality == "image" else _select(args, sources, "_audio" if args.modality == "video" else "")
    pictures = (
        none if args.modality == "audio" else _select(args, sources, "_image" if args.modality == "video" else "")
    )
    # All models are loaded first, so that a missing one is an error of the command and not of each file.
    of_sound = of_pictures = None
    if sounds.waiting:
        of_sound = models.audio_model(
            args.model, args.input_repr, args.content_type, args.audio_embedding_size, args.frontend
        )
    if pictures.waiting:
        of_both = args.modality == "image" or (args.model is not None and l3_joint.is_checkpoint(args.model))
        model = args.image_model or (args.model if of_both else None)
        of_pictures = models.image_model(model, args.input_repr, args.content_type, args.image_embedding_size)
    failed = sounds.failed + pictures.failed
    with collect_warnings() as notes, meter("embedding", len(sounds.waiting) + len(pictures.waiting)) as progress:
        if of_sound is not None:
            failed += openl3.embed_sound_files(
                sounds.waiting, of_sound, center, args.hop_size, args.batch_size, progress.step
            )
        if of_pictures is not None:
            embed = openl3.embed_video_files if args.modality == "video" else openl3.embed_picture_files
            failed += embed(pictures.waiting, of_pictures, args.batch_size, progress.step)
    lines = list(dict.fromkeys(f"{failure.source}: {failure.reason}" for failure in failed))
    bad = {failure.source for failure in failed}
    tried = {job.source for job in sounds.waiting + pictures.waiting}
    print(f"{len(tried - bad)} embedded, {len({source for source, _ in sources} - tried - bad)} there already")
    for line in [*(f"note: {note}" for note in notes), *lines]:
        print(line, file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Context manager: collects the texts of `OpenL3Warning`s, which are then not printed."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", openl3.OpenL3Warning)
        try:
            yield notes
        finally:
            notes += [str(one.message) for one in caught if issubclass(one.category, openl3.OpenL3Warning)]
    for one in caught:
        if not issubclass(one.category, openl3.OpenL3Warning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _sources(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Each file to embed, and the folder of its `.npz`. Raises: CorpusError: there are none."""
    found: list[tuple[Path, Path]] = []
    for given in args.inputs:
        if given.is_dir():
            for one in sorted(scan.walk(given, SUFFIXES[args.modality]), key=lambda one: one.id):
                path = one.path(given)
                found.append((path, path.parent if args.output_dir is None else (args.output_dir / one.id).parent))
        else:
            found.append((given, given.parent if args.output_dir is None else args.output_dir))
    if not found:
        kinds = ", ".join(sorted(SUFFIXES[args.modality]))
        raise CorpusError(
            f"{' '.join(map(str, args.inputs))}: no {args.modality} files there; boiler looks for {kinds}"
        )
    return found


def _select(args: argparse.Namespace, sources: Sequence[tuple[Path, Path]], modality: str) -> JobSelection:
    ending = f"{modality}_{args.suffix}" if args.suffix else modality
    jobs = (FileJob(path, folder / f"{path.stem}{ending}.npz") for path, folder in sources)
    return openl3.select_jobs(jobs, overwrite=args.overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler embed", description=__doc__ or "", add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())

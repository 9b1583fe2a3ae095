"""From nothing to a first answer: learn from a folder of sounds, index it, ask it, and say how good the answers are.

Without a folder it makes up a few hundred labelled sounds of sixteen kinds first, so that it needs nothing at all.

    $ boiler demo
    $ boiler demo --wav_dir ~/sounds
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from boiler import arguments, encoder, files
from boiler.audio import spectrogram, synthesis
from boiler.catalog.items import Item
from boiler.errors import CorpusError, QueryError, SoundError
from boiler.evaluation.checks import FLOOR
from boiler.evaluation.evaluate import EvaluateSettings, evaluate
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import Match, Nearest
from boiler.train_vqvae import TrainSettings, train

TIMES_CHANCE = 5
K = 5
MEASURE = f"P@{K}"
SHOWN_S = 4.0
"""Seconds of each sound in the picture, from where it matched."""


@dataclass(frozen=True)
class DemoSettings:
    """What the demonstration is asked to do. `wav_dir` None: make the sounds up, `per_kind` of each kind."""

    wav_dir: Path | None = None
    save_path: Path = Path("exp/demo")
    max_minutes: float = 3.0
    per_kind: int = 20
    n_queries: int = 6
    seed: int = 0


@dataclass(frozen=True)
class Precision:
    """Precision at 5: the share of the first five answers that have the label of what was asked, the mean of all
    sounds asked in turn."""

    encoder: float
    floor: float
    chance: float

    def shortfall(self) -> str | None:
        """What the answers lack, in a sentence; None when they are as good as promised."""
        if self.encoder < TIMES_CHANCE * self.chance:
            return f"precision at {K} is {self.encoder:.2f}, less than {TIMES_CHANCE} times chance ({self.chance:.2f})"
        if self.encoder < self.floor:
            return f"precision at {K} is {self.encoder:.2f}, less than the {self.floor:.2f} of {FLOOR}"
        return None


@dataclass(frozen=True)
class Outcome:
    """What the demonstration made. `precision` is None where no two sounds share a label."""

    model_dir: Path
    wav_dir: Path
    picture: Path
    precision: Precision | None


def demo(settings: DemoSettings) -> Outcome:
    """Sounds, training, index, answers, a picture.

    Raises: BoilerError: no sounds in the folder, or what training and indexing refuse.
    """
    console = Console()
    wav_dir = settings.wav_dir
    if wav_dir is None:
        wav_dir = settings.save_path / "sounds"
        paths = synthesis.write_collection(wav_dir, per_kind=settings.per_kind, seed=settings.seed)
        console.print(f"[bold]1[/] made up {len(paths)} sounds of {len(synthesis.KINDS)} kinds in {wav_dir}")
    else:
        console.print(f"[bold]1[/] the sounds of {wav_dir}")

    console.print(f"[bold]2[/] learning from them, without their labels, for {settings.max_minutes:g} minutes")
    run = settings.save_path / time.strftime("run-%Y%m%d-%H%M%S")
    checkpoint = train(
        TrainSettings(
            wav_dir=wav_dir, save_path=run, epoch=10_000, max_minutes=settings.max_minutes, seed=settings.seed
        )
    )
    report = index(IndexSettings(wav_dir=wav_dir, pt_path=checkpoint, encoder=encoder.DEFAULT, seed=settings.seed))
    console.print(f"[bold]3[/] indexed {report.n_items} sounds, {report.files_per_s:.0f} a second")
    for line in report.failure_lines():
        console.print(f"  {line}", markup=False)

    nearest = Nearest(report.model_dir, wav_dir=wav_dir)
    console.print("[bold]4[/] what else sounds like this?")
    asked = [(item, nearest.by_item(item.n, K)) for item in _queries(nearest, settings.n_queries)]
    console.print(_table(asked))
    picture = settings.save_path / "neighbours.png"
    draw(nearest, asked, picture)
    console.print(f"  as spectrograms: {picture}")

    precision = measured(report.model_dir)
    if precision is not None:
        console.print(f"[bold]5[/] precision at {K}, every sound asked, its label known to nobody until now")
        console.print(
            f"  {encoder.DEFAULT} {precision.encoder:.2f}, {FLOOR} {precision.floor:.2f}, chance {precision.chance:.2f}"
        )
    return Outcome(report.model_dir, wav_dir, picture, precision)


def measured(model_dir: Path) -> Precision | None:
    """How good the neighbours are, by the labels that the folders' names give; None where these say nothing."""
    try:
        scorecard = evaluate(EvaluateSettings(model_dir, robustness=0, floor="always"))
    except CorpusError:
        return None
    line = next(line for line in scorecard.tables[0].lines if line.measure == MEASURE)
    floor = line.encoder if line.floor is None else line.floor
    return Precision(line.encoder.mean, floor.mean, line.chance)


def _queries(nearest: Nearest, count: int) -> list[Item]:
    """Sounds that are not silent, spread over the collection, of as many labels as there are."""
    items = [item for item in nearest.items(limit=len(nearest)) if not item.silent]
    spread = [items[at * len(items) // count] for at in range(min(count, len(items)))]
    return list({item.n: item for item in spread}.values())


def _table(asked: Sequence[tuple[Item, list[Match]]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("asked")
    table.add_column("answers, nearest first, with their distance")
    for item, matches in asked:
        found = ", ".join(
            f"[{'green' if match.label == item.label else 'red'}]{match.id.rsplit('/')[-1]}[/] {match.distance:.2f}"
            for match in matches
        )
        table.add_row(item.id.rsplit("/")[-1], found)
    return table


def draw(nearest: Nearest, asked: Sequence[tuple[Item, list[Match]]], path: Path) -> None:
    """A PNG: a row for each query, itself on the left, its answers beside it, as spectrograms."""
    figure = Figure(figsize=(2.1 * (K + 1), 1.25 * len(asked)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(asked), K + 1, squeeze=False)
    for row, (item, matches) in zip(axes, asked, strict=True):
        shown = [(item.n, item.id, 0.0, item.label), *((m.n, m.id, m.start_s, m.label) for m in matches)]
        for axis in row:
            axis.set_axis_off()
        for column, (axis, (n, name, start_s, label)) in enumerate(zip(row, shown, strict=False)):
            colour = "black" if column == 0 else "#117733" if label == item.label else "#aa4499"
            axis.set_title(name.rsplit("/")[-1], fontsize=7, color=colour, fontweight="bold" if column == 0 else None)
            try:
                sound = spectrogram.spectrogram_png(nearest.path(n), 240, 110, start_s=start_s, end_s=start_s + SHOWN_S)
            except (SoundError, QueryError):  # gone or changed since it was indexed: its place stays empty
                continue
            axis.imshow(Image.open(io.BytesIO(sound)).convert("RGB"), aspect="auto")
    with files.replacing(path) as aside:
        figure.savefig(aside, dpi=110)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wav_dir", type=Path, help="a folder of sounds (default: sounds made up on the spot)")
    parser.add_argument(
        "--save_path", type=Path, default=Path("exp/demo"), help="where everything goes (default: %(default)s)"
    )
    parser.add_argument(
        "--max_minutes", type=float, default=3.0, help="how long to learn; longer is better (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sounds and of the learning (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    outcome = demo(
        DemoSettings(wav_dir=args.wav_dir, save_path=args.save_path, max_minutes=args.max_minutes, seed=args.seed)
    )
    model_dir = shlex.quote(str(outcome.model_dir))
    print(f"\nDone in {time.monotonic() - began:.0f} s. Now:")
    print(f"  boiler browse {model_dir}               look and listen in a browser")
    print(f"  boiler serve {model_dir}                ask over HTTP")
    print(f"  boiler search {model_dir} SOUND         ask with a file of yours")
    print("(without .venv active: .venv/bin/boiler)")
    # On sounds of one's own the folders' names may mean anything; only the made-up ones are a promise.
    shortfall = outcome.precision.shortfall() if outcome.precision and args.wav_dir is None else None
    if shortfall is not None:
        print(f"boiler: not as good as it should be: {shortfall}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler demo", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())

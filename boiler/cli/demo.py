"""Index a folder of sounds, search it, and measure how good the results are.

Without a folder it synthesizes a few hundred labelled sounds of sixteen kinds first. With `--max_minutes` it trains an
encoder on the sounds; otherwise it uses the general one, which needs no training.

    $ boiler demo
    $ boiler demo --wav_dir ~/sounds
    $ boiler demo --max_minutes 3
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
from boiler.evaluation.checks import BASELINE
from boiler.evaluation.evaluate import EvaluateSettings, evaluate
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import Match, Nearest
from boiler.train_vqvae import TrainSettings, train

TIMES_CHANCE = 5
K = 5
MEASURE = f"P@{K}"
SHOWN_S = 4.0
"""Seconds of each sound in the picture, from the start of the window that matched."""


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo. `wav_dir` None: synthesize the sounds, `per_kind` of each kind. `max_minutes` None: no
    training."""

    wav_dir: Path | None = None
    save_path: Path = Path("exp/demo")
    max_minutes: float | None = None
    per_kind: int = 20
    n_queries: int = 6
    seed: int = 0


@dataclass(frozen=True)
class Precision:
    """Precision at 5: the fraction of the first five results that have the label of the query, averaged over all sounds
    as queries."""

    encoder: float
    baseline: float
    chance: float

    def shortfall(self) -> str | None:
        """Why the results are not good enough; None if they are."""
        if self.encoder < TIMES_CHANCE * self.chance:
            return f"precision at {K} is {self.encoder:.2f}, less than {TIMES_CHANCE} times chance ({self.chance:.2f})"
        if self.encoder < self.baseline:
            return f"precision at {K} is {self.encoder:.2f}, less than the {self.baseline:.2f} of {BASELINE}"
        return None


@dataclass(frozen=True)
class Outcome:
    """What the demo produced. `precision` is None if no two sounds share a label."""

    model_dir: Path
    wav_dir: Path
    picture: Path
    precision: Precision | None


def demo(settings: DemoSettings) -> Outcome:
    """Run the demo: sounds, training if wanted, index, results and a picture of them.

    Raises: BoilerError: no sounds in the folder; and what training and indexing raise.
    """
    console = Console()
    wav_dir = settings.wav_dir
    if wav_dir is None:
        wav_dir = settings.save_path / "sounds"
        paths = synthesis.write_collection(wav_dir, per_kind=settings.per_kind, seed=settings.seed)
        console.print(f"[bold]1[/] synthesized {len(paths)} sounds of {len(synthesis.KINDS)} kinds in {wav_dir}")
    else:
        console.print(f"[bold]1[/] the sounds of {wav_dir}")

    run = settings.save_path / time.strftime("run-%Y%m%d-%H%M%S")
    if settings.max_minutes is None:
        name = encoder.WITHOUT_CHECKPOINT
        console.print(f"[bold]2[/] embedding them with {name}, which needs no training")
        report = index(IndexSettings(wav_dir=wav_dir, model_dir=run / name, encoder=name, seed=settings.seed))
    else:
        name = encoder.DEFAULT
        console.print(f"[bold]2[/] training on them, without their labels, for {settings.max_minutes:g} minutes")
        checkpoint = train(
            TrainSettings(
                wav_dir=wav_dir, save_path=run, epoch=10_000, max_minutes=settings.max_minutes, seed=settings.seed
            )
        )
        report = index(IndexSettings(wav_dir=wav_dir, pt_path=checkpoint, encoder=name, seed=settings.seed))
    console.print(f"[bold]3[/] indexed {report.n_items} sounds, {report.files_per_s:.0f} a second")
    for line in report.failure_lines():
        console.print(f"  {line}", markup=False)

    nearest = Nearest(report.model_dir, wav_dir=wav_dir)
    console.print("[bold]4[/] the nearest sounds of some of them")
    results = [(item, nearest.by_item(item.n, K)) for item in _queries(nearest, settings.n_queries)]
    console.print(_result_table(results))
    picture = settings.save_path / "neighbours.png"
    draw_results(nearest, results, picture)
    console.print(f"  as spectrograms: {picture}")

    precision = measure_precision(report.model_dir)
    if precision is not None:
        console.print(f"[bold]5[/] precision at {K}, leave-one-out over all sounds; labels were not used")
        console.print(
            f"  {name} {precision.encoder:.2f}, {BASELINE} {precision.baseline:.2f}, chance {precision.chance:.2f}"
        )
    return Outcome(report.model_dir, wav_dir, picture, precision)


def measure_precision(model_dir: Path) -> Precision | None:
    """The precision according to the labels, which are the names of folders; None if no two sounds share one."""
    try:
        scorecard = evaluate(EvaluateSettings(model_dir, robustness=0, baseline="always")).scorecard
    except CorpusError:
        return None
    line = next(line for line in scorecard.tables[0].lines if line.measure == MEASURE)
    baseline = line.encoder if line.baseline is None else line.baseline
    return Precision(line.encoder.mean, baseline.mean, line.chance)


def _queries(nearest: Nearest, count: int) -> list[Item]:
    """Items that are not silent, at even distances in the collection."""
    items = [item for item in nearest.items(limit=len(nearest)) if not item.silent]
    spread = [items[at * len(items) // count] for at in range(min(count, len(items)))]
    return list({item.n: item for item in spread}.values())


def _result_table(results: Sequence[tuple[Item, list[Match]]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("query")
    table.add_column("matches, nearest first, with their distance")
    for item, matches in results:
        found = ", ".join(
            f"[{'green' if match.label == item.label else 'red'}]{match.id.rsplit('/')[-1]}[/] {match.distance:.2f}"
            for match in matches
        )
        table.add_row(item.id.rsplit("/")[-1], found)
    return table


def draw_results(nearest: Nearest, results: Sequence[tuple[Item, list[Match]]], path: Path) -> None:
    """Write a PNG of spectrograms: a row for each query, the query on the left, its matches beside it."""
    figure = Figure(figsize=(2.1 * (K + 1), 1.25 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), K + 1, squeeze=False)
    for row, (item, matches) in zip(axes, results, strict=True):
        shown = [(item.n, item.id, 0.0, item.label), *((m.n, m.id, m.start_s, m.label) for m in matches)]
        for axis in row:
            axis.set_axis_off()
        for column, (axis, (n, name, start_s, label)) in enumerate(zip(row, shown, strict=False)):
            colour = "black" if column == 0 else "#117733" if label == item.label else "#aa4499"
            axis.set_title(name.rsplit("/")[-1], fontsize=7, color=colour, fontweight="bold" if column == 0 else None)
            try:
                sound = spectrogram.spectrogram_png(nearest.path(n), 240, 110, start_s=start_s, end_s=start_s + SHOWN_S)
            except (SoundError, QueryError):  # missing or changed since it was indexed: leave an empty cell
                continue
            axis.imshow(Image.open(io.BytesIO(sound)).convert("RGB"), aspect="auto")
    with files.replacing(path) as aside:
        figure.savefig(aside, dpi=110)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wav_dir", type=Path, help="folder of sounds (default: synthesize some)")
    parser.add_argument(
        "--save_path", type=Path, default=Path("exp/demo"), help="folder for all that it writes (default: %(default)s)"
    )
    parser.add_argument(
        "--max_minutes", type=float, help="train for so many minutes; more is better (default: no training)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the sounds and of what is learned (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    outcome = demo(
        DemoSettings(wav_dir=args.wav_dir, save_path=args.save_path, max_minutes=args.max_minutes, seed=args.seed)
    )
    model_dir = shlex.quote(str(outcome.model_dir))
    print(f"\nDone in {time.monotonic() - began:.0f} s. Now:")
    print(f"  boiler browse {model_dir}               search in a browser")
    print(f"  boiler serve {model_dir}                search over HTTP")
    print(f"  boiler search {model_dir} SOUND         search with a file")
    print("(if .venv is not active: .venv/bin/boiler)")
    # The folders of a user need not be classes, so only the synthetic sounds have to reach the precision.
    shortfall = outcome.precision.shortfall() if outcome.precision and args.wav_dir is None else None
    if shortfall is not None:
        print(f"boiler: results are worse than expected: {shortfall}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler demo", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())

"""Measure search with pictures: `python -m exp.words.pictures MODEL_DIR STAMPS`, an index of ESC-10's folders, and the
folder `usr/share/tuxpaint/stamps` of Debian's package tuxpaint-stamps-default.

Each of its pictures of one of ESC-10's classes is a query (`PICTURES`); prints what was seen, P@10 and mAP.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from boiler.cli.search import understood_text
from boiler.evaluation import metrics
from boiler.search.nearest import ByPicture, Nearest

PICTURES = {
    "animals/mammals/dogs/dog.png": "dog_bark",
    "animals/birds/rooster.png": "rooster",
    "symbols/clockface.png": "clock_tick",
    "naturalforces/fire.png": "fire_crackling",
    "household/tools/saw.png": "chainsaw",
    "vehicles/flight/cartoon/eddieCopter.png": "helicopter",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR")
    parser.add_argument("stamps", type=Path, metavar="STAMPS")
    args = parser.parse_args()
    found = []
    with Nearest(args.model_dir) as nearest:
        for name, label in PICTURES.items():
            result = nearest.query(ByPicture(args.stamps / name), len(nearest))
            gains = np.array([[match.label == label for match in result.matches]], np.float64)
            precision = metrics.precision_at(gains, 10, np.array([gains.shape[1]]))[0]
            found.append((precision, metrics.average_precision(gains)[0]))
            print(f"{name}: {found[-1][0]:.2f} / {found[-1][1]:.2f}; {understood_text(result.understood[0])}")
    precision, mean = np.mean(found, axis=0)
    print(f"P@10 {precision:.3f}, mAP {mean:.3f}")


if __name__ == "__main__":
    main()

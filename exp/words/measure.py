"""Measure search in words on ESC-10: `python -m exp.words.measure MODEL_DIR`, an index of its folders.

Each class is asked for once by its name and once by other words (`QUERIES`); prints P@10 and mAP over all sounds, and the
time of a query. Accuracy among unseen classes: `boiler evaluate MODEL_DIR --zero_shot words`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from boiler.evaluation import metrics
from boiler.search.nearest import Nearest

QUERIES = {
    "baby_cry": ("crying baby", "infant weeping"),
    "chainsaw": ("chainsaw", "motor saw"),
    "clock_tick": ("clock tick", "watch ticking"),
    "dog_bark": ("dog bark", "hound barking"),
    "fire_crackling": ("crackling fire", "burning flames"),
    "helicopter": ("helicopter", "chopper rotor"),
    "person_sneeze": ("sneeze", "sneezing nose"),
    "rain": ("rain", "downpour shower"),
    "rooster": ("rooster", "cockerel crowing"),
    "sea_waves": ("sea waves", "ocean surf"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR")
    args = parser.parse_args()
    with Nearest(args.model_dir) as nearest:
        nearest.by_text("dog", 1)  # opens the vocabulary
        for which, title in enumerate(("class names", "other words")):
            found = []
            began = time.perf_counter()
            for label, texts in QUERIES.items():
                matches = nearest.by_text(texts[which], len(nearest))
                gains = np.array([[match.label == label for match in matches]], np.float64)
                found.append(
                    (metrics.precision_at(gains, 10, np.array([len(matches)]))[0], metrics.average_precision(gains)[0])
                )
                print(f"  {texts[which]}: {found[-1][0]:.2f} / {found[-1][1]:.2f}")
            took_ms = 1e3 * (time.perf_counter() - began) / len(QUERIES)
            precision, mean = np.mean(found, axis=0)
            print(f"{title}: P@10 {precision:.3f}, mAP {mean:.3f}; {took_ms:.1f} ms for a ranking of all sounds")


if __name__ == "__main__":
    main()

"""Compute the results of an evaluation independently: plain loops, without boiler's metrics.

    $ python notebooks/evaluation_by_hand.py exp/esc10/MFCCStats esc10
    $ python notebooks/evaluation_by_hand.py exp/fsdd/MFCCStats fsdd

Reads the files of TensorBoard's projector (`tensors.tsv`, `metadata.tsv`), takes labels and groups from the names of
the files, sorts the candidates of every item, and compares the result with evaluation.json of the same index (run
`boiler evaluate` first, with `--dataset esc10`, or `--dataset fsdd --group none --group speaker`). Exits with 1 if a
value differs by more than .01.
"""

# %% Index and data set
import csv
import json
import math
import re
import sys
from pathlib import Path

model_dir, dataset = Path(sys.argv[1]), sys.argv[2]

# %% Vectors and names, as the projector reads them
with (model_dir / "00000/default/tensors.tsv").open(encoding="utf-8") as stream:
    vectors = [[float(number) for number in line.split("\t")] for line in stream]
with (model_dir / "00000/default/metadata.tsv").open(encoding="utf-8", newline="") as stream:
    ids = [row["id"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
if len(set(ids)) != len(ids):
    sys.exit("This script compares sounds of one window each, but some sounds of this index are longer.")

# %% Labels and groups, from the names alone
if dataset == "esc10":
    labels = [id.split("/")[0] for id in ids]
    groups = {"recording": [re.search(r"/\d-(\d+)-", id)[1] for id in ids]}
else:
    labels = [Path(id).name.split("_")[0] for id in ids]
    groups = {"none": list(range(len(ids))), "speaker": [Path(id).name.split("_")[1] for id in ids]}


# %% One query at a time
def similarity(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def compute_metrics(group):
    totals = dict.fromkeys(("P@1", "P@5", "P@10", "R@10", "nDCG@10", "MRR", "mAP"), 0.0)
    n_queries = 0
    # 3,000 x 3,000 products of 80 numbers take an hour in Python: numpy computes them if it is installed.
    try:
        import numpy

        table = numpy.array(vectors) @ numpy.array(vectors).T
        table = table.tolist()
    except ImportError:
        table = [[similarity(a, b) for b in vectors] for a in vectors]
    for query, scores in enumerate(table):
        candidates = [item for item in range(len(ids)) if item != query and group[item] != group[query]]
        candidates.sort(key=lambda item: -scores[item])
        right = [labels[item] == labels[query] for item in candidates]
        hits = sum(right)
        if not hits:
            continue
        n_queries += 1
        for k in (1, 5, 10):
            totals[f"P@{k}"] += sum(right[:k]) / k
        totals["R@10"] += sum(right[:10]) / hits
        gained = sum(1 / math.log2(rank + 1) for rank, is_right in enumerate(right[:10], 1) if is_right)
        totals["nDCG@10"] += gained / sum(1 / math.log2(rank + 1) for rank in range(1, min(hits, 10) + 1))
        totals["MRR"] += 1 / (right.index(True) + 1)
        found, precisions = 0, 0.0
        for rank, is_right in enumerate(right, 1):
            if is_right:
                found += 1
                precisions += found / rank
        totals["mAP"] += precisions / hits
    return {name: total / n_queries for name, total in totals.items()}


# %% Side by side
generation = json.loads((model_dir / "boiler.json").read_text(encoding="utf-8"))["generation"]
report = json.loads((model_dir / "evaluation" / generation / "evaluation.json").read_text(encoding="utf-8"))
worst = 0.0
for evaluated in report["tables"]:
    name = evaluated["group"]
    figures = {line["measure"]: line["encoder"]["mean"] for line in evaluated["lines"]}
    print(f"{report['encoder']} on {dataset}, group excluded: {name}")
    for measure, value in compute_metrics(groups[name]).items():
        worst = max(worst, abs(value - figures[measure]))
        print(f"  {measure:8} by hand {value:.4f}   evaluate {figures[measure]:.4f}   {value - figures[measure]:+.5f}")
print(f"The largest difference is {worst:.6f}.")
sys.exit(0 if worst <= 0.01 else 1)

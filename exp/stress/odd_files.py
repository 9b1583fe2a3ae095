"""Compare boiler's decoding with independent decoders: `python -m exp.stress.odd_files FOLDER...`.

Every sound below the folders is decoded by boiler at its own rate, and by each of soundfile (libsndfile), miniaudio and
the command `ffmpeg` that is there (`--ffmpeg PATH` names another). Of each pair: length, offset in time, gain and the
largest error of a sample, in Markdown. The exit code is 1 if a decoder that reads a file disagrees with boiler about it
by more than `--tolerance`, and no other agrees.

`truth.npy` in a folder, mono samples, is one more decoder, of every file in that folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler import arguments
from boiler.arrays import Float32Array
from boiler.audio import stream
from boiler.errors import SoundError

MAX_OFFSET = 4_096  # samples, within which an offset is looked for

Decode = Callable[[Path], tuple[Float32Array, int]]
"""A file to mono samples [T] and their rate in Hz. Raises anything if it does not read it."""


class Comparison(NamedTuple):
    """How another decoder's samples differ from boiler's, after the offset and before the gain are accounted for."""

    samples: int
    offset: int
    gain_db: float
    error: float


def by_boiler(path: Path) -> tuple[Float32Array, int]:
    rate_hz = stream.probe(path).sample_rate_hz
    return stream.load(path, sample_rate_hz=rate_hz), rate_hz


def by_soundfile(path: Path) -> tuple[Float32Array, int]:
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), int(rate_hz)


def by_miniaudio(path: Path) -> tuple[Float32Array, int]:
    import miniaudio

    found = miniaudio.get_file_info(str(path))
    decoded = miniaudio.decode_file(str(path), miniaudio.SampleFormat.FLOAT32, found.nchannels, found.sample_rate)
    return np.asarray(decoded.samples, np.float32).reshape(-1, found.nchannels).mean(axis=1), found.sample_rate


def by_ffmpeg(command: str) -> Decode:
    def decode(path: Path) -> tuple[Float32Array, int]:
        import soundfile

        done = subprocess.run(
            [command, "-v", "error", "-i", str(path), "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-"],
            capture_output=True,
            timeout=120,
            check=True,
        )
        samples, rate_hz = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)
        return samples.mean(axis=1), int(rate_hz)

    return decode


def by_truth(path: Path) -> tuple[Float32Array, int]:
    return np.load(path.parent / "truth.npy").astype(np.float32), stream.probe(path).sample_rate_hz


def decoders(ffmpeg: str | None) -> dict[str, Decode]:
    """Those that are installed here."""
    found: dict[str, Decode] = {
        name: decode
        for name, decode in (("soundfile", by_soundfile), ("miniaudio", by_miniaudio))
        if importlib.util.find_spec(name) is not None
    }
    command = ffmpeg or shutil.which("ffmpeg")
    return found | ({"ffmpeg": by_ffmpeg(command)} if command and "soundfile" in found else {})


def compare(ours: Float32Array, theirs: Float32Array) -> Comparison:
    """How `theirs` differ. An offset is positive where theirs are later."""
    n = min(len(ours), len(theirs), 2**18)
    if n == 0:
        return Comparison(len(theirs), 0, 0.0, 0.0 if len(ours) == len(theirs) else np.inf)
    correlation = np.fft.irfft(np.conj(np.fft.rfft(ours[:n], 2 * n)) * np.fft.rfft(theirs[:n], 2 * n))
    lags = np.concatenate([np.arange(min(n, MAX_OFFSET)), -np.arange(1, min(n, MAX_OFFSET))])
    best = correlation[lags]
    offset = int(lags[int(best.argmax())]) if best.max() > 1.001 * correlation[0] else 0
    one, other = ours[max(0, -offset) :], theirs[max(0, offset) :]
    n = min(len(one), len(other))
    one, other = one[:n].astype(np.float64), other[:n].astype(np.float64)
    power = float(one @ one)
    gain = float(one @ other) / power if power else 1.0
    return Comparison(
        len(theirs), offset, 20 * np.log10(max(abs(gain), 1e-9)), float(np.abs(one - other).max(initial=0.0))
    )


def sounds(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in stream.SUFFIXES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folders of sounds")
    parser.add_argument("--ffmpeg", metavar="PATH", help="FFmpeg's command, if it is not on the path")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest error that counts as agreement")


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments.Parser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    known = decoders(args.ffmpeg)
    largest, worst, alone, n_read, n_refused = 0.0, "", 0, 0, 0
    print("| file | boiler | " + " | ".join([*known, "truth"]) + " |")
    print("| --- " * (len(known) + 3) + "|")
    for path in sounds(args.folders):
        cells, errors = [], []
        try:
            ours, rate_hz = by_boiler(path)
            cells.append(f"{len(ours)} at {rate_hz} Hz")
            n_read += 1
        except SoundError as error:
            cells.append(error.reason)
            ours, rate_hz = np.empty(0, np.float32), 0
            n_refused += 1
        truth = {"truth": by_truth} if (path.parent / "truth.npy").is_file() else {}
        for decode in [*known.values(), *truth.values()]:
            try:
                theirs, their_hz = decode(path)
            except Exception as error:  # whatever another decoder raises
                cells.append(f"refused ({type(error).__name__})")
                continue
            if not rate_hz:
                cells.append(f"reads {len(theirs)}")
                continue
            found = compare(ours, theirs)
            same = their_hz == rate_hz and found.samples == len(ours) and found.offset == 0
            errors.append(found.error if same else np.inf)
            cells.append(
                f"{found.error:.1e}"
                if same
                else f"{found.samples} at {their_hz} Hz, {found.offset:+d}, {found.gain_db:+.2f} dB, {found.error:.1e}"
            )
        if errors:
            best = min(errors)
            alone += best > args.tolerance
            if np.isfinite(best) and best >= largest:
                largest, worst = best, path.name
        print(f"| {path.name} | " + " | ".join(cells + ["-"] * (len(known) + 2 - len(cells))) + " |")
    print(
        f"\n{n_read} files are read, {n_refused} refused; {alone} are read by another decoder and agree with none."
        f" The largest error against the decoder that agrees best: {largest:.1e} ({worst})."
    )
    return 1 if alone else 0


if __name__ == "__main__":
    sys.exit(main())

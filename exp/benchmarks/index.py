"""Time and memory of indexing large collections: `python -m exp.benchmarks.index --files 2000`.

    --files 100000        a synthetic folder: first index; nothing to do; 1 % changed, moved and deleted
    --ten_hours           one file of ten hours, in FLAC, MP3 and Opus: peak memory of the whole process tree
    --rows 1000000        random vectors published, opened, and served by 1 and 4 workers

Prints tables in Markdown. Memory is that of the whole process tree, sampled four times a second
(`exp/common/process_monitor.py`): "own" is anonymous memory, "all" also counts mapped files and program code. For
comparison the memory of `import torch` alone is printed. `--encoder NAME --pt_path FILE` uses another encoder than
MFCCStats. Files are written below `--work` (default: a temporary folder) and kept if that is given.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from exp.common import made_corpus
from exp.common.process_monitor import Costs, memory, tree, watched

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import sounds

MB = 2**20
TEN_HOURS_S = 36_000.0


# --- a folder --------------------------------------------------------------------------------------------------------


def folder(work: Path, files: int, index_args: list[str]) -> None:
    """Measure a first index, an update with nothing to do, and one after a few changes."""
    if (work / "sounds" / made_corpus.place(0)).exists() and (work / "sounds" / made_corpus.place(files - 1)).exists():
        print(f"\n{files} files already in {work / 'sounds'}")
    else:
        start = time.monotonic()
        shutil.rmtree(work / "sounds", ignore_errors=True)
        made_corpus.make(work / "sounds", files)
        print(f"\n{files} files written in {time.monotonic() - start:.0f} s")
    print(f"`boiler index` with {' '.join(index_args)}, {os.cpu_count()} cores; {_torch_memory()}\n")
    print(
        "| run | load before | wall s | of it publishing | files embedded | files/s | hours/h | bottleneck |"
        " CPU s, encoder / decoders | memory, own / all |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    model_dir = work / "index"
    if not (model_dir / "current").exists():  # otherwise resume an interrupted run of this script
        shutil.rmtree(model_dir, ignore_errors=True)
        _index("first", model_dir, [str(work / "sounds"), *index_args])
    _index("again, nothing to do", model_dir, [])
    _index("again, every byte read (--check)", model_dir, ["--check"])
    n = made_corpus.alter(work / "sounds", files, 0.01)
    _index(f"{n} changed, {n} moved, {n} deleted", model_dir, [])
    checked = watched([sys.executable, "-m", "boiler.cli.status", model_dir, "--check"])
    print(f"\n`boiler status --check`: {checked.wall_s:.1f} s, {checked.peak_own / MB:.0f} MB own. Its output:\n")
    print("\n".join(f"    {line}" for line in checked.output.replace(f"{work}/", "").splitlines()[:12]))


def _index(name: str, model_dir: Path, index_args: list[str]) -> dict[str, Any]:
    """Run the indexer once; print its line of the table, and its stages on the error stream."""
    load = os.getloadavg()[0]
    costs = watched([sys.executable, "-m", "boiler.index", "--model_dir", model_dir, "--json", *index_args])
    if costs.code not in (0, 1):
        raise SystemExit(costs.output)
    report: dict[str, Any] = json.loads(costs.output)
    tally = report["tally"]
    embedding_s = tally["decode_wait_s"] + tally["embed_s"] + tally["write_s"]
    print(
        f"| {name} | {load:.1f} | {costs.wall_s:.1f} | {report['publish_s']:.1f} | {tally['embedded']} |"
        f" {tally['embedded'] / embedding_s if embedding_s else 0:.0f} |"
        f" {tally['sound_s'] / embedding_s if embedding_s else 0:.0f} | {_bottleneck(report)} |"
        f" {tally['embed_processor_s']:.0f} / {costs.others_s:.0f} | {_memory(costs)} |",
        flush=True,
    )
    print(
        f"  {name}: scanning {report['scan_s']:.1f} s, encoder {tally['prepare_s']:.1f}, waiting for decoders"
        f" {tally['decode_wait_s']:.1f}, embedding {tally['embed_s']:.1f}, writing {tally['write_s']:.1f}; CPU"
        f" time: this process {costs.main_s:.0f} s, decoders {costs.others_s:.0f} s; {tally['failed']} failed,"
        f" {tally['reused']} known already",
        file=sys.stderr,
    )
    return report


def _bottleneck(report: dict[str, Any]) -> str:
    tally = report["tally"]
    whole_s = tally["decode_wait_s"] + tally["embed_s"] + tally["write_s"]
    if not tally["windows"]:
        return ""
    return f"{report['bottleneck']} (encoder {100 * tally['embed_s'] / whole_s:.0f} % of wall-clock time)"


def _torch_memory() -> str:
    """The memory of `import torch` alone, which is included in every figure."""
    return f"`import torch` alone takes {_memory(watched([sys.executable, '-c', 'import torch']))} of memory"


def _memory(costs: Costs) -> str:
    return f"{costs.peak_own / MB:.0f} / {costs.peak_pss / MB:.0f} MB"


# --- ten hours -------------------------------------------------------------------------------------------------------


def ten_hours(work: Path, index_args: list[str]) -> None:
    """Index one file of ten hours in each of three formats."""
    print(
        f"\nOne file of ten hours, `boiler index` with {' '.join(index_args)}, {os.cpu_count()} cores; {_torch_memory()}\n"
    )
    print("| file | its size | windows | load before | wall s | hours/h | bottleneck | memory, own / all |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |")
    for form in ("flac", "mp3", "ogg-opus"):
        path = _long(work / "long", form)
        shutil.rmtree(work / "long-index", ignore_errors=True)
        load = os.getloadavg()[0]
        costs = watched(
            [
                *(sys.executable, "-m", "boiler.index", path.parent, *index_args, "--include", path.name, "--json"),
                *("--model_dir", work / "long-index"),
            ]
        )
        report = json.loads(costs.output)
        print(
            f"| {path.name} | {path.stat().st_size / 1e6:.0f} MB | {report['n_rows']} | {load:.1f} | {costs.wall_s:.0f} |"
            f" {report['sound_per_time']:.0f} | {_bottleneck(report)} | {_memory(costs)} |",
            flush=True,
        )
        print(f"  {form}: {costs.most_processes} processes, {report['tally']}", file=sys.stderr)


def _long(where: Path, form: str) -> Path:
    """A stereo file of ten hours: ten minutes are encoded, and their packets repeated."""
    where.mkdir(parents=True, exist_ok=True)
    suffix = sounds.FORMATS[form].suffix
    path, track = where / f"ten_hours{suffix}", where / f"track{suffix}"
    if path.exists():
        return path
    rate_hz = 48_000 if "opus" in form else 44_100
    rng = np.random.default_rng(5)
    parts: list[sounds.Sound] = []
    while sum(part.shape[1] for part in parts) < 600 * rate_hz:
        parts.append(made_corpus.random_sound(rng, rate_hz, 2))
    sounds.write(track, np.concatenate(parts, axis=1), rate_hz, form)
    stream, packets, durations = made_corpus.track_packets(track)
    made_corpus.remux(track, path, 0, round(TEN_HOURS_S / float(sum(durations) * stream.time_base) * len(packets)))
    track.unlink()
    return path


# --- a million rows --------------------------------------------------------------------------------------------------


def rows(work: Path, n_rows: int, dim: int) -> None:
    """Measure publishing, opening and serving an index of `n_rows` rows, compared with one of 1,000."""
    few, many = work / "rows-1000", work / f"rows-{n_rows}"
    for model_dir, n in ((few, 1_000), (many, n_rows)):
        costs = watched(
            [sys.executable, "-m", "exp.benchmarks.index", "--publish", str(n), "--dim", str(dim), "--work", model_dir]
        )
        print(costs.output, end="")
        print(f"Memory while publishing: {_memory(costs)}; {costs.wall_s:.0f} s including the start of Python.")
    _opened(many)
    print(
        f"\n{n_rows} rows served by `boiler serve`, 200 queries by each of 8 clients; memory per worker, minimum to maximum\n"
    )
    print("| rows | workers | own MB | mapped files MB, proportional | queries/s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for workers in (1, 4):
        for model_dir in (few, many):
            _served(model_dir, workers, dim)


def publish(model_dir: Path, n_rows: int, dim: int) -> None:
    """Publish random clustered vectors, one or two windows an item, and print the time of each stage."""
    from boiler.catalog.items import Item
    from boiler.engine import selection
    from boiler.engine.annoy import Annoy
    from boiler.engine.exact import Exact
    from boiler.engine.hnsw import HNSW
    from boiler.store import build, generation, manifest, projector

    took: Counter[str] = Counter()

    def timed(place: Any, name: str, stage: str) -> None:
        inner: Callable[..., Any] = getattr(place, name)

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            start = time.monotonic()
            try:
                return inner(*args, **kwargs)
            finally:
                took[stage] += time.monotonic() - start

        setattr(place, name, outer)

    timed(Annoy, "build", "annoy built")
    timed(selection, "write_engines", "engines built and tested")
    timed(HNSW, "build", "graph built")
    timed(build.layout, "layout_map", "map laid out")
    timed(HNSW, "_tune_width", "graph tested")
    timed(build, "_write_items", "meta.sqlite and metadata.tsv")
    timed(projector, "write_tensors", "tensors.tsv")
    timed(manifest, "write_manifest", "hashes and fsync")
    timed(Exact, "query", "exact search, for measuring recall")
    rng = np.random.default_rng(0)
    centres = np.abs(rng.standard_normal((max(8, n_rows // 500), dim), np.float32))
    vectors = np.empty((n_rows, dim), np.float32)
    for begin in range(0, n_rows, 65_536):
        end = min(begin + 65_536, n_rows)
        vectors[begin:end] = centres[rng.integers(len(centres), size=end - begin)]
        vectors[begin:end] += 0.6 * rng.standard_normal((end - begin, dim), np.float32)
    numbers = np.sort(rng.integers(0, n_rows * 2 // 3, n_rows))
    table = generation.rows_of(numbers, start_s=np.arange(n_rows) % 7)
    items = (
        Item(
            n, f"kind{n % 50}/{n:07d}.wav", url=f"https://example.org/{n:07d}", label=f"kind{n % 50}", duration_s=n % 60,
            sample_rate_hz=44_100, channels=2, format="wav/pcm_s16le", size_bytes=n, sha256=f"{n:064x}",
            metadata={"bpm": n % 200},
        )
        for n in np.unique(numbers).tolist()
    )  # fmt: skip
    start = time.monotonic()
    opened = generation.publish(model_dir, generation.Header("random", dim), vectors, table, items)
    whole_s = time.monotonic() - start
    built_s = took["annoy built"] + took["graph built"]
    took["engines saved and tested"] = took.pop("engines built and tested") - built_s
    took["graph built"] -= took["graph tested"]
    size = sum(path.stat().st_size for path in opened.path.rglob("*") if path.is_file())
    engine = opened.header.engine
    print(
        f"\n{n_rows} rows of {dim} ({opened.header.n_items} items, {size / 1e9:.2f} GB) published in {whole_s:.0f} s:"
        f" {', '.join(f'{stage} {s:.1f}' for stage, s in took.most_common())}. Queries are answered by {engine['name']}: {engine}"
    )


def _opened(model_dir: Path) -> None:
    """Print the time to open the index in a new process with a warm file cache, the best of three."""
    script = (
        "import sys, time; from boiler.search.nearest import Nearest; import numpy; start = time.monotonic();"
        "nearest = Nearest(sys.argv[1]); opened = time.monotonic(); nearest.by_item(7, k=10);"
        "print(opened - start, time.monotonic() - opened)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script, model_dir], check=True, capture_output=True, text=True)
        times.append([float(seconds) for seconds in done.stdout.split()])
    print(f"\nNearest opens it in {min(times)[0]:.2f} s; the first answer takes {1e3 * min(times)[1]:.0f} ms more.")


def _served(model_dir: Path, workers: int, dim: int) -> None:
    with _service(model_dir, workers) as (pid, address):
        start = time.monotonic()
        clients = [
            subprocess.Popen([sys.executable, "-c", CLIENT, address, str(dim), str(seed)], stdout=subprocess.PIPE)
            for seed in range(8)
        ]
        for client in clients:
            if client.wait():
                raise SystemExit("a client failed")
        took_s = time.monotonic() - start
        sizes = [memory(one) for one in tree(pid)[1:]] if workers > 1 else [memory(pid)]
        sizes = [
            size for size in sizes if size.get("Pss_Anon", 0) > 20 * MB
        ]  # without the resource tracker of multiprocessing
        own = [size["Pss_Anon"] / MB for size in sizes]
        mapped = [size["Pss_File"] / MB for size in sizes]
        n = model_dir.name.removeprefix("rows-")
        print(
            f"| {n} | {workers} | {min(own):.0f} to {max(own):.0f} | {min(mapped):.0f} to {max(mapped):.0f} |"
            f" {8 * 200 / took_s:.0f} |",
            flush=True,
        )


CLIENT = """
import json, sys, urllib.request
import numpy
rng = numpy.random.default_rng(int(sys.argv[3]))
for _ in range(200):
    body = json.dumps({"embedding": numpy.abs(rng.standard_normal(int(sys.argv[2]))).tolist()}).encode()
    request = urllib.request.Request(sys.argv[1] + "/nearest?k=12", body, {"Content-Type": "application/json"})
    assert len(json.load(urllib.request.urlopen(request))) == 12
"""


@contextlib.contextmanager
def _service(model_dir: Path, workers: int) -> Iterator[tuple[int, str]]:
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "boiler", "serve", model_dir, "--port", "0", "--workers", str(workers)],
            stdout=log, stderr=log, env={**os.environ, "BOILER_LOG": "none"},
        )  # fmt: skip
        try:
            while True:
                log.seek(0)
                text = log.read()
                if process.poll() is not None:
                    raise SystemExit(text)
                found = re.search(r"running on (http://[0-9.:]+)", text)
                if found and text.count("Application startup complete") >= workers:
                    break
                time.sleep(0.1)
            urllib.request.urlopen(f"{found[1]}/readyz").close()
            yield process.pid, found[1]
        finally:
            process.terminate()
            process.wait()


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int)
    parser.add_argument("--ten_hours", "--ten-hours", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--encoder", default="MFCCStats")
    parser.add_argument("--pt_path", "--pt-path", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--publish", type=int, help=argparse.SUPPRESS)
    args, unknown = parser.parse_known_args()  # unknown arguments are passed to boiler index
    if args.publish:
        publish(args.work, args.publish, args.dim)
        return 0
    index_args = [args.encoder, *(("--pt_path", str(args.pt_path)) if args.pt_path else ()), *unknown]
    with ExitStack() as stack:
        work = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if args.files:
            folder(work, args.files, index_args)
        if args.ten_hours:
            ten_hours(work, index_args)
        if args.rows:
            rows(work, args.rows, args.dim)
    return 0


if __name__ == "__main__":
    sys.exit(main())

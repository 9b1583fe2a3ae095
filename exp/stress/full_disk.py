"""Index on a disk that fills up: `sudo python -m exp.stress.full_disk`.

Puts an index on a small tmpfs and updates it repeatedly with little free space. Prints what each run reported and checks
that the published index is intact after it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from boiler import arguments
from boiler.store import generation

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from sounds import tone, write

SIZE_KB = 6_000


def main(argv: Sequence[str] | None = None) -> int:
    arguments.Parser(description=__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        disk, folder = Path(work) / "disk", Path(work) / "sounds"
        disk.mkdir()
        folder.mkdir()
        for n in range(40):
            write(folder / f"{n}.wav", tone(200 + 10 * n, 0.5, 16_000), 16_000)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "boiler", disk], check=True)
        try:
            index(folder, disk / "index", "MFCCStats")
            before = generation.check(disk / "index")
            for n in range(40, 120):
                write(folder / f"{n}.wav", tone(200 + 10 * n, 0.5, 16_000), 16_000)
            for free_after_kb in (0, 4, 16, 64, 128, 256, 512, 768):
                (disk / "ballast").unlink(missing_ok=True)
                free_kb = int(subprocess.check_output(["df", "--output=avail", "-k", disk]).split()[-1])
                (disk / "ballast").write_bytes(bytes(1024 * max(0, free_kb - free_after_kb)))
                code, output = index(disk / "index")
                now = generation.check(disk / "index")
                kept = "the old index, unchanged" if now.name == before.name else "the new index"
                print(f"{free_after_kb:4} kB free: exit code {code}, {kept}; {output}")
            (disk / "ballast").unlink()
            code, _ = index(disk / "index")
            print(
                f"with enough space again: exit code {code}, {generation.check(disk / 'index').header.n_items} sounds"
            )
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)
    return 0


def index(*args: object) -> tuple[int, str]:
    """Run `boiler.index`; return its exit code and its error messages, with the first argument replaced by INDEX.

    `args`: MODEL_DIR, or WAV_DIR MODEL_DIR ENCODER."""
    model_dir = ["--model_dir", args[1]] if len(args) > 1 else []
    command_args = [args[0], *args[2:], *model_dir]
    done = subprocess.run(
        [sys.executable, "-m", "boiler.index", *map(str, command_args), "--workers", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("boiler:")]
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join(lines).replace(str(args[0]), "INDEX")[:170]


if __name__ == "__main__":
    sys.exit(main())

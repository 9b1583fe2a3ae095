"""Every script of `exp/` starts; half a minute of mixed load and some of the attacks find no fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


SCRIPTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("benchmarks", "stress", "studies")
    for path in (ROOT / "exp" / room).glob("*.py")
)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_prints_its_usage(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


@pytest.mark.slow
def test_mixed_load_shows_no_fault() -> None:
    command = [sys.executable, "-m", "exp.stress.soak_service", "--minutes", "0.5", "--reindex_s", "15"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a vector of", "SQL", "in JSON", "silence", "key"])
def test_attacks_get_an_allowed_status(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exp.stress.attack_service", "--only", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

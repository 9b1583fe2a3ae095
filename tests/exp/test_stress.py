"""A minute of the mixed load, and some of the attacks, as `exp/` has them for half an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXP = Path(__file__).parent.parent / "exp"


@pytest.mark.slow
def test_a_minute_of_mixed_load_shows_no_fault() -> None:
    command = [sys.executable, str(EXP / "soak_service.py"), "--minutes", "0.5", "--reindex_s", "15"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a vector of", "SQL", "in JSON", "silence", "key"])
def test_attacks_get_what_they_must(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXP / "attack_service.py"), "--only", kind],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

"""`streamlit run boiler/app.py` finds the package, whatever is first on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boiler

APP = Path(boiler.__file__).parent / "app.py"


def test_the_script_imports_the_package_and_not_modules_beside_it(tmp_path: Path) -> None:
    """Python puts the folder of a script first on its path, where `errors` and `audio` are parts of boiler."""
    environment = {**os.environ, "PYTHONPATH": str(APP.parent.parent)}
    command = [sys.executable, str(APP), "--help"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "usage: streamlit run boiler/app.py -- [-h] [--wav_dir WAV_DIR]" in run.stdout


def test_an_unknown_argument_is_refused() -> None:
    run = subprocess.run([sys.executable, str(APP), "--nonsense"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--nonsense" in run.stderr

"""The demo indexes, searches and measures, and reports results that are not good enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boiler.cli import demo
from boiler.cli.demo import DemoSettings, Precision
from boiler.errors import CorpusError
from boiler.search.nearest import Nearest


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (Precision(0.9, 0.8, 0.06), None),
        (Precision(0.8, 0.8, 0.16), None),
        (Precision(0.29, 0.2, 0.06), "less than 5 times chance"),
        (Precision(0.7, 0.8, 0.06), "less than the 0.80 of MFCCStats"),
    ],
)
def test_a_precision_that_is_too_low_is_reported(precision: Precision, message: str | None) -> None:
    shortfall = precision.shortfall()
    assert (shortfall is None) if message is None else (shortfall is not None and message in shortfall)


def test_low_precision_on_synthetic_sounds_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def poor(settings: DemoSettings) -> demo.Outcome:
        return demo.Outcome(tmp_path, tmp_path, tmp_path / "neighbours.png", Precision(0.1, 0.5, 0.06))

    monkeypatch.setattr(demo, "demo", poor)
    assert demo.main([]) == 1
    assert "results are worse than expected" in capsys.readouterr().err
    # a user's folders may be named after anything
    assert demo.main(["--wav_dir", str(tmp_path)]) == 0


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    with pytest.raises(CorpusError, match="sounds"):
        demo.demo(DemoSettings(wav_dir=tmp_path / "sounds", save_path=tmp_path / "out", max_minutes=0.01))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--max-minutes", "0.7"]], ids=["general", "trained"])
def test_the_demo_indexes_and_searches(tmp_path: Path, flags: list[str]) -> None:
    save_path = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "boiler", "demo", "--save-path", str(save_path), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    # 1: an encoder trained for less than a minute may be worse than MFCCStats
    assert done.returncode in ((0, 1) if flags else (0,)), done.stderr
    assert "synthesized 320 sounds of 16 kinds" in done.stdout
    assert "boiler browse" in done.stdout
    picture = np.asarray(Image.open(save_path / "neighbours.png").convert("L"))
    assert picture.shape[1] > 800
    assert picture.std() > 20
    (told,) = (line for line in done.stdout.splitlines() if "boiler browse" in line)
    model_dir = Path(told.split()[2])
    nearest = Nearest(model_dir)
    assert len(nearest) == 320
    assert len(nearest.by_item("bell/bell_003.wav", 5)) == 5
    measured = demo.measure_precision(model_dir)
    assert measured is not None
    assert measured.chance == pytest.approx(19 / 319, abs=0.001)
    assert measured.encoder > 5 * measured.chance

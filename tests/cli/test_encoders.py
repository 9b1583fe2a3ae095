"""`boiler encoders`: every encoder with what it needs and what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from boiler import encoder
from boiler.cli import encoders, main
from boiler.encoder.measured import MEASURED

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_every_encoder_is_listed_with_a_sentence_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    said = capsys.readouterr().out
    names = re.findall(r"^(\w+)  ?", said, re.MULTILINE)
    assert names == list(encoder.ENCODERS)
    sentences = {encoders.summary_of(name) for name in names}
    assert len(sentences) == len(names)
    assert all(sentence.endswith(".") for sentence in sentences)
    assert "boiler encoders add aisfx fetches them; --pt_path FILE.safetensors), CC BY 4.0" in said
    assert "48 kHz, windows of 1 s" in said
    assert "rate and window are those of the file" in said
    assert "ESC-10 .760 / .627 / .472, digits .586 / .569 / .358" in said
    assert "drums .585 / .499 / .399, weights of 18.7 MB" in said


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_measured_figures_are_those_of_the_readme(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith("|") and f"`{name}`" in line and " / " in line)
    measured = MEASURED[name]
    found = [tuple(map(float, cell)) for cell in re.findall(r"(\.\d+) / (\.\d+) / (\.\d+)", row)]
    assert found == [cell for cell in (measured.esc10, measured.digits) if cell is not None]
    assert f"| {measured.dim} |" in row


@pytest.mark.parametrize("name", sorted({"MFCCStats", "JoinedDescriptors"}))
def test_the_dimension_is_that_of_the_encoder(name: str) -> None:
    assert encoder.create(name).dim == MEASURED[name].dim

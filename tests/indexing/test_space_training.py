"""What the commands that learn a common space say at the end, and which index they learn from."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import numpy as np
import pytest

from boiler.crossmodal.common_space import WordSpace
from boiler.crossmodal.trainer import SpaceTrainSettings, train
from boiler.crossmodal.training_pairs import LabelledVectors
from boiler.errors import SettingsError
from boiler.indexing import space_training


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM])
def test_a_run_ends_with_the_exit_code_of_the_signal_that_stopped_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals | None
) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    pairs = LabelledVectors.from_labels(vectors, [("rain",) if n % 2 else ("violin",) for n in range(20)])

    def stop(step: int) -> None:
        if step == 2 and number is not None:
            signal.raise_signal(number)

    result = train(pairs, "", SpaceTrainSettings(tmp_path, steps=3, steps_per_checkpoint=50), on_step=stop)
    code = space_training.report(result, pairs, tmp_path / "words.safetensors", "EXAMPLE")
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path / 'words.safetensors'}: 2 labels, 20 sounds, {2 if number else 3} steps\n")
    if number is None:
        assert code == 0
        assert "boiler search EXAMPLE" in said.err
    else:
        assert code == 128 + number
        assert f"continue with --load_path {result.path}" in said.err


def test_an_encoder_beside_an_index_is_refused(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    space_training.add_arguments(parser, WordSpace)
    flags = ["--model_dir", str(tmp_path), "--save_path", str(tmp_path / "run")]
    assert space_training.index_of(parser.parse_args(flags)) == (tmp_path, ())
    with pytest.raises(SettingsError, match="the index of --model_dir has its own encoder"):
        space_training.index_of(parser.parse_args([*flags, "--encoder", "MFCCStats"]))

"""The command `boiler train`: flags, output, resuming, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boiler import train_vqvae
from boiler.arguments import Parser
from boiler.errors import SettingsError
from boiler.model import checkpoint
from boiler.model.vqvae import GENERAL_MEL
from boiler.train_vqvae import TrainSettings, settings_from


def parsed(*words: str) -> TrainSettings:
    parser = Parser()
    train_vqvae.add_arguments(parser)
    return settings_from(parser.parse_args(words))


def test_omitted_flags_have_the_defaults_of_the_settings() -> None:
    assert parsed("--wav_dir", "in", "--save_path", "out") == TrainSettings(Path("in"), Path("out"))


def test_every_flag_sets_its_setting() -> None:
    words = "--wav-dir in --save-path out --epoch 3 --batch-size 16 --lr 0.01 --latent-loss-weight 0.5 --seed 7"
    more = "--from_scratch --n_mel_channels 64 --device cpu --max_minutes 2.5"
    found = parsed(*words.split(), *more.split())
    assert (found.epoch, found.batch_size, found.lr, found.latent_loss_weight) == (3, 16, 0.01, 0.5)
    assert (found.seed, found.n_mel_channels, found.device, found.max_minutes) == (7, 64, "cpu", 2.5)
    assert found.new_network().trunk == "plain"


def test_training_starts_from_the_general_network_unless_it_is_told_otherwise() -> None:
    found = parsed("--wav_dir", "in", "--save_path", "out")
    assert (found.new_network().trunk, found.new_mel()) == ("general", GENERAL_MEL)
    with pytest.raises(SettingsError, match="add --from_scratch"):
        parsed("--wav_dir", "in", "--save_path", "out", "--n_mel_channels", "64")


def test_resuming_keeps_the_flags_of_the_run(checkpoint_path: Path) -> None:
    found = parsed("--wav_dir", "in", "--save_path", str(checkpoint_path.parent), "--load_path", str(checkpoint_path))
    assert (found.batch_size, found.steps_per_epoch, found.device) == (8, 4, "cpu")
    assert found.network == TrainSettings.from_plain(checkpoint.load(checkpoint_path).settings).network
    assert found.wav_dir == Path("in")


def test_a_new_run_from_a_checkpoint_takes_its_weights_but_not_its_flags(checkpoint_path: Path) -> None:
    found = parsed("--wav_dir", "in", "--save_path", "out", "--load_path", str(checkpoint_path))
    assert (found.batch_size, found.steps_per_epoch) == (TrainSettings.batch_size, None)


SHORT_FITS = """
import sys
from boiler import train_vqvae
from boiler.encoder import joined_descriptors
joined_descriptors.STEPS = 10
"""
RUN = "sys.exit(train_vqvae.main(sys.argv[1:]))"


def run_command(*words: str, folder: Path, cache_dir: Path, program: str = SHORT_FITS + RUN) -> list[str]:
    return [
        sys.executable, "-c", program, "--wav_dir", str(folder), "--save_path", "run", "--device", "cpu",
        "--batch_size", "4", "--cache_dir", str(cache_dir), *words,
    ]  # fmt: skip


@pytest.mark.slow
def test_the_command_trains_and_prints_the_next_command(labelled_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for path in sorted(labelled_folder.rglob("*.wav")):
        (tmp_path / "in" / path.name).symlink_to(path)
    (tmp_path / "in" / "broken.wav").write_text("not a sound")
    words = run_command("--epoch", "1", "--steps_per_epoch", "1", folder=tmp_path / "in", cache_dir=tmp_path / "cache")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/vqvae_001.pt\n"
    assert "1 file cannot be used" in done.stderr
    assert "broken.wav: " in done.stderr
    assert f"next: boiler index --wav_dir {tmp_path / 'in'} --pt_path run/vqvae_001.pt" in done.stderr
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_prints_how_to_resume(
    labelled_folder: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    # The command's own process sends itself the signal, in its second step.
    program = f"""{SHORT_FITS}
import os
from boiler.training import trainer
calls = []
learning_rate = trainer.learning_rate
def learning_rate_and_signal(*args):
    calls.append(args)
    if len(calls) == 2:
        os.kill(os.getpid(), {int(number)})
    return learning_rate(*args)
trainer.learning_rate = learning_rate_and_signal
{RUN}
"""
    bounds = ("--epoch", "5", "--steps_per_epoch", "100")
    words = run_command(*bounds, folder=labelled_folder, cache_dir=tmp_path / "c", program=program)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == code, done.stderr
    assert "--load_path run/vqvae_001.pt" in done.stderr
    assert checkpoint.load(tmp_path / "run" / "vqvae_001.pt").step == 2

"""Several processes train as one, agree when to stop, and continue after a kill; a launch knows its checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from boiler import encoder
from boiler.errors import SettingsError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.training import distributed
from boiler.training.distributed import LAUNCH_FILE, RankShard, after_restart, join, mark_launch
from boiler.training.settings import TrainSettings
from boiler.training.trainer import train

pytestmark = pytest.mark.usefixtures("short_fits")

TRAIN = """
import os, signal, sys, time
from pathlib import Path
from boiler.encoder import joined_descriptors
from boiler.model import checkpoint
from boiler.training import trainer
from boiler.training.settings import TrainSettings

joined_descriptors.STEPS = 10
torch_settings, rank = eval(sys.argv[1]), int(os.environ["RANK"])
settings = TrainSettings.from_plain(torch_settings)

def on_step(state):
    Path(settings.save_path.parent, f"rank{rank}.txt").write_text(f"{os.getpid()} {state.step}")
    order = Path(settings.save_path.parent, f"kill{rank}_at_{state.step}")
    if order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)

result = trainer.train(settings, started=time.monotonic() - float(sys.argv[2]) * rank, on_step=on_step)
sys.stdout.write(f"{rank} {result.rank} {result.step} {result.stopped_by}\\n")  # in one piece
"""


def launch(settings: TrainSettings, *, max_restarts: int = 0, late_s: float = 0) -> subprocess.Popen[str]:
    """Two processes; the clock of rank 1 is ahead by `late_s`."""
    program = settings.save_path.parent / "train.py"
    program.write_text(TRAIN)
    words = ["--nproc_per_node=2", f"--max_restarts={max_restarts}", "--standalone", str(program)]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *words, repr(settings.to_plain()), str(late_s)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(settings: TrainSettings, rank: int, step: int) -> int:
    """The process of a rank, once it has done so many steps."""
    path = settings.save_path.parent / f"rank{rank}.txt"
    while True:
        words = path.read_text().split() if path.exists() else []
        if len(words) == 2 and int(words[1]) >= step:
            return int(words[0])
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> tuple[list[list[str]], str]:
    """What the ranks printed, and stderr."""
    out, err = process.communicate(timeout=250)
    return sorted(line.split() for line in out.splitlines() if line[:1] in "01"), err


def greatest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.fixture(scope="module")
def odd_settings(session_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    """Batches of 7 sounds, 3 for one rank and 4 for the other. The learning rate is that of the first tenth of a long
    run: with a higher one, differences in rounding grow from step to step."""
    folder = tmp_path_factory.mktemp("ranks")
    return replace(session_settings, save_path=folder / "run", epoch=3, steps_per_epoch=3, batch_size=7, lr=1e-4)


@pytest.fixture(scope="module")
def by_two(odd_settings: TrainSettings, short_fits: None) -> list[Checkpoint]:
    printed, err = end(launch(odd_settings))
    assert printed == [["0", "0", "9", "None"], ["1", "1", "9", "None"]], err
    return [checkpoint.load(path) for path in sorted(odd_settings.save_path.glob("*.pt"))]


@pytest.mark.slow
def test_two_processes_train_as_one_does(by_two: list[Checkpoint], odd_settings: TrainSettings, tmp_path: Path) -> None:
    """Only sums are rounded differently. Measured: 4e-4 of a metric, 7e-5 in weights. A cell as near to one code as to
    another may go to the other one, which moves a count by 0.02."""
    alone = replace(odd_settings, save_path=tmp_path / "run")
    train(alone)
    by_one = [checkpoint.load(path) for path in sorted(alone.save_path.glob("*.pt"))]
    assert len(by_one) == len(by_two) == 3
    for one, two in zip(by_one, by_two, strict=True):
        assert one.metrics == pytest.approx(two.metrics, rel=2e-3)
        codes = {name for name in one.weights if name.endswith(("sums", "counts"))}
        assert len(codes) == 4
        for names, tolerance in ((codes, 0.1), (one.weights.keys() - codes, 1e-3)):
            differences = [greatest_difference(*({name: each.weights[name]} for each in (one, two))) for name in names]
            assert max(differences) < tolerance
    # The trail is one of a network that learns: tolerances are far below what changes between epochs.
    assert greatest_difference(by_one[0].weights, by_one[-1].weights) > 0.02
    events = list(odd_settings.save_path.glob("events.*"))
    assert len(events) == 1  # rank 0 alone writes


@pytest.mark.slow
def test_two_processes_train_beside_the_general_trunk_as_one_does(odd_settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(odd_settings, save_path=tmp_path / "two" / "run", epoch=1, network=None)
    settings.save_path.parent.mkdir()
    printed, err = end(launch(settings))
    assert printed == [["0", "0", "3", "None"], ["1", "1", "3", "None"]], err
    alone = replace(settings, save_path=tmp_path / "run")
    train(alone)
    one, two = (checkpoint.load(next(each.save_path.glob("*.pt"))) for each in (alone, settings))
    # Of 512 codes few are used, so that a cell which goes to another code shows.
    for name in one.metrics:
        assert one.metrics[name] == pytest.approx(two.metrics[name], rel=0.03 if "bottom" in name else 2e-3), name
    names = {name for name in one.weights if not name.endswith(("sums", "counts"))}
    assert greatest_difference(*({name: each.weights[name] for name in names} for each in (one, two))) < 1e-3


@pytest.mark.slow
def test_training_continues_after_ranks_were_killed(
    by_two: list[Checkpoint], odd_settings: TrainSettings, tmp_path: Path
) -> None:
    """Bit for bit, from the last checkpoint."""
    settings = replace(odd_settings, save_path=tmp_path / "run")
    for order in ("kill0_at_4", "kill1_at_7"):  # each is carried out once, by the rank itself
        (tmp_path / order).touch()
    printed, err = end(launch(settings, max_restarts=2))
    assert printed == [["0", "0", "9", "None"], ["1", "1", "9", "None"]], err
    assert "starts it again from the last checkpoint" in err  # torchrun may end the other rank before it notices
    found = [checkpoint.load(path) for path in sorted(settings.save_path.glob("*.pt"))]
    for one, two in zip(found, by_two, strict=True):
        assert greatest_difference(one.weights, two.weights) == 0
        assert greatest_difference(one.learned, two.learned) == 0


@pytest.mark.slow
def test_ranks_agree_on_time_and_stop_together(odd_settings: TrainSettings, tmp_path: Path) -> None:
    """The clock of rank 1 says that the time is over from the start, but rank 0 decides. Then rank 1 gets a signal."""
    settings = replace(odd_settings, save_path=tmp_path / "run", epoch=100_000, max_minutes=5.0)
    process = launch(settings, late_s=600.0)
    os.kill(wait_for_step(settings, 1, 4), signal.SIGTERM)
    printed, err = end(process)
    (zero, _, step, stopped_by), (one, *others) = printed
    assert (zero, one, stopped_by) == ("0", "1", str(int(signal.SIGTERM))), err
    assert others == ["1", step, stopped_by]
    saved = checkpoint.load(max(settings.save_path.glob("*.pt")))
    assert saved.step == int(step) >= 4
    assert saved.learned.keys() > set(encoder.select_folder_fit(saved.learned))  # encoders were fitted, too


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the only process that torchrun started."""
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "TORCHELASTIC_RUN_ID": "test"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def launched(monkeypatch: pytest.MonkeyPatch, restarts: int) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))


def test_a_restart_continues_from_the_newest_checkpoint_of_this_launch(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.save_path.mkdir()
    (settings.save_path / "vqvae_009.pt").touch()
    os.utime(settings.save_path / "vqvae_009.pt", (1, 1))  # of an earlier run
    launched(monkeypatch, 0)
    assert after_restart(settings) == settings
    mark_launch(settings)
    launched(monkeypatch, 1)
    assert after_restart(settings) == settings
    mark_launch(settings)
    mark = (settings.save_path / LAUNCH_FILE).stat().st_mtime_ns
    for later, name in ((20, "vqvae_003.pt"), (10, "vqvae_004.pt")):
        (settings.save_path / name).touch()
        os.utime(settings.save_path / name, ns=(mark + later, mark + later))
    assert after_restart(settings).load_path == settings.save_path / "vqvae_003.pt"


def test_a_launch_that_was_refused_does_not_continue_the_run_that_it_found(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if that one was launched by torchrun, too."""
    launched(monkeypatch, 0)
    mark_launch(settings)
    (settings.save_path / "vqvae_001.pt").touch()
    assert after_restart(settings) == settings  # which is then refused, before `mark_launch`
    launched(monkeypatch, 1)
    assert after_restart(settings) == settings


def test_one_process_without_torchrun_leaves_no_mark(settings: TrainSettings) -> None:
    mark_launch(settings)
    assert not settings.save_path.exists()


@given(st.integers(1, 5), st.integers(0, 20), st.integers(1, 2), st.integers(1, 3))
def test_shards_partition_a_batch_and_put_it_together_again(n_ranks: int, more: int, n_views: int, width: int) -> None:
    n_sounds = n_ranks + more
    batch = torch.arange(n_views * n_sounds * width).view(-1, width).float()
    shards = [RankShard(rank, n_ranks, n_sounds) for rank in range(n_ranks)]
    together = torch.zeros_like(batch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RankShard, "sum", lambda shard, values: values)
        for shard in shards:
            rows = shard.take(batch)
            assert shard.whole(len(rows)) == len(batch)
            together += shard.gather(rows)
        mean = sum(shard.mean(shard.take(batch).mean(0)) for shard in shards)
    torch.testing.assert_close(together, batch)
    torch.testing.assert_close(mean, batch.mean(0))
    assert sum(shard.loss_scale for shard in shards) == pytest.approx(n_ranks)


def test_views_of_a_sound_stay_in_one_shard() -> None:
    rows = RankShard(1, 2, 5).take(torch.arange(10))
    assert rows.tolist() == [2, 3, 4, 7, 8, 9]


def test_more_ranks_than_sounds_are_refused() -> None:
    with pytest.raises(SettingsError, match="2 sounds cannot be divided among 3 processes"):
        RankShard(0, 3, 2)


def test_more_ranks_than_gpus_are_refused(torchrun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SettingsError, match="1 processes here, but there are 0 GPUs"), join("cuda"):
        pass


def test_others_end_when_the_first_rank_fails(torchrun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with join("cpu") as ranks:
        assert ranks.from_first(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            ranks.from_first(lambda: 1 // 0)
        monkeypatch.setattr(
            distributed.distributed, "broadcast_object_list", lambda sent, **_: sent.__setitem__(0, (False, None))
        )
        with pytest.raises(SystemExit):
            ranks.from_first(lambda: 7)

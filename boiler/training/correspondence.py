"""Audio-visual correspondence: the networks of L3 learn from videos, without labels, which picture belongs to which
second of sound.

Each step takes one second of each of a batch of videos. Two losses on the same cosines: which of the batch's pictures
belongs to a sound, and the other way round (InfoNCE), and whether a pair belongs together or not (logistic, true and
false pairs weighing the same). Everything random in a step derives from the seed and its number, so that a stopped run
resumes as if it had not been stopped.

Sources: Arandjelovic and Zisserman, "Look, Listen and Learn", 2017, and "Objects that Sound", 2018.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from boiler.errors import CheckpointError, SettingsError
from boiler.model import l3, l3_joint
from boiler.model.l3_joint import JointNetwork, JointSettings, L3Checkpoint
from boiler.progress import meter
from boiler.training.budget import TimeBudget
from boiler.training.schedule import learning_rate
from boiler.training.stopping import StopSignals
from boiler.training.tensorboard import RunningMeans, TensorBoardWriter
from boiler.training.videos import VideoDataset, prepare_videos

WEIGHT_DECAY = 1e-3
MAX_GRADIENT_NORM = 5.0
WARM_UP_STEPS = 50
HELD_SECONDS = 4
"""Of each held-out video, that are measured."""
TEMPERATURE = 0.1
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class L3TrainSettings:
    """The settings of a run; the flags of `python -m boiler.train_l3`."""

    video_dir: Path
    save_path: Path
    load_path: Path | None = None
    steps: int = 2_000
    max_minutes: float | None = None
    steps_per_checkpoint: int = 200
    batch_size: int = 32
    lr: float = 1e-3
    held_share: float = 0.15
    seed: int = 0
    workers: int = 2
    network: JointSettings = field(default_factory=JointSettings)

    def __post_init__(self) -> None:
        least = {"steps": 1, "steps_per_checkpoint": 1, "batch_size": 2, "workers": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SettingsError(f"--{name} must be at least {value}, not {getattr(self, name)}")
        if self.lr <= 0 or not 0 < self.held_share < 1 or (self.max_minutes is not None and self.max_minutes <= 0):
            raise SettingsError("--lr and --max_minutes must be above 0, --held_share between 0 and 1")
        _check_network(self.network)

    @property
    def resumes(self) -> bool:
        """Whether the run of `load_path` goes on, instead of a new one that starts from its weights."""
        return self.load_path is not None and self.load_path.parent.resolve() == self.save_path.resolve()

    def to_plain(self) -> dict[str, Any]:
        return {
            item.name: str(value) if isinstance(value := getattr(self, item.name), Path) else value
            for item in fields(self)
            if item.name != "network"
        }


@dataclass(frozen=True)
class L3TrainResult:
    """What `train` did. `path`: the last checkpoint. `best`: the one that tells apart most pairs of the videos held
    out; with few videos it comes before the last. `stopped_by`: the signal that ended the run early, if any."""

    path: Path
    best: Path
    step: int
    metrics: dict[str, float]
    stopped_by: int | None
    dataset: VideoDataset


def train(settings: L3TrainSettings, *, on_step: Callable[[int], None] = lambda step: None) -> L3TrainResult:
    """Train until `steps` or `max_minutes` is reached, or SIGINT or SIGTERM comes; then a checkpoint is saved.

    on_step: called after each step with the number of steps done.

    Raises: CorpusError, CheckpointError, SettingsError; StopRequested when a signal comes while videos are decoded.
    """
    start = _start(settings)
    resumed = start if settings.resumes else None
    budget = TimeBudget(settings.max_minutes, resumed.elapsed_s if resumed else 0.0)
    with StopSignals() as stop:
        torch.manual_seed(settings.seed)
        network = start.build() if start else JointNetwork(settings.network)
        settings = replace(settings, network=network.settings)
        with stop.interruptible():
            cache = settings.save_path / "cache"
            dataset = prepare_videos(settings.video_dir, cache, network.settings.image_shrink, settings.workers)
        trained, held = dataset.split(settings.held_share, settings.seed)
        optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=WEIGHT_DECAY)
        step = 0
        if resumed:
            optimizer.load_state_dict(resumed.optimizer)
            step = resumed.step
        writer = TensorBoardWriter(settings.save_path, step)
        means = RunningMeans()

        def save() -> tuple[Path, dict[str, float]]:
            metrics = evaluate(network, dataset, held)
            writer.scalars("train", means.pop(), step)
            writer.scalars("held out", metrics, step)
            path = settings.save_path / f"l3_{math.ceil(step / settings.steps_per_checkpoint):03d}.pt"
            kept = l3_joint.checkpoint_of(
                network,
                optimizer=optimizer.state_dict(),
                settings=settings.to_plain(),
                step=step,
                elapsed_s=budget.elapsed_s(),
                metrics=metrics,
            )
            l3_joint.save(kept, path)
            return path, metrics

        budget.begin_loop()
        share = max(step / settings.steps, budget.loop_share())
        saved_step, path, metrics = -1, Path(), dict[str, float]()
        with meter("training", 1.0) as progress:
            while share < 1 and not stop.requested:
                rng = np.random.default_rng([settings.seed, step])
                lr = learning_rate(settings.lr, step, share, WARM_UP_STEPS)
                for group in optimizer.param_groups:
                    group["lr"] = lr

                network.train()
                numbers, begins = dataset.draw(trained, min(settings.batch_size, len(trained)), rng)
                audio = network.of_audio(dataset.sounds(numbers, begins))
                image = network.of_shrunk_image(dataset.pictures(numbers, begins, rng))
                losses = correspondence_losses(network, audio, image)
                optimizer.zero_grad(set_to_none=True)
                torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
                optimizer.step()
                means.add(losses)
                step += 1
                on_step(step)

                share = max(step / settings.steps, budget.loop_share())
                if step % settings.steps_per_checkpoint == 0 and share < 1 and not stop.requested:
                    path, metrics = save()
                    saved_step = step
                left_s = budget.left_s() if budget.is_bounded else None
                progress.reach(min(share, 1.0), f"step {step}", left_s=left_s)
        if saved_step != step:
            path, metrics = save()
        writer.close()
    return L3TrainResult(path, _best(settings.save_path), step, metrics, stop.number, dataset)


def correspondence_losses(network: JointNetwork, audio: Tensor, image: Tensor) -> dict[str, Tensor]:
    """Both losses of a batch in which row i of each belongs together. Shape: unit rows [N, d] and [N, d], N above 1."""
    n = len(audio)
    same = torch.eye(n, dtype=torch.bool)
    cosines = audio @ image.T / TEMPERATURE
    right = torch.arange(n)
    contrast = (functional.cross_entropy(cosines, right) + functional.cross_entropy(cosines.T, right)) / 2
    logits = network.logits(audio, image)
    belongs = (functional.softplus(-logits[same]).mean() + functional.softplus(logits[~same]).mean()) / 2
    return {"contrast": contrast, "correspondence": belongs}


@torch.inference_mode()
def evaluate(network: JointNetwork, dataset: VideoDataset, numbers: list[int]) -> dict[str, float]:
    """How well the networks know seconds of videos that they were not trained on.

    `correspondence_accuracy`: of pairs, half of them true and half with the picture of another video. `retrieval_p1`:
    how often, for a sound, its own picture is the first of the pictures of all these videos, one of each; `chance_p1`
    is that of a guess. Leaves the network in eval mode.
    """
    network.eval()
    chosen, begins = dataset.evenly(numbers, HELD_SECONDS)
    audio, image = embed(network, dataset, chosen, begins)
    logits = network.logits(audio, image)
    other = torch.tensor(chosen)
    of_others = other[:, None] != other[None]
    true = (logits.diagonal() > 0).float().mean()
    # For each sound the mean over the pictures of all other videos: the same as drawing one, without the noise.
    false = ((logits <= 0) & of_others).sum() / of_others.sum()
    one, first_begins = dataset.evenly(numbers, 1)
    audio, image = embed(network, dataset, one, first_begins)
    first = (audio @ image.T).argmax(dim=1) == torch.arange(len(one))
    return {
        "correspondence_accuracy": float((true + false) / 2),
        "retrieval_p1": float(first.float().mean()),
        "chance_p1": 1 / len(one),
    }


def embed(network: JointNetwork, dataset: VideoDataset, numbers: list[int], begins: list[int]) -> tuple[Tensor, Tensor]:
    """The vectors of seconds and of their pictures in the common space. Shape: two [N, d]."""
    audio, image = [], []
    for at in range(0, len(numbers), EVALUATION_BATCH):
        some = slice(at, at + EVALUATION_BATCH)
        audio.append(network.of_audio(dataset.sounds(numbers[some], begins[some])))
        image.append(network.of_shrunk_image(dataset.pictures(numbers[some], begins[some])))
    return torch.cat(audio), torch.cat(image)


def settings_of(checkpoint: L3Checkpoint) -> dict[str, Any]:
    """The arguments of `L3TrainSettings` that a run was started with."""
    paths = {"video_dir", "save_path", "load_path"}
    plain = {name: Path(value) if name in paths and value else value for name, value in checkpoint.settings.items()}
    network = {**checkpoint.network, "channels": tuple(checkpoint.network["channels"])}
    return {**plain, "network": JointSettings(**network)}


def _best(save_path: Path) -> Path:
    """The checkpoint of a run that did best on the videos held out; the earlier one of equals."""
    accuracy = {path: l3_joint.load(path).metrics["correspondence_accuracy"] for path in _checkpoints(save_path)}
    return max(accuracy, key=lambda path: accuracy[path])


def _checkpoints(save_path: Path) -> list[Path]:
    return sorted(path for path in save_path.glob("l3_*.pt") if re.fullmatch(r"l3_\d+\.pt", path.name))


def _start(settings: L3TrainSettings) -> L3Checkpoint | None:
    if settings.load_path is not None:
        return l3_joint.load(settings.load_path)
    existing = _checkpoints(settings.save_path)
    if existing:
        raise CheckpointError(
            f"{settings.save_path} holds a run already: resume it with --load_path {existing[-1]}, or give another "
            "--save_path"
        )
    return None


def _check_network(network: JointSettings) -> None:
    if network.input_repr not in l3.INPUT_REPRESENTATIONS:
        known = ", ".join(l3.INPUT_REPRESENTATIONS)
        raise SettingsError(f"--input_repr is one of {known}, not {network.input_repr!r}")
    if len(network.channels) != len(l3.CHANNELS) or min(network.channels) < 1:
        raise SettingsError(f"--channels are four numbers, of the four blocks, not {network.channels}")
    shrinks = {"--audio_shrink": network.audio_shrink, "--image_shrink": network.image_shrink}
    for flag, value in shrinks.items():
        if value not in (1, 2, 4):
            raise SettingsError(f"{flag} is 1, 2 or 4, not {value}")

"""Learns a space that sounds share with words or pictures (`boiler.crossmodal.common_space`), from sounds that have
labels or pictures.

A siamese network with one linear projection on either side: of the vector of a sound, made by a frozen encoder, and of
a query, the word vector of a label or the features of a picture. In place of the encoder and its projection, a
convolutional network over log-mel spectrograms can be trained. Two losses:

* `contrast`: each sound chooses its query among those of the batch, and each query its sound (InfoNCE). All others are
  negatives, except those that belong together; the softmax weighs the hard ones most.
* `triplet`, the baseline: a sound must be nearer to one of its queries than to one that it does not have, by a margin.

Everything random in a step derives from the seed and its number, so that a stopped run resumes as if it had not been
stopped.

Sources: Schroff et al., "FaceNet", 2015 (triplets); van den Oord et al., "Contrastive Predictive Coding", 2018.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler import files
from boiler.arrays import BoolArray, Int64Array
from boiler.crossmodal.common_space import DIM
from boiler.crossmodal.training_pairs import Space, TrainingPairs
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint
from boiler.model.mel_cnn import MelCNN
from boiler.progress import meter
from boiler.training.budget import TimeBudget
from boiler.training.schedule import learning_rate
from boiler.training.stopping import StopSignals
from boiler.training.tensorboard import RunningMeans, TensorBoardWriter

FORMAT = "boiler common space checkpoint"
FORMAT_VERSION = 1
LOSSES = ("contrast", "triplet")
TEMPERATURE = 0.1
WEIGHT_DECAY = 0.01
WARM_UP_STEPS = 20
BATCH = 256
"""Sounds that are measured at once."""


@dataclass(frozen=True)
class SpaceTrainSettings:
    """The settings of a run; flags of `boiler.train_words` and `boiler.train_pictures`.

    Raises: SettingsError: a value out of range.
    """

    save_path: Path
    load_path: Path | None = None
    loss: str = "contrast"
    margin: float = 0.2
    steps: int = 1_000
    max_minutes: float | None = None
    steps_per_checkpoint: int = 250
    batch_size: int = 64
    lr: float = 1e-3
    held_share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise SettingsError(f"--loss is one of {', '.join(LOSSES)}, not {self.loss!r}")
        for name, least in {"steps": 1, "steps_per_checkpoint": 1, "batch_size": 2}.items():
            if getattr(self, name) < least:
                raise SettingsError(f"--{name} must be at least {least}, not {getattr(self, name)}")
        if not (self.lr > 0 and 0 < self.margin < 2 and (self.max_minutes is None or self.max_minutes > 0)):
            raise SettingsError("--lr and --max_minutes must be above 0, --margin between 0 and 2")
        if not 0 <= self.held_share < 1:
            raise SettingsError(f"--held_share must be from 0 to less than 1, not {self.held_share}")

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint stores: all but the paths."""
        return {item.name: getattr(self, item.name) for item in fields(self) if not item.name.endswith("_path")}


class VectorTower(nn.Module):
    """A linear projection of vectors of sounds. Shape: [N, D] to [N, DIM]; mean, scale: of their numbers, [D]"""

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.mean = nn.Buffer(mean)
        self.scale = nn.Buffer(scale)
        self.linear = nn.Linear(len(mean), DIM)

    def forward(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.linear((vectors - self.mean) / self.scale)
        return projected


class SpectrogramTower(nn.Module):
    """A network over log-mel spectrograms, which is trained, too. Shape: [N, M, F] to [N, DIM]"""

    def __init__(self) -> None:
        super().__init__()
        self.network = MelCNN()

    def forward(self, mels: Tensor) -> Tensor:
        return self.network.of_mel(mels)


class SpaceNetwork(nn.Module):
    """Two sides of one space. Shape: sounds as the tower takes them, queries [M, E], to unit rows of `DIM`

    query_mean [E], query_scale: of the vectors of queries
    """

    def __init__(self, tower: VectorTower | SpectrogramTower, query_mean: Tensor, query_scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.query_mean = nn.Buffer(query_mean)
        self.query_scale = nn.Buffer(torch.tensor(query_scale))
        self.query = nn.Linear(len(query_mean), DIM)

    def of_sounds(self, sounds: Tensor) -> Tensor:
        return functional.normalize(self.tower(sounds), dim=1)

    def of_queries(self, vectors: Tensor) -> Tensor:
        return functional.normalize(self.query((vectors - self.query_mean) / self.query_scale), dim=1)

    @torch.no_grad()
    def exported(self, pairs: TrainingPairs[Space], encoder_sha256: str) -> Space:
        """The same for search, without torch. The vectors of a network over spectrograms are in the space already."""
        query_weight = self.query.weight.T / self.query_scale
        weights = {
            "mean": torch.zeros(DIM),
            "scale": torch.ones(DIM),
            "sound_weight": torch.eye(DIM),
            "sound_bias": torch.zeros(DIM),
            "query_weight": query_weight,
            "query_bias": self.query.bias - self.query_mean @ query_weight,
        }
        if isinstance(tower := self.tower, VectorTower):
            weights |= {"mean": tower.mean, "scale": tower.scale}
            weights |= {"sound_weight": tower.linear.weight.T, "sound_bias": tower.linear.bias}
        return pairs.space({name: value.numpy().copy() for name, value in weights.items()}, encoder_sha256)


@dataclass(frozen=True)
class SpaceTrainResult(Generic[Space]):
    """What `train` did. `path`: the last checkpoint; `stopped_by`: the signal that ended the run early, if any."""

    path: Path
    network: SpaceNetwork
    space: Space
    step: int
    metrics: dict[str, float]
    stopped_by: int | None


def train(
    pairs: TrainingPairs[Space],
    encoder_sha256: str | None,
    settings: SpaceTrainSettings,
    *,
    budget: TimeBudget | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> SpaceTrainResult[Space]:
    """Train until `steps` or `max_minutes` is reached, or SIGINT or SIGTERM comes. With every checkpoint,
    `words_NNN.pt` or `pictures_NNN.pt`, the model for search is written, `words.safetensors` or `pictures.safetensors`.

    Arguments:
        encoder_sha256: of the encoder that made the vectors. None: there are spectrograms instead of vectors, and a
            network over them is trained; the model is then not written, as it is for vectors of that network.
        budget: of the whole command; by default it starts now.
        on_step: called after each step with the number of steps done.

    Raises: CheckpointError: `load_path` is no checkpoint, or of other sounds; or without one, `save_path` holds a run.
    """
    start = _start(settings, pairs)
    data_sha256 = hashlib.sha256(f"{encoder_sha256} {pairs.sha256()}".encode()).hexdigest()
    if start is not None and start["data_sha256"] != data_sha256:
        raise CheckpointError(
            f"{settings.load_path} was trained with other sounds or {pairs.SPACE.NAME}: start another run"
        )
    budget = budget or TimeBudget(settings.max_minutes, start["elapsed_s"] if start else 0.0)
    trained, held = pairs.split(settings.held_share, settings.seed)
    is_trained = np.asarray(pairs.has[trained].sum(axis=0)).ravel() > 0
    torch.manual_seed(settings.seed)
    queries = torch.from_numpy(pairs.queries)
    if encoder_sha256 is None:
        tower: VectorTower | SpectrogramTower = SpectrogramTower()
    else:
        vectors = torch.from_numpy(pairs.vectors[trained])
        tower = VectorTower(vectors.mean(dim=0), vectors.std(dim=0).clamp(min=1e-4))
    query_mean, query_scale = pairs.scaling(trained)
    network = SpaceNetwork(tower, torch.from_numpy(query_mean), query_scale)
    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=WEIGHT_DECAY)
    step = 0
    if start is not None:
        network.load_state_dict(start["weights"])
        optimizer.load_state_dict(start["optimizer"])
        step = start["step"]
    settings.save_path.mkdir(parents=True, exist_ok=True)
    writer, means = TensorBoardWriter(settings.save_path, step), RunningMeans()

    def save() -> tuple[Path, dict[str, float]]:
        metrics = evaluate(network, pairs, held)
        writer.scalars("train", means.pop(), step)
        writer.scalars("held out", metrics, step)
        path = settings.save_path / f"{pairs.SPACE.NAME}_{math.ceil(step / settings.steps_per_checkpoint):03d}.pt"
        contents = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": settings.to_plain(),
            "data_sha256": data_sha256,
            "weights": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "elapsed_s": budget.elapsed_s(),
            "metrics": metrics,
        }
        with files.replacing(path) as aside:
            torch.save(contents, aside)
        if encoder_sha256 is not None:
            space = network.exported(pairs, encoder_sha256)
            space.save(settings.save_path / space.FILE)
        return path, metrics

    budget.begin_loop()
    share = max(step / settings.steps, budget.loop_share())
    saved_step, path, metrics = -1, Path(), dict[str, float]()
    with StopSignals() as stop, meter("training", 1.0) as progress:
        while share < 1 and not stop.requested:
            lr = learning_rate(settings.lr, step, share, WARM_UP_STEPS)
            for group in optimizer.param_groups:
                group["lr"] = lr
            rng = np.random.default_rng([settings.seed, step])
            chosen = rng.choice(trained, min(settings.batch_size, len(trained)), replace=False)
            has = pairs.of(chosen)
            own = _drawn(has, rng)
            of_sounds = network.of_sounds(torch.from_numpy(pairs.vectors[chosen]))
            of_own = network.of_queries(queries[own])
            if settings.loss == "triplet":
                unrelated = ~has & is_trained
                unrelated |= ~has & ~unrelated.any(axis=1, keepdims=True)
                of_others = network.of_queries(queries[_drawn(unrelated, rng)])
                loss = triplet_loss(of_sounds, of_own, of_others, settings.margin)
            else:
                loss = contrast_loss(of_sounds, of_own, torch.from_numpy(has[:, own]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            means.add({settings.loss: loss})
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
    space = network.exported(pairs, encoder_sha256 or "")
    return SpaceTrainResult(path, network.eval(), space, step, metrics, stop.number)


def contrast_loss(sounds: Tensor, queries: Tensor, related: Tensor) -> Tensor:
    """Cross-entropy of choosing the query of each sound, and the sound of each query, among unrelated ones.

    Shape: unit rows [N, d] and [N, d], of which row i belongs to row i; related: bool [N, N], sound i has query j
    """
    same = torch.eye(len(sounds), dtype=torch.bool)
    logits = (sounds @ queries.T / TEMPERATURE).masked_fill(related & ~same, -math.inf)
    right = torch.arange(len(sounds))
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def triplet_loss(sounds: Tensor, queries: Tensor, others: Tensor, margin: float) -> Tensor:
    """By how much the cosine to the query does not exceed that to an unrelated one by the margin. Shape: unit rows
    [N, d], three times"""
    return functional.relu(margin - (sounds * queries).sum(dim=1) + (sounds * others).sum(dim=1)).mean()


@torch.no_grad()
def evaluate(network: SpaceNetwork, pairs: TrainingPairs[Space], held: Int64Array) -> dict[str, float]:
    """`TrainingPairs.metrics` of these sounds. Empty without sounds."""
    if not len(held):
        return {}
    network.eval()
    batches = [held[begin : begin + BATCH] for begin in range(0, len(held), BATCH)]
    sounds = np.concatenate([network.of_sounds(torch.from_numpy(pairs.vectors[batch])).numpy() for batch in batches])
    found = pairs.metrics(sounds, network.of_queries(torch.from_numpy(pairs.queries)).numpy(), held)
    network.train()
    return found


def load_checkpoint(path: Path, kind: type[TrainingPairs[Any]]) -> dict[str, Any]:
    """The contents of a checkpoint; no code in it is run.

    Raises: CheckpointError: missing, damaged or something else.
    """
    return checkpoint.load_run(
        path, FORMAT, FORMAT_VERSION, command=kind.SPACE.COMMAND, files_named=f"{kind.SPACE.NAME}_NNN.pt"
    )


def _start(settings: SpaceTrainSettings, pairs: TrainingPairs[Space]) -> dict[str, Any] | None:
    if settings.load_path is not None:
        return load_checkpoint(settings.load_path, type(pairs))
    name = re.compile(rf"{pairs.SPACE.NAME}_\d+")
    existing = sorted(path for path in settings.save_path.glob("*.pt") if name.fullmatch(path.stem))
    if existing:
        raise CheckpointError(
            f"{settings.save_path} holds a run already: resume it with --load_path {existing[-1]}, or give another "
            "--save_path"
        )
    return None


def _drawn(allowed: BoolArray, rng: np.random.Generator) -> Int64Array:
    """For each row a random one of its True columns. Shape: [N, L] to [N]"""
    return np.asarray(np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1), np.int64)

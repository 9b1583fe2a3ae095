"""Trains a tag model from labelled examples that are streamed; `fit` is the loop.

An epoch is a pass over the training examples. The learning rate falls to 0 along a cosine over all epochs; training
ends earlier after `patience` epochs in which the loss of the `tune` examples did not improve. The best weights are
kept. The same examples then choose the calibration and the thresholds; the measures of the report are those of other
examples, `test`.

Everything random in an epoch follows from the seed and its number, so a run that was stopped, even within an epoch,
continues bit for bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boiler import files
from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.errors import CheckpointError, CorpusError
from boiler.model import checkpoint
from boiler.progress import meter
from boiler.tagging.calibration import Reliability, fit_platt
from boiler.tagging.examples import ExampleBatch, ExampleSource, read_ahead, read_batches
from boiler.tagging.losses import TAG_LOSSES, class_weights, cross_entropy
from boiler.tagging.metrics import LogitHistogram, TagMetrics, best_thresholds
from boiler.tagging.model import TagModel, sigmoid
from boiler.tagging.network import TAG_NETWORKS, Linear, TagNetwork
from boiler.tagging.settings import TagSettings

FORMAT = "boiler tag checkpoint"
FORMAT_VERSION = 1
LR_PER_FEATURE = 0.5
"""The peak learning rate is this by the number of features unless it is given: Adam moves each weight by the learning
rate, and so the log-odds of an example by up to that times the sum of its standardised features."""
MIN_IMPROVEMENT = 1e-4
"""Of the loss, as a share of it: less is no improvement."""


@dataclass(frozen=True)
class TagData:
    """Disjoint sets of examples: to learn from, to choose thresholds, calibration and the end of training with, and to
    measure the result with. The last two may be empty (None)."""

    train: ExampleSource
    tune: ExampleSource | None
    test: ExampleSource | None


class Statistics(NamedTuple):
    """Of the training examples: their number, mean and standard deviation [D], and the number with each tag [C]."""

    n: int
    mean: Float32Array
    std: Float32Array
    counts: Int64Array


@dataclass
class TagTrainState:
    """Everything that changes during a run."""

    network: TagNetwork
    optimizer: torch.optim.Optimizer
    statistics: Statistics
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    loss_sum: float = 0.0
    """Of these batches."""
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    n_stale: int = 0
    """Epochs since the best one."""
    history: list[dict[str, float]] = field(default_factory=list)
    examples_per_s: float = float("nan")
    """Of the training epochs of this sitting, reading included."""

    def is_finished(self, settings: TagSettings) -> bool:
        """Whether training has ended by itself."""
        return self.epoch >= settings.epoch or self.n_stale >= settings.patience


@dataclass(frozen=True)
class TagFit:
    """The result. `report`: the measures on the test examples, None without any; `curves`: their reliability."""

    model: TagModel
    report: dict[str, float] | None
    curves: dict[str, Reliability]


def fit(data: TagData, tags: tuple[str, ...], settings: TagSettings) -> TagFit:
    """`train`, then `finish`."""
    return finish(train(data, settings, show_progress=False), data, tags, settings)


def train(
    data: TagData,
    settings: TagSettings,
    *,
    resume: dict[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[TagTrainState], None] = lambda state: None,
    show_progress: bool = True,
) -> TagTrainState:
    """Train until the loss stops improving, `settings.epoch` is reached, or `stop()`, which is called after each step.

    resume: the contents of a checkpoint, see `load_checkpoint`
    on_epoch: called after each epoch

    Raises: CorpusError: no examples, or none with a label.
    """
    torch.manual_seed(settings.seed)
    statistics = measure_statistics(data.train, settings.batch_size)
    network = TAG_NETWORKS[settings.network](data.train.dim, data.train.n_classes)
    network.standardize(statistics.mean, statistics.std)
    network.set_priors(_log_odds(statistics, settings))
    learned = [one for one in network.parameters() if one.requires_grad]
    # Biases are not drawn to 0: they are the frequencies of tags.
    groups = [
        {"params": [one for one in learned if one.ndim > 1], "weight_decay": settings.l2},
        {"params": [one for one in learned if one.ndim == 1], "weight_decay": 0.0},
    ]
    peak_lr = settings.lr or LR_PER_FEATURE / data.train.dim
    optimizer = torch.optim.Adam(groups, lr=peak_lr, fused=True)
    state = TagTrainState(network, optimizer, statistics)
    if resume is not None:
        _restore(state, resume)
    step = _Step(state, settings)
    n_batches = -(-statistics.n // settings.batch_size)
    n_seen, train_s = 0, 0.0

    with meter("training tags", settings.epoch * n_batches) if show_progress else nullcontext() as shown:
        while not state.is_finished(settings) and not stop():
            network.train()
            began = time.monotonic()
            batches = read_batches(data.train, settings.batch_size, seed=settings.seed, epoch=state.epoch)
            with closing(read_ahead(batches)) as ahead:
                for number, batch in enumerate(ahead):
                    if number < state.batch:  # done before this run was stopped
                        continue
                    set_learning_rate(optimizer, peak_lr, (state.epoch + number / n_batches) / settings.epoch)
                    step(batch, number)
                    n_seen += len(batch.ids)
                    if shown is not None:
                        shown.reach(state.epoch * n_batches + number + 1, f"epoch {state.epoch + 1}")
                    if stop():
                        break
            train_s += time.monotonic() - began
            state.examples_per_s = n_seen / train_s
            if state.batch < n_batches:
                break
            _after_epoch(state, data, settings)
            on_epoch(state)
    return state


def finish(state: TagTrainState, data: TagData, tags: tuple[str, ...], settings: TagSettings) -> TagFit:
    """The model of the best epoch, calibrated, with thresholds and measures."""
    best = copy.deepcopy(state.network)
    best.load_state_dict(state.best_weights or best.state_dict())
    model = _calibrated(best, data, tags, settings, state.statistics)
    report, curves = (None, {}) if data.test is None else evaluate(model, data.test, settings.batch_size)
    return TagFit(model, report, curves)


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, share: float) -> None:
    """Half a cosine from `peak` to 0. `share`: the part of the steps that is done, 0 to 1."""
    for group in optimizer.param_groups:
        group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * share))


class _Step:
    """One step of the optimizer."""

    def __init__(self, state: TagTrainState, settings: TagSettings) -> None:
        self._state, self._settings = state, settings
        self._loss = TAG_LOSSES[settings.loss]
        statistics = state.statistics
        weights = class_weights(statistics.counts, statistics.n, settings.class_weight_power)
        self._weights = torch.from_numpy(weights) if settings.class_weight_power else None

    def __call__(self, batch: ExampleBatch, number: int) -> None:
        state, network = self._state, self._state.network
        vectors, rows = torch.from_numpy(batch.features), torch.from_numpy(batch.rows)
        classes = torch.from_numpy(batch.classes)
        label_weights = None if self._weights is None else self._weights[classes]
        torch.manual_seed(hash((self._settings.seed, state.epoch, number)))  # of dropout and of the sampled classes
        if isinstance(network, Linear) and self._settings.loss == "cross_entropy":
            n_sampled = self._settings.classes_per_step
            chosen = tag_weights = None
            if n_sampled is not None and n_sampled < network.n_classes:
                chosen, tag_weights = sample_classes(classes, n_sampled, network.n_classes)
                classes = torch.searchsorted(chosen, classes)
            loss = linear_cross_entropy(network, vectors, rows, classes, label_weights, chosen, tag_weights)
        else:
            total = self._loss(network(vectors), rows, classes, label_weights, None)
            state.optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            loss = float(total.detach())
        state.optimizer.step()
        state.loss_sum += loss
        state.batch = number + 1


@torch.no_grad()
def linear_cross_entropy(
    network: Linear,
    vectors: Tensor,
    rows: Tensor,
    classes: Tensor,
    label_weights: Tensor | None = None,
    chosen: Tensor | None = None,
    tag_weights: Tensor | None = None,
) -> float:
    """The loss `cross_entropy`, and its gradients in the parameters of the network: two matrix products, and one pass
    over the log-odds in place, where autograd keeps several copies of them.

    Arguments:
        chosen: compute these classes alone, ascending; `classes` are positions in it. Shape: [S]
        tag_weights: as of `cross_entropy`. Shape: [S]
    """
    scaled = (vectors - network.mean) / network.std
    weight: Tensor = network.weight
    bias: Tensor = network.bias
    if chosen is not None:
        weight, bias = weight[chosen], bias[chosen]
    logits = torch.addmm(bias, scaled, weight.T)
    of_labels = logits[rows, classes]
    loss = cross_entropy(logits, rows, classes, label_weights, tag_weights)
    # The derivative of softplus(z) is sigmoid(z), that of softplus(-z) is sigmoid(z) - 1.
    slopes = logits.sigmoid_()
    if tag_weights is not None:
        slopes *= tag_weights
    of_labels = of_labels.sigmoid_().sub_(1)
    slopes[rows, classes] = of_labels if label_weights is None else of_labels * label_weights
    slopes /= len(vectors)
    of_weight, of_bias = slopes.T @ scaled, slopes.sum(dim=0)
    if chosen is None:
        network.weight.grad, network.bias.grad = of_weight, of_bias
    else:
        network.weight.grad = torch.zeros_like(network.weight).index_copy_(0, chosen, of_weight)
        network.bias.grad = torch.zeros_like(network.bias).index_copy_(0, chosen, of_bias)
    return float(loss)


def sample_classes(labels: Tensor, n_sampled: int, n_classes: int) -> tuple[Tensor, Tensor]:
    """The classes that a step computes: all labels of the batch and random others, `n_sampled` or more in all.

    A class that is there by chance counts for those that are not, so the expected loss is that of all classes. Shape:
    [P] -> ascending [S], weights [S]
    """
    present = torch.zeros(n_classes, dtype=torch.bool)
    present[labels] = True
    others = (~present).nonzero()[:, 0]
    n_others = min(max(n_sampled - (n_classes - len(others)), 1), len(others))
    weights = torch.ones(n_classes)
    if len(others):
        drawn = others[torch.randperm(len(others))[:n_others]]
        weights[drawn] = len(others) / n_others
        present[drawn] = True
    chosen = present.nonzero()[:, 0]
    return chosen, weights[chosen]


def measure_statistics(source: ExampleSource, batch_size: int) -> Statistics:
    """One pass over the examples, in double precision.

    Raises: CorpusError: no examples, or none with a label.
    """
    n = 0
    total: Float64Array = np.zeros(source.dim)
    squares: Float64Array = np.zeros(source.dim)
    origin: Float64Array | None = None
    counts: Int64Array = np.zeros(source.n_classes, np.int64)
    for batch in _read(source, batch_size):
        features = batch.features.astype(np.float64)
        if origin is None:
            origin = features[0].copy()  # differences from any example keep the precision of the variance
        features -= origin
        n += len(features)
        total += features.sum(axis=0)
        squares += (features**2).sum(axis=0)
        counts += np.bincount(batch.classes, minlength=source.n_classes)
    if origin is None:
        raise CorpusError("there are no examples to train on")
    if not counts.any():
        raise CorpusError("none of the examples has a label")
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    # A feature that hardly varies carries nothing, and would be blown up.
    std = np.where(std > 1e-6 * max(float(std.max()), 1e-12), std, 1.0)
    return Statistics(n, (origin + mean).astype(np.float32), std.astype(np.float32), counts)


def _read(source: ExampleSource, batch_size: int) -> Iterator[ExampleBatch]:
    return (batch for batch in read_ahead(read_batches(source, batch_size)) if batch.ids)


def _log_odds(statistics: Statistics, settings: TagSettings) -> Float32Array:
    """Of having each tag, as the loss with its weights sees it; a tag nobody has counts as half an example."""
    share = np.clip(np.maximum(statistics.counts, 0.5) / statistics.n, 1e-9, 0.99)
    odds = share / (1 - share) * class_weights(statistics.counts, statistics.n, settings.class_weight_power)
    return np.log(odds).astype(np.float32)


@torch.no_grad()
def _tune_loss(state: TagTrainState, source: ExampleSource, settings: TagSettings) -> float:
    """The mean loss, not weighted by tags, because it decides about probabilities; NaN without examples."""
    total, n = 0.0, 0
    for batch in _read(source, settings.batch_size):
        logits = state.network(torch.from_numpy(batch.features))
        loss = TAG_LOSSES[settings.loss](
            logits, torch.from_numpy(batch.rows), torch.from_numpy(batch.classes), None, None
        )
        total += float(loss) * len(batch.ids)
        n += len(batch.ids)
    return total / n if n else float("nan")


def _after_epoch(state: TagTrainState, data: TagData, settings: TagSettings) -> None:
    """Keep the best weights, and count the epochs without improvement."""
    train_loss = state.loss_sum / state.batch
    state.epoch, state.batch, state.loss_sum = state.epoch + 1, 0, 0.0
    state.network.eval()
    tune_loss = _tune_loss(state, data.tune, settings) if data.tune is not None else float("nan")
    judged = train_loss if np.isnan(tune_loss) else tune_loss
    lr = state.optimizer.param_groups[0]["lr"]
    state.history.append({"train_loss": train_loss, "tune_loss": tune_loss, "lr": lr})
    is_better = not judged >= state.best_loss - MIN_IMPROVEMENT * abs(state.best_loss)
    if judged < state.best_loss:
        state.best_loss = judged
        state.best_weights = {name: value.clone() for name, value in state.network.state_dict().items()}
    state.n_stale = 0 if is_better else state.n_stale + 1


def _calibrated(
    network: TagNetwork, data: TagData, tags: tuple[str, ...], settings: TagSettings, statistics: Statistics
) -> TagModel:
    """The model, with calibration and thresholds from the tune examples."""
    weights = class_weights(statistics.counts, statistics.n, settings.class_weight_power)
    model = TagModel(
        network=settings.network,
        tags=tags,
        weights=network.folded(),
        # A weighted loss raises the odds of a tag by its weight.
        offsets=-np.log(weights),
        thresholds=np.full(len(tags), 0.5, np.float32),
        settings=settings.to_plain(),
    )
    if data.tune is not None:
        histogram = _histogram(model, data.tune, settings)
        model = replace(model, calibration=fit_platt(histogram))
        if settings.thresholds == "best_f1" and histogram.positive.sum():
            model = replace(model, thresholds=best_thresholds(_histogram(model, data.tune, settings)))
    if settings.thresholds == "even_odds":
        even = model.calibrated(np.zeros((1, len(tags)), np.float32))[0]
        model = replace(model, thresholds=sigmoid(even))
    return model


def _histogram(model: TagModel, source: ExampleSource, settings: TagSettings) -> LogitHistogram:
    histogram = LogitHistogram(len(model.tags))
    for batch in _read(source, settings.batch_size):
        histogram.add(model.logits(batch.features), batch.rows, batch.classes)
    return histogram


def evaluate(
    model: TagModel, source: ExampleSource, batch_size: int = 1_024
) -> tuple[dict[str, float] | None, dict[str, Reliability]]:
    """The measures of `TagMetrics`, the expected calibration errors, and the curves these come from: of the probability
    of every tag, and of that of the most probable tag of each example. None and nothing without examples."""
    metrics = TagMetrics(model.thresholds)
    every, first = Reliability(), Reliability()
    for batch in _read(source, batch_size):
        logits = model.logits(batch.features)
        metrics.add(logits, batch.rows, batch.classes)
        is_label = np.zeros(logits.shape, np.int64)
        is_label[batch.rows, batch.classes] = 1
        probabilities = sigmoid(logits)
        every.add(probabilities, is_label)
        top = probabilities.argmax(axis=1)[:, None]
        first.add(np.take_along_axis(probabilities, top, axis=1), np.take_along_axis(is_label, top, axis=1))
    if not metrics.n_examples:
        return None, {}
    results = metrics.results() | {
        "calibration_error": every.expected_error(),
        "calibration_error_of_first": first.expected_error(),
        "recall_of_rarest_decile": metrics.recall_of_rarest(),
        "n_examples": float(metrics.n_examples),
    }
    return results, {"all tags": every, "most probable tag": first}


# --------------------------------------------------------------------------------------------------- checkpoints


def save_checkpoint(path: Path, state: TagTrainState, settings: TagSettings, tags: tuple[str, ...]) -> None:
    """Write everything that a run needs to continue, atomically."""
    contents = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": settings.to_plain(),
        "tags": list(tags),
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "best_weights": state.best_weights,
        **{name: getattr(state, name) for name in _PLAIN},
    }
    with files.replacing(path) as aside:
        torch.save(contents, aside)


_PLAIN = ("epoch", "batch", "loss_sum", "best_loss", "n_stale", "history")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint, read without running code.

    Raises: CheckpointError: missing, damaged, or not a checkpoint of `boiler.train_tags`.
    """
    return checkpoint.load_run(path, FORMAT, FORMAT_VERSION, command="train_tags", files_named="tags_NNN.pt")


def _restore(state: TagTrainState, contents: dict[str, Any]) -> None:
    try:
        state.network.load_state_dict(contents["network"])
    except RuntimeError as error:
        raise CheckpointError("the checkpoint was made with other examples: its shapes differ") from error
    state.optimizer.load_state_dict(contents["optimizer"])
    state.best_weights = contents["best_weights"]
    for name in _PLAIN:
        setattr(state, name, contents[name])

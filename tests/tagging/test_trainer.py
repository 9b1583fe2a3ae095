"""Training a tag model: it reaches scikit-learn's optimum, stops early, resumes bit for bit, and is calibrated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tags import skewed

from boiler.errors import CheckpointError, CorpusError
from boiler.tagging import trainer
from boiler.tagging.examples import ArrayExamples, read_batches
from boiler.tagging.losses import cross_entropy
from boiler.tagging.network import Linear
from boiler.tagging.settings import TagSettings
from boiler.tagging.trainer import (
    TagData,
    TagTrainState,
    fit,
    linear_cross_entropy,
    measure_statistics,
    sample_classes,
    train,
)

TAGS = tuple(f"tag {number}" for number in range(12))
FAST = TagSettings(batch_size=128, epoch=20)


@pytest.fixture(scope="module")
def data() -> TagData:
    return in_parts(skewed(2_000, 16, len(TAGS), seed=0))


def in_parts(every: ArrayExamples) -> TagData:
    parts = np.split(np.arange(2_000), [1_200, 1_600])
    return TagData(*(every.at(part) for part in parts))


def dense(source: ArrayExamples) -> np.ndarray:
    truth = np.zeros((len(source.ids), source.n_classes), bool)
    for row, labels in enumerate(source.labels):
        truth[row, labels] = True
    return truth


@pytest.mark.slow
def test_the_linear_model_is_as_good_as_scikit_learns(data: TagData) -> None:
    ours = fit(data, TAGS, replace(FAST, epoch=60, thresholds="even_odds")).report
    train_x, train_y = data.train.features, dense(data.train)
    weights = [LogisticRegression(C=100, max_iter=500).fit(train_x, train_y[:, tag]) for tag in range(len(TAGS))]
    logits = np.stack([one.decision_function(data.test.features) for one in weights], axis=1)
    metrics = trainer.TagMetrics(np.full(len(TAGS), 0.5, np.float32))
    metrics.add(logits.astype(np.float32), *np.nonzero(dense(data.test)))
    theirs = metrics.results()
    assert ours is not None
    for name in ("hit_at_1", "gap", "map", "perr"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.015), name


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_the_gradient_in_closed_form_is_that_of_autograd(data: TagData, weighted: bool, sampled: bool) -> None:
    torch.manual_seed(0)
    batch = next(read_batches(data.train, 200))
    network = Linear(data.train.dim, len(TAGS))
    network.standardize(batch.features.mean(axis=0) + 3, 2 * batch.features.std(axis=0))
    for parameter in (network.weight, network.bias):
        torch.nn.init.normal_(parameter)
    vectors, rows, classes = map(torch.from_numpy, (batch.features, batch.rows, batch.classes))
    keep = classes % 2 == 0  # so that there are classes to leave out
    rows, classes = rows[keep], classes[keep]
    label_weights = torch.rand(len(TAGS))[classes] if weighted else None
    chosen, tag_weights = sample_classes(classes, 8, len(TAGS)) if sampled else (None, None)
    positions = classes if chosen is None else torch.searchsorted(chosen, classes)

    logits = network(vectors) if chosen is None else network(vectors)[:, chosen]
    expected = cross_entropy(logits, rows, positions, label_weights, tag_weights)
    expected.backward()
    gradients = [parameter.grad for parameter in (network.weight, network.bias)]
    loss = linear_cross_entropy(network, vectors, rows, positions, label_weights, chosen, tag_weights)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for parameter, gradient in zip((network.weight, network.bias), gradients, strict=True):
        assert gradient is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["experts", "two_layer"])
def test_other_networks_learn_too(data: TagData, network: str) -> None:
    report = fit(data, TAGS, replace(FAST, network=network, epoch=8)).report
    chance = fit(data, TAGS, replace(FAST, lr=1e-9, epoch=1)).report
    assert report is not None
    assert chance is not None
    assert report["gap"] > chance["gap"] + 0.2


@pytest.mark.slow
def test_probabilities_are_calibrated(data: TagData) -> None:
    report = fit(data, TAGS, FAST).report
    assert report is not None
    assert report["calibration_error"] < 0.03


@pytest.mark.slow
def test_a_weighted_loss_finds_more_of_the_rare_tags_and_stays_calibrated() -> None:
    data = in_parts(skewed(2_000, 16, len(TAGS), seed=0, bias=-8.0))
    plain = fit(data, TAGS, replace(FAST, thresholds="even_odds")).report
    weighted = fit(data, TAGS, replace(FAST, thresholds="even_odds", class_weight_power=1.0)).report
    assert plain is not None
    assert weighted is not None
    assert weighted["recall_of_rarest_decile"] > plain["recall_of_rarest_decile"]
    assert weighted["calibration_error"] < 0.03


def test_hamming_loss_trains(data: TagData) -> None:
    report = fit(data, TAGS, replace(FAST, loss="hamming", epoch=10)).report
    assert report is not None
    assert report["precision"] > 0.5


@pytest.mark.slow
def test_training_ends_when_the_loss_stops_improving(data: TagData) -> None:
    state = train(data, replace(FAST, epoch=500, patience=1), show_progress=False)
    assert state.epoch < 200
    assert state.n_stale == 1
    assert state.best_loss == min(one["tune_loss"] for one in state.history)


def test_the_learning_rate_falls_to_nothing_over_all_epochs(data: TagData) -> None:
    state = train(data, replace(FAST, epoch=10, patience=99, lr=0.01), show_progress=False)
    rates = [one["lr"] for one in state.history]
    assert rates == sorted(rates, reverse=True)
    assert 0.0099 > rates[0] > 0.0095
    assert rates[-1] < 1e-5


def test_only_weights_decay_and_not_the_frequencies_of_tags(data: TagData) -> None:
    """As in scikit-learn: under a strong decay each tag keeps its share of the examples."""
    source = data.train
    made = fit(TagData(source, None, None), TAGS, replace(FAST, l2=1e3, epoch=40))
    shares = np.bincount(np.concatenate(source.labels), minlength=len(TAGS)) / len(source.ids)
    np.testing.assert_allclose(made.model.probabilities(source.features).mean(axis=0), shares, rtol=0.05)


def same(one: TagTrainState, other: TagTrainState) -> bool:
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours) and one.history == other.history


@pytest.mark.parametrize("stop_after", [1, 9, 10, 11, 25])
@pytest.mark.parametrize("network", ["linear", "two_layer"])
def test_a_stopped_run_continues_bit_for_bit(data: TagData, tmp_path: Path, stop_after: int, network: str) -> None:
    settings = replace(FAST, epoch=4, network=network, classes_per_step=6 if network == "linear" else None)
    whole = train(data, settings, show_progress=False)
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > stop_after

    stopped = train(data, settings, stop=stop, show_progress=False)
    assert not stopped.is_finished(settings)
    trainer.save_checkpoint(tmp_path / "tags_001.pt", stopped, settings, TAGS)
    resume = trainer.load_checkpoint(tmp_path / "tags_001.pt")
    assert TagSettings(**resume["settings"]) == settings
    assert same(train(data, settings, resume=resume, show_progress=False), whole)


def test_a_checkpoint_of_other_examples_is_refused(data: TagData, tmp_path: Path) -> None:
    state = train(data, replace(FAST, epoch=1), show_progress=False)
    trainer.save_checkpoint(tmp_path / "a.pt", state, FAST, TAGS)
    other = TagData(skewed(50, 4, 3, seed=1), None, None)
    with pytest.raises(CheckpointError, match="shapes"):
        train(other, FAST, resume=trainer.load_checkpoint(tmp_path / "a.pt"), show_progress=False)
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-100])
    torch.save({"format": "another"}, tmp_path / "c.pt")
    for name in ("b.pt", "c.pt", "none.pt"):
        with pytest.raises(CheckpointError, match=name):
            trainer.load_checkpoint(tmp_path / name)


def test_nothing_to_learn_from_is_an_error() -> None:
    empty = ArrayExamples([], np.zeros((0, 3), np.float32), [], 2)
    with pytest.raises(CorpusError, match="no examples"):
        fit(TagData(empty, None, None), ("a", "b"), FAST)
    unlabelled = ArrayExamples(["a"], np.ones((1, 3), np.float32), [np.zeros(0, np.int64)], 2)
    with pytest.raises(CorpusError, match="none of the examples"):
        fit(TagData(unlabelled, None, None), ("a", "b"), FAST)


def test_statistics_are_exact_for_values_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    features = (1_000 + rng.normal(0, 0.01, (500, 3))).astype(np.float32)
    features[:, 2] = 7
    source = ArrayExamples([str(at) for at in range(500)], features, [np.array([at % 2]) for at in range(500)], 2)
    found = measure_statistics(source, 64)
    assert found.n == 500
    assert found.counts.tolist() == [250, 250]
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.std[:2], features.astype(np.float64).std(axis=0)[:2], rtol=1e-3)
    assert found.std[2] == 1


def test_sampled_classes_hold_the_labels_and_count_for_all() -> None:
    labels = torch.tensor([3, 90, 3])
    totals = torch.zeros(100)
    for seed in range(400):
        torch.manual_seed(seed)
        chosen, weights = sample_classes(labels, 20, 100)
        assert len(chosen) == 20
        assert chosen.tolist() == sorted({*chosen.tolist()})
        assert {3, 90} <= {*chosen.tolist()}
        assert weights.sum() == pytest.approx(100)
        totals[chosen] += weights
    assert totals[[3, 90]].tolist() == [400, 400]
    assert totals.mean() == pytest.approx(400)
    assert (totals / 400 - 1).abs().max() < 0.5
    assert len(sample_classes(torch.arange(30), 20, 100)[0]) == 31
    assert sample_classes(torch.arange(5), 3, 5)[1].tolist() == [1] * 5


@pytest.mark.slow
def test_sampling_classes_finds_the_same_model(data: TagData) -> None:
    whole = fit(data, TAGS, replace(FAST, epoch=40)).report
    sampled = fit(data, TAGS, replace(FAST, epoch=40, classes_per_step=11)).report
    assert whole is not None
    assert sampled is not None
    assert sampled["gap"] == pytest.approx(whole["gap"], abs=0.03)


def test_without_held_out_examples_thresholds_stay_even(data: TagData) -> None:
    result = fit(TagData(data.train, None, None), TAGS, replace(FAST, epoch=2))
    assert result.report is None
    assert result.model.thresholds.tolist() == [0.5] * len(TAGS)

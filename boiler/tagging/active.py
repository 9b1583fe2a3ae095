"""Active learning: a model that is refitted after every answer, and the items that are worth asking about next.

`ActiveModel` is logistic regression, one for each tag, on the vectors of a collection. An answer says that an item has
a tag, or has not. `next_items` are those about which the model is least sure, spread over the collection: each is as
far as possible from those that were answered and from each other.

>>> vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
>>> model = ActiveModel(vectors, ["dog"])
>>> model.set_answers({0: {"dog": True}, 2: {"dog": False}})
>>> (model.probabilities()[:, 0] > 0.5).tolist()
[True, True, False, False]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize

from boiler import engine
from boiler.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from boiler.tagging.model import sigmoid

DECAY = 1e-2
_ITERATIONS = 100
_CANDIDATES = 2_000
"""The least sure items among which the spread ones are chosen: comparing all with all would take seconds."""


class ActiveModel:
    """One logistic regression for each tag. vectors: float32 [N, D], those of the items"""

    def __init__(self, vectors: Float32Array, tags: Sequence[str]) -> None:
        self.tags = list(tags)
        self._unit = engine.normalize(np.asarray(vectors, np.float32))
        centred = self._unit - self._unit.mean(axis=0)
        scale = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
        # One column more, of ones, for the bias.
        self._inputs = np.concatenate([centred / scale, np.ones((len(centred), 1), np.float32)], axis=1)
        self._weights: Float64Array = np.zeros((len(self.tags), self._inputs.shape[1]))
        self._answered: BoolArray = np.zeros(len(self._unit), bool)

    def set_answers(self, answers: Mapping[int, Mapping[str, bool]]) -> None:
        """Fit to these answers, by the position of an item and a tag: all that were given. Begins at the last weights,
        so that one more answer takes a few steps. New tags are added."""
        for tags in answers.values():
            for tag in tags:
                if tag not in self.tags:
                    self.tags.append(tag)
                    self._weights = np.concatenate([self._weights, np.zeros((1, self._weights.shape[1]))])
        self._answered[:] = False
        self._answered[list(answers)] = True
        for number, tag in enumerate(self.tags):
            said = [(at, tags[tag]) for at, tags in answers.items() if tag in tags]
            self._weights[number] = self._fit(self._weights[number], said)

    def _fit(self, weights: Float64Array, said: Sequence[tuple[int, bool]]) -> Float64Array:
        if not said:
            return np.zeros_like(weights)
        inputs = self._inputs[[at for at, _ in said]].astype(np.float64)
        signs = np.array([1.0 if has else -1.0 for _, has in said])

        def loss(at: Float64Array) -> tuple[float, Float64Array]:
            margins = signs * (inputs @ at)
            wrong = -signs / (1 + np.exp(np.clip(margins, -50, 50)))
            decay = DECAY * at
            decay[-1] *= 0.1  # the bias is nearly free
            return float(np.logaddexp(0, -margins).mean() + 0.5 * at @ decay), inputs.T @ wrong / len(said) + decay

        found = minimize(loss, weights, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
        fitted: Float64Array = found.x
        return fitted

    def probabilities(self) -> Float32Array:
        """Of every tag of every item. Shape: [N, C]"""
        return sigmoid(self._inputs @ self._weights.T.astype(np.float32))

    def next_items(self, k: int) -> Int64Array:
        """The positions of the k items to ask about next, the most useful first; fewer if fewer are without an answer.

        Without any answer they are spread only. Shape: [k]
        """
        open_items = np.flatnonzero(~self._answered)
        if not len(open_items):
            return open_items
        unsure: Float32Array = np.ones(len(open_items), np.float32)
        if self._answered.any():
            unsure = uncertainty(self.probabilities()[open_items])
        order = np.argsort(-unsure, kind="stable")[:_CANDIDATES]
        if not self._answered.any():  # equally unsure about all: every so many-th, not the first ones
            order = np.linspace(0, len(open_items) - 1, min(_CANDIDATES, len(open_items))).astype(np.int64)
        candidates, worth = open_items[order], unsure[order]
        return candidates[spread(self._unit[candidates], worth, self._unit[self._answered], k)]


def uncertainty(probabilities: Float32Array) -> Float32Array:
    """How unsure a model is about each item, 0 to 1: one minus the difference of its two most probable tags; of a
    single tag, how near its probability is to a half. Shape: [N, C] -> [N]"""
    if probabilities.shape[1] == 1:
        return 1 - np.abs(2 * probabilities[:, 0] - 1)
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (top[:, 1] - top[:, 0])


def spread(unit: Float32Array, worth: Float32Array, known: Float32Array, k: int) -> Int64Array:
    """Positions of k items, each with the largest product of its worth and its distance to the nearest one that is
    known or was chosen before. Shape: unit vectors [N, D], worth [N], known [M, D] -> [k]"""
    nearest = np.full(len(unit), 2.0, np.float32)
    if len(known):
        nearest = np.sqrt(np.maximum(2 - 2 * (unit @ known.T).max(axis=1), 0))
    left, chosen = np.ones(len(unit), bool), []
    for _ in range(min(k, len(unit))):
        best = int(np.argmax(np.where(left, worth * nearest, -1)))
        chosen.append(best)
        left[best] = False
        nearest = np.minimum(nearest, np.sqrt(np.maximum(2 - 2 * unit @ unit[best], 0)))
    return np.array(chosen, np.int64)

"""A trained tag model: vectors in, a probability for each tag out. It runs in numpy; torch is not needed.

The file is safetensors with a JSON header in its metadata. It holds no code, and states the hash of the encoder whose
vectors the model was trained on: other vectors are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from boiler import files
from boiler.arrays import Float32Array
from boiler.errors import CheckpointError, QueryError, WrongEncoderError, first_line
from boiler.tagging.calibration import NOT_CALIBRATED, Platt

FORMAT = "boiler tag model"
FORMAT_VERSION = 1
FILE = "tags.safetensors"
N_EXPERTS = 2
_BATCH = 1_024


class TagProbability(NamedTuple):
    """A tag, its probability, and whether that reaches the threshold of the tag."""

    tag: str
    probability: float
    predicted: bool


@dataclass(frozen=True)
class TagModel:
    """C tags of vectors of D numbers.

    network: `linear`, `experts` or `two_layer`, see `boiler.tagging.network`
    weights: its parameters, float32, by name
    thresholds: the probability of each tag from which on it is predicted. Shape: [C]
    calibration: the scaling of log-odds; `offsets` [C] are added to them before it
    encoder_sha256: of the encoder that made the vectors; empty for features of other origin, named by `features`
    """

    network: str
    tags: tuple[str, ...]
    weights: Mapping[str, Float32Array]
    offsets: Float32Array
    thresholds: Float32Array
    calibration: Platt = NOT_CALIBRATED
    encoder_sha256: str = ""
    features: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return int(self.weights[_FIRST[self.network]].shape[1])

    def raw_logits(self, vectors: Float32Array) -> Float32Array:
        """Log-odds before calibration. Shape: [N, D] -> [N, C]

        Raises: QueryError: vectors of another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise QueryError(f"this tag model takes vectors of {self.dim} numbers, not {list(vectors.shape)}")
        return _FORWARD[self.network](self.weights, vectors)

    def calibrated(self, raw: Float32Array) -> Float32Array:
        """Calibrated log-odds from raw ones."""
        slope, offset = self.calibration
        return np.float32(slope) * (raw + self.offsets) + np.float32(offset)

    def logits(self, vectors: Float32Array) -> Float32Array:
        """Calibrated log-odds. Shape: [N, D] -> [N, C]"""
        return self.calibrated(self.raw_logits(vectors))

    def probabilities(self, vectors: Float32Array) -> Float32Array:
        """Shape: [N, D] -> [N, C]"""
        found = np.empty((len(vectors), len(self.tags)), np.float32)
        for start in range(0, len(vectors), _BATCH):
            found[start : start + _BATCH] = sigmoid(self.logits(np.asarray(vectors[start : start + _BATCH])))
        return found

    def top(self, probabilities: Float32Array, k: int) -> list[TagProbability]:
        """The k most probable tags of one vector, most probable first. Shape: probabilities [C]"""
        order = np.argsort(-probabilities, kind="stable")[:k].tolist()
        return [
            TagProbability(self.tags[at], float(probabilities[at]), bool(probabilities[at] >= self.thresholds[at]))
            for at in order
        ]

    def check_encoder(self, encoder_sha256: str, where: str) -> None:
        """Raises: WrongEncoderError: the model was trained on vectors of another encoder than that of `where`."""
        if self.encoder_sha256 != encoder_sha256:
            origin = f"the encoder {self.encoder_sha256[:12]}" if self.encoder_sha256 else ", ".join(self.features)
            raise WrongEncoderError(
                f"this tag model was trained on vectors of {origin}, but those of {where} are of the encoder"
                f" {encoder_sha256[:12] or '(none)'}: train one with python -m boiler.train_tags --model_dir {where}"
            )

    def save(self, path: Path) -> None:
        """Write the file, atomically. The same model gives the same bytes."""
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "network": self.network,
            "tags": self.tags,
            "calibration": self.calibration._asdict(),
            "encoder_sha256": self.encoder_sha256,
            "features": self.features,
            "settings": dict(self.settings or {}),
        }
        tensors = {**self.weights, "offsets": self.offsets, "thresholds": self.thresholds}
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as aside:
            save_file(
                {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()},
                aside,
                {"boiler": json.dumps(header, ensure_ascii=False, sort_keys=True)},
            )

    @classmethod
    def load(cls, path: Path) -> TagModel:
        """Raises: CheckpointError: missing, damaged, not a tag model, or of a later version."""
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file. python -m boiler.train_tags writes {FILE}")
        try:
            with safe_open(path, "np") as file:
                header = json.loads((file.metadata() or {})["boiler"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            if header["format"] != FORMAT:
                raise KeyError(FORMAT)
            if header["format_version"] != FORMAT_VERSION:
                raise CheckpointError(f"{path}: format {header['format_version']} of a newer boiler: update boiler")
            model = cls(
                network=header["network"],
                tags=tuple(header["tags"]),
                offsets=tensors.pop("offsets"),
                thresholds=tensors.pop("thresholds"),
                weights=tensors,
                calibration=Platt(**header["calibration"]),
                encoder_sha256=header["encoder_sha256"],
                features=tuple(header["features"]),
                settings=header["settings"],
            )
            model.raw_logits(np.zeros((1, model.dim), np.float32))
            if not len(model.tags) == len(model.offsets) == len(model.thresholds):
                raise ValueError("its arrays do not match its tags")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a tag model, or damaged ({first_line(error)})") from error
        return model


def sigmoid(logits: Float32Array) -> Float32Array:
    """Probabilities from log-odds, without overflow."""
    probabilities: Float32Array = 0.5 * (1 + np.tanh(0.5 * logits))
    return probabilities


def _linear(weights: Mapping[str, Float32Array], vectors: Float32Array) -> Float32Array:
    logits: Float32Array = vectors @ weights["weight"].T + weights["bias"]
    return logits


def _two_layer(weights: Mapping[str, Float32Array], vectors: Float32Array) -> Float32Array:
    hidden = np.maximum(vectors @ weights["hidden_weight"].T + weights["hidden_bias"], 0)
    return _linear(weights, hidden)


def _experts(weights: Mapping[str, Float32Array], vectors: Float32Array) -> Float32Array:
    """Log-odds of sum over experts of gate * sigmoid(expert), where one more gate stands for an expert that is 0."""
    n_classes = len(weights["bias"]) // N_EXPERTS
    gates = (vectors @ weights["gate_weight"].T + weights["gate_bias"]).reshape(-1, n_classes, N_EXPERTS + 1)
    experts = (vectors @ weights["weight"].T + weights["bias"]).reshape(-1, n_classes, N_EXPERTS)
    # log p = logsumexp(gate + log sigmoid(expert)) - logsumexp(gates), and the same of 1 - p.
    log_yes = -np.logaddexp(0, -experts)
    log_no = -np.logaddexp(0, experts)
    yes = np.logaddexp.reduce(gates[..., :N_EXPERTS] + log_yes, axis=2)
    no = np.logaddexp(np.logaddexp.reduce(gates[..., :N_EXPERTS] + log_no, axis=2), gates[..., N_EXPERTS])
    logits: Float32Array = (yes - no).astype(np.float32)
    return logits


_FORWARD = {"linear": _linear, "experts": _experts, "two_layer": _two_layer}
_FIRST = {"linear": "weight", "experts": "weight", "two_layer": "hidden_weight"}
NETWORKS = tuple(_FORWARD)

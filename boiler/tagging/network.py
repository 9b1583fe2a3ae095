"""The networks of tag models in torch, for training and export; `boiler.tagging.model` runs the same in numpy.

`linear` is logistic regression, `experts` YouTube-8M's mixture of two logistic regressions per tag, `two_layer` has
one hidden layer. All of them standardise their input; the statistics are folded into the first layer when a network
becomes a `TagModel`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler.arrays import Float32Array
from boiler.tagging.model import N_EXPERTS, TagModel

HIDDEN = 512


class TagNetwork(nn.Module):
    """Vectors to log-odds. Shape: [B, D] -> [B, C]"""

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def standardize(self, mean: Float32Array, std: Float32Array) -> None:
        """Set the statistics of the input. Shape: [D]"""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.logits((vectors - self.mean) / self.std)

    def logits(self, scaled: Tensor) -> Tensor:
        """Log-odds from standardised vectors."""
        raise NotImplementedError

    def set_priors(self, log_odds: Float32Array) -> None:
        """Begin with these log-odds of each tag, so that training does not have to learn its frequency. Shape: [C]"""
        raise NotImplementedError

    def folded(self) -> dict[str, Float32Array]:
        """The weights for vectors that are not standardised."""
        raise NotImplementedError

    def _fold(self, weight: Tensor, bias: Tensor) -> tuple[Float32Array, Float32Array]:
        # In double precision: the mean may be large beside the deviation.
        scaled = weight.detach().double() / self.std.double()
        shift = bias.detach().double() - scaled @ self.mean.double()
        return scaled.float().cpu().numpy(), shift.float().cpu().numpy()


class Linear(TagNetwork):
    """Logistic regression."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)
        self.weight = nn.Parameter(torch.zeros(n_classes, dim))
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def logits(self, scaled: Tensor) -> Tensor:
        return functional.linear(scaled, self.weight, self.bias)

    def logits_of(self, vectors: Tensor, classes: Tensor) -> Tensor:
        """The columns of `forward` of these classes alone, ascending. Shape: [B, D], [S] -> [B, S]"""
        scaled = (vectors - self.mean) / self.std
        return functional.linear(scaled, self.weight[classes], self.bias[classes])

    def set_priors(self, log_odds: Float32Array) -> None:
        self.bias.data.copy_(torch.from_numpy(log_odds))

    def folded(self) -> dict[str, Float32Array]:
        weight, bias = self._fold(self.weight, self.bias)
        return {"weight": weight, "bias": bias}


class TwoLayer(TagNetwork):
    """One hidden layer of `HIDDEN` rectified units, with dropout in training."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)
        self.hidden = nn.Linear(dim, HIDDEN)
        self.out = nn.Linear(HIDDEN, n_classes)

    def logits(self, scaled: Tensor) -> Tensor:
        hidden = functional.dropout(functional.relu(self.hidden(scaled)), 0.3, self.training)
        out: Tensor = self.out(hidden)
        return out

    def set_priors(self, log_odds: Float32Array) -> None:
        self.out.bias.data.copy_(torch.from_numpy(log_odds))

    def folded(self) -> dict[str, Float32Array]:
        weight, bias = self._fold(self.hidden.weight, self.hidden.bias)
        out = {name: value.detach().cpu().numpy() for name, value in self.out.state_dict().items()}
        return {"hidden_weight": weight, "hidden_bias": bias, **out}


class Experts(TagNetwork):
    """A mixture of `N_EXPERTS` logistic regressions per tag. A softmax of linear gates weighs them, and one more gate
    an expert that always says no.

    Source: https://github.com/google/youtube-8m, video_level_models.MoeModel
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)
        self.n_experts = N_EXPERTS  # TorchScript knows attributes, not globals
        self.gate = nn.Linear(dim, n_classes * (N_EXPERTS + 1), bias=False)
        self.gate_bias = nn.Parameter(torch.zeros(n_classes * (N_EXPERTS + 1)), requires_grad=False)
        self.expert = nn.Linear(dim, n_classes * N_EXPERTS)

    def logits(self, scaled: Tensor) -> Tensor:
        gates = (self.gate(scaled) + self.gate_bias).reshape(-1, self.n_classes, self.n_experts + 1)
        experts = self.expert(scaled).reshape(-1, self.n_classes, self.n_experts)
        given = gates[..., : self.n_experts]
        yes = torch.logsumexp(given + functional.logsigmoid(experts), dim=2)
        no = torch.logsumexp(given + functional.logsigmoid(-experts), dim=2)
        return yes - torch.logaddexp(no, gates[..., self.n_experts])

    def set_priors(self, log_odds: Float32Array) -> None:
        # A third of the gates is the expert that says no, so the others must be surer.
        wanted = np.minimum(1.5 / (1 + np.exp(-log_odds.astype(np.float64))), 0.99)
        biases = np.repeat(np.log(wanted / (1 - wanted)), N_EXPERTS).astype(np.float32)
        self.expert.bias.data.copy_(torch.from_numpy(biases))

    def folded(self) -> dict[str, Float32Array]:
        gate_weight, gate_bias = self._fold(self.gate.weight, self.gate_bias)
        weight, bias = self._fold(self.expert.weight, self.expert.bias)
        return {"gate_weight": gate_weight, "gate_bias": gate_bias, "weight": weight, "bias": bias}


TAG_NETWORKS: dict[str, type[TagNetwork]] = {"linear": Linear, "experts": Experts, "two_layer": TwoLayer}


class TagScript(nn.Module):
    """A whole `TagModel`: vectors to calibrated probabilities, for export. Shape: [N, D] -> [N, C]"""

    offsets: Tensor

    def __init__(self, model: TagModel) -> None:
        super().__init__()
        network: Any = TAG_NETWORKS[model.network](model.dim, len(model.tags))
        weights = {name: torch.from_numpy(np.array(value)) for name, value in model.weights.items()}
        state = network.state_dict()
        for name, value in weights.items():
            state[_PARAMETERS[model.network].get(name, name)] = value
        network.load_state_dict(state)
        self.network = network.eval()
        self.register_buffer("offsets", torch.from_numpy(np.array(model.offsets)))
        self.slope, self.offset = float(model.calibration.slope), float(model.calibration.offset)

    def forward(self, vectors: Tensor) -> Tensor:
        logits: Tensor = self.network(vectors)
        return torch.sigmoid(self.slope * (logits + self.offsets) + self.offset)


_PARAMETERS = {
    "linear": {},
    "two_layer": {
        "hidden_weight": "hidden.weight",
        "hidden_bias": "hidden.bias",
        "weight": "out.weight",
        "bias": "out.bias",
    },
    "experts": {"gate_weight": "gate.weight", "weight": "expert.weight", "bias": "expert.bias"},
}
"""The names of parameters of `TagModel` in the networks, where they differ."""

"""The networks in torch and in numpy agree, before and after folding, scripting and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tags import DIM, N_CLASSES, model_of, trained

from boiler.tagging.model import TagModel
from boiler.tagging.network import TAG_NETWORKS, TagScript


@pytest.mark.parametrize("name", TAG_NETWORKS)
def test_numpy_and_torch_agree(name: str) -> None:
    network = trained(name)
    model = model_of(network, name)
    vectors = np.random.default_rng(3).normal(5, 3, (20, DIM)).astype(np.float32)
    assert model.dim == DIM
    expected = network(torch.from_numpy(vectors)).detach().numpy()
    np.testing.assert_allclose(model.raw_logits(vectors), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", TAG_NETWORKS)
def test_the_script_returns_the_probabilities_of_the_model(name: str) -> None:
    model = model_of(trained(name), name)
    vectors = np.random.default_rng(3).normal(5, 3, (20, DIM)).astype(np.float32)
    scripted = torch.jit.script(TagScript(model))
    np.testing.assert_allclose(
        scripted(torch.from_numpy(vectors)).detach().numpy(), model.probabilities(vectors), rtol=1e-4, atol=1e-5
    )


def test_experts_are_a_weighted_mean_of_probabilities() -> None:
    """YouTube-8M's own formula."""
    network = TAG_NETWORKS["experts"](DIM, N_CLASSES)
    torch.nn.init.normal_(network.gate.weight)
    torch.nn.init.normal_(network.expert.weight)
    vectors = torch.randn(6, DIM)
    gates = network.gate(vectors).reshape(6, N_CLASSES, 3).softmax(dim=2)[..., :2]
    experts = network.expert(vectors).reshape(6, N_CLASSES, 2).sigmoid()
    torch.testing.assert_close(network(vectors).sigmoid(), (gates * experts).sum(dim=2))


@pytest.mark.parametrize("name", TAG_NETWORKS)
def test_networks_begin_at_the_frequencies_of_tags(name: str) -> None:
    torch.manual_seed(0)
    network = TAG_NETWORKS[name](DIM, N_CLASSES).eval()
    shares = np.array([0.001, 0.01, 0.1, 0.5])
    network.set_priors(np.log(shares / (1 - shares)).astype(np.float32))
    with torch.no_grad():
        found = network(torch.zeros(1, DIM)).sigmoid()[0].numpy()
    np.testing.assert_allclose(found, shares, rtol=0.2)


def test_some_columns_of_a_linear_network_are_those_of_all() -> None:
    network = trained("linear")
    vectors, classes = torch.randn(5, DIM), torch.tensor([0, 3])
    torch.testing.assert_close(network.logits_of(vectors, classes), network(vectors)[:, classes])


def test_export_needs_no_file(tmp_path: Path) -> None:
    """A saved and loaded model exports the same."""
    model = model_of(trained("linear"), "linear")
    model.save(tmp_path / "a.safetensors")
    vectors = torch.randn(5, DIM)
    torch.testing.assert_close(TagScript(TagModel.load(tmp_path / "a.safetensors"))(vectors), TagScript(model)(vectors))

"""Both networks of L3 in one space, and their checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boiler.errors import CheckpointError
from boiler.model import l3_joint
from boiler.model.l3_joint import JointNetwork, JointSettings

SMALL = JointSettings(channels=(4, 4, 8, 8), joint_dim=16)


def network(settings: JointSettings = SMALL) -> JointNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return JointNetwork(settings).eval()


def save(path: Path, made: JointNetwork) -> Path:
    kept = l3_joint.checkpoint_of(made, optimizer={}, settings={"seed": 1}, step=7, elapsed_s=2.5, metrics={"a": 1.0})
    l3_joint.save(kept, path)
    return path


@pytest.mark.parametrize("shrink", [1, 2, 4])
@pytest.mark.parametrize("input_repr", ["linear", "mel128", "mel256"])
def test_a_vector_has_the_channels_of_the_last_block_whatever_the_input(input_repr: str, shrink: int) -> None:
    made = network(replace(SMALL, input_repr=input_repr, audio_shrink=shrink, image_shrink=shrink))
    assert made.audio(torch.rand(1, 1, 48_000)).shape == (1, 8) == (1, made.audio.embedding_size)
    assert made.image(torch.rand(1, 224, 224, 3)).shape == (1, 8) == (1, made.image.embedding_size)
    audio, image = made(torch.rand(2, 1, 48_000), torch.rand(2, 224, 224, 3))
    assert torch.allclose(torch.cat([audio, image]).norm(dim=1), torch.ones(4))
    assert made.logits(audio, image[:1]).shape == (2, 1)


def test_a_picture_that_is_shrunk_already_has_the_same_vector() -> None:
    made, picture = network(), torch.rand(2, 224, 224, 3)
    small = torch.nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), 4)
    assert torch.allclose(made.of_image(picture), made.of_shrunk_image(small), atol=1e-6)


def test_a_checkpoint_gives_the_same_network_again(tmp_path: Path) -> None:
    made = network()
    found = l3_joint.load(save(tmp_path / "l3_001.pt", made))
    assert (found.step, found.elapsed_s, found.settings, found.metrics) == (7, 2.5, {"seed": 1}, {"a": 1.0})
    again = found.build().eval()
    assert again.settings == SMALL
    sound, picture = torch.rand(1, 1, 48_000), torch.rand(1, 224, 224, 3)
    assert all(torch.equal(a, b) for a, b in zip(made(sound, picture), again(sound, picture), strict=True))
    assert l3_joint.is_checkpoint(tmp_path / "l3_001.pt")


def test_a_checkpoint_does_not_change_with_the_network_afterwards() -> None:
    made = network()
    kept = l3_joint.checkpoint_of(made, optimizer={}, settings={}, step=0, elapsed_s=0.0)
    with torch.no_grad():
        made.bias.add_(1)
    assert kept.weights["bias"] == made.bias - 1


def test_other_files_are_refused_by_name(tmp_path: Path, checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        l3_joint.load(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save({"format": l3_joint.FORMAT, "format_version": 99}, tmp_path / "later.pt")
    for path in (tmp_path / "text.pt", tmp_path / "later.pt", checkpoint_path):
        with pytest.raises(CheckpointError, match=f"{path.name}: not a checkpoint of python -m boiler.train_l3"):
            l3_joint.load(path)
    assert not l3_joint.is_checkpoint(checkpoint_path)
    assert not l3_joint.is_checkpoint(tmp_path / "missing.pt")


def test_a_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "written"), "w")  # type: ignore[return-value]

    torch.save(
        {"format": l3_joint.FORMAT, "format_version": l3_joint.FORMAT_VERSION, "step": Code()}, tmp_path / "a.pt"
    )
    with pytest.raises(CheckpointError):
        l3_joint.load(tmp_path / "a.pt")
    assert not (tmp_path / "written").exists()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    found = l3_joint.load(save(tmp_path / "l3_001.pt", network()))
    with pytest.raises(CheckpointError, match="cannot build its network"):
        replace(found, network={**found.network, "joint_dim": 17}).build()
    with pytest.raises(CheckpointError, match="cannot build its network"):
        replace(found, network={**found.network, "unknown": 1}).build()

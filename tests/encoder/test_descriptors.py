"""The parts of a description: their shapes, and what each must not care about."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from boiler.encoder import descriptors

N_MELS = 80


def loudness(frames: int, seed: int = 0) -> torch.Tensor:
    """A log-mel that has a course: bands that swell one after the other, over noise."""
    draw = torch.Generator().manual_seed(seed)
    time, band = torch.linspace(0, 1, frames)[:, None], torch.linspace(0, 1, N_MELS)[None]
    ridge = 2.5 - 30 * (band - 0.2 - 0.6 * time).square()
    return ridge.clamp(min=-2) + 0.1 * torch.randn(frames, N_MELS, generator=draw)


@pytest.fixture(scope="module")
def kinds() -> dict[str, nn.Module]:
    draw = torch.Generator().manual_seed(0)
    clips = [loudness(frames, seed) for seed, frames in enumerate([5, 40, 256, 100])]
    return {
        "course": descriptors.Course(N_MELS),
        "cepstrum": descriptors.Cepstrum(N_MELS),
        "together": descriptors.Together(N_MELS),
        "modulation": descriptors.Modulation(),
        "words": descriptors.Words(**descriptors.Words.learn(clips, draw)),
        "shapes": descriptors.Shapes(**descriptors.Shapes.learn(clips, draw)),
    }


NAMES = ["course", "cepstrum", "together", "modulation", "words", "shapes"]


@pytest.mark.parametrize("name", NAMES)
def test_one_length_for_clips_of_any_length(name: str, kinds: dict[str, nn.Module]) -> None:
    sizes = {tuple(kinds[name](loudness(frames)).shape) for frames in (descriptors.MIN_FRAMES, 9, 64, 256)}
    assert len(sizes) == 1
    assert len(next(iter(sizes))) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [-2.0, 2.5])
def test_a_flat_sound_is_finite(name: str, level: float, kinds: dict[str, nn.Module]) -> None:
    assert kinds[name](torch.full((30, N_MELS), level)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_scripted_and_eager_agree(name: str, kinds: dict[str, nn.Module]) -> None:
    scripted = torch.jit.script(kinds[name])
    for frames in (7, 200):
        torch.testing.assert_close(scripted(loudness(frames)), kinds[name](loudness(frames)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["words", "shapes"])
def test_where_the_loop_begins_matters_little(name: str, kinds: dict[str, nn.Module]) -> None:
    there, later = kinds[name](loudness(200)), kinds[name](loudness(200).roll(77, 0))
    other = kinds[name](loudness(200).flip(0))
    assert (there - later).norm() < 0.5 * (there - other).norm()


def test_the_course_does_not_hear_the_silence_around_it(kinds: dict[str, nn.Module]) -> None:
    sound = loudness(20)
    silence = torch.full((15, N_MELS), -2.0)
    led_in = torch.cat([silence[:9], sound, silence])
    torch.testing.assert_close(kinds["course"](led_in), kinds["course"](sound))


def test_the_course_tells_forwards_from_backwards(kinds: dict[str, nn.Module]) -> None:
    slower = torch.nn.functional.interpolate(loudness(40).T[None], size=60)[0].T
    course, backwards = kinds["course"](loudness(40)), kinds["course"](loudness(40).flip(0))
    assert (course - kinds["course"](slower)).norm() < 0.3 * (course - backwards).norm()


def test_shapes_are_found_at_any_pitch(kinds: dict[str, nn.Module]) -> None:
    sound = loudness(100)
    moved = sound.roll(kinds["shapes"].step_bands, 1)
    flat = loudness(100).mean(0, keepdim=True).expand(100, N_MELS)
    shapes = kinds["shapes"]
    assert (shapes(sound) - shapes(moved)).norm() < (shapes(sound) - shapes(flat)).norm()


def test_what_sounds_is_all_but_the_longest_gap() -> None:
    sound, quiet = torch.full((6, 4), 2.0), torch.full((3, 4), -1.0)
    pause = quiet[:1]
    loop = torch.cat([quiet, sound[:2], pause, sound[2:], quiet])
    assert descriptors.sounding(loop, 1.0).shape == (7, 4)
    assert torch.equal(descriptors.sounding(loop, 1.0), torch.cat([sound[:2], pause, sound[2:]]))
    assert torch.equal(descriptors.sounding(loop.roll(9, 0), 1.0), descriptors.sounding(loop, 1.0))
    assert torch.equal(descriptors.sounding(sound, 1.0), sound)


def test_groups_are_found() -> None:
    draw = torch.Generator().manual_seed(3)
    truth = torch.tensor([[0.0, 0], [9, 0], [0, 9]])
    rows = truth.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=draw)
    centres = descriptors.k_means(rows, 3, draw)
    assert torch.cdist(truth, centres).amin(dim=1).max() < 0.5


def test_fewer_rows_than_groups_will_do() -> None:
    centres = descriptors.k_means(torch.eye(3), 8, torch.Generator().manual_seed(0))
    assert centres.shape == (8, 3)
    assert centres.isfinite().all()


@pytest.mark.parametrize("kind", [descriptors.Words, descriptors.Shapes])
def test_what_is_learned_is_the_same_again(kind: type[descriptors.Words] | type[descriptors.Shapes]) -> None:
    clips = [loudness(60, seed) for seed in range(3)]
    one, two = (kind.learn(clips, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)

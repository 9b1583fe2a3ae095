"""Each descriptor: its shape, its invariances, and that scripted and eager agree."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from boiler.encoder import descriptors

N_MELS = 80


def loudness(frames: int, seed: int = 0) -> torch.Tensor:
    """A log-mel whose peak rises from low to high bands, over noise."""
    draw = torch.Generator().manual_seed(seed)
    time, band = torch.linspace(0, 1, frames)[:, None], torch.linspace(0, 1, N_MELS)[None]
    ridge = 2.5 - 30 * (band - 0.2 - 0.6 * time).square()
    return ridge.clamp(min=-2) + 0.1 * torch.randn(frames, N_MELS, generator=draw)


@pytest.fixture(scope="module")
def kinds() -> dict[str, nn.Module]:
    draw = torch.Generator().manual_seed(0)
    clips = [loudness(frames, seed) for seed, frames in enumerate([5, 40, 256, 100])]
    return {
        "mfcc_contour": descriptors.MFCCContour(N_MELS),
        "mfcc_moments": descriptors.MFCCMoments(N_MELS),
        "mfcc_covariance": descriptors.MFCCCovariance(N_MELS),
        "modulation": descriptors.ModulationSpectrum(),
        "patch_codes": descriptors.PatchCodes(**descriptors.PatchCodes.fit(clips, draw)),
        "patch_filters": descriptors.PatchFilters(**descriptors.PatchFilters.fit(clips, draw)),
    }


NAMES = ["mfcc_contour", "mfcc_moments", "mfcc_covariance", "modulation", "patch_codes", "patch_filters"]


@pytest.mark.parametrize("name", NAMES)
def test_the_dimension_does_not_depend_on_the_length_of_the_clip(name: str, kinds: dict[str, nn.Module]) -> None:
    sizes = {tuple(kinds[name](loudness(frames)).shape) for frames in (descriptors.MIN_FRAMES, 9, 64, 256)}
    assert len(sizes) == 1
    assert len(next(iter(sizes))) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [-2.0, 2.5])
def test_a_constant_spectrum_gives_finite_numbers(name: str, level: float, kinds: dict[str, nn.Module]) -> None:
    assert kinds[name](torch.full((30, N_MELS), level)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_scripted_and_eager_agree(name: str, kinds: dict[str, nn.Module]) -> None:
    scripted = torch.jit.script(kinds[name])
    for frames in (7, 200):
        torch.testing.assert_close(scripted(loudness(frames)), kinds[name](loudness(frames)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["patch_codes", "patch_filters"])
def test_the_start_of_the_loop_hardly_matters(name: str, kinds: dict[str, nn.Module]) -> None:
    there, later = kinds[name](loudness(200)), kinds[name](loudness(200).roll(77, 0))
    other = kinds[name](loudness(200).flip(0))
    assert (there - later).norm() < 0.5 * (there - other).norm()


def test_the_contour_ignores_silence_around_the_sound(kinds: dict[str, nn.Module]) -> None:
    sound = loudness(20)
    silence = torch.full((15, N_MELS), -2.0)
    led_in = torch.cat([silence[:9], sound, silence])
    torch.testing.assert_close(kinds["mfcc_contour"](led_in), kinds["mfcc_contour"](sound))


def test_the_contour_distinguishes_forwards_from_backwards_and_ignores_speed(kinds: dict[str, nn.Module]) -> None:
    slower = torch.nn.functional.interpolate(loudness(40).T[None], size=60)[0].T
    contour, backwards = kinds["mfcc_contour"](loudness(40)), kinds["mfcc_contour"](loudness(40).flip(0))
    assert (contour - kinds["mfcc_contour"](slower)).norm() < 0.3 * (contour - backwards).norm()


def test_filters_respond_at_any_pitch(kinds: dict[str, nn.Module]) -> None:
    sound = loudness(100)
    moved = sound.roll(kinds["patch_filters"].step_bands, 1)
    flat = loudness(100).mean(0, keepdim=True).expand(100, N_MELS)
    filters = kinds["patch_filters"]
    assert (filters(sound) - filters(moved)).norm() < (filters(sound) - filters(flat)).norm()


def test_cutting_the_longest_gap_keeps_shorter_ones() -> None:
    sound, quiet = torch.full((6, 4), 2.0), torch.full((3, 4), -1.0)
    pause = quiet[:1]
    loop = torch.cat([quiet, sound[:2], pause, sound[2:], quiet])
    assert descriptors.cut_longest_gap(loop, 1.0).shape == (7, 4)
    assert torch.equal(descriptors.cut_longest_gap(loop, 1.0), torch.cat([sound[:2], pause, sound[2:]]))
    assert torch.equal(descriptors.cut_longest_gap(loop.roll(9, 0), 1.0), descriptors.cut_longest_gap(loop, 1.0))
    assert torch.equal(descriptors.cut_longest_gap(sound, 1.0), sound)


def test_k_means_finds_separated_groups() -> None:
    draw = torch.Generator().manual_seed(3)
    truth = torch.tensor([[0.0, 0], [9, 0], [0, 9]])
    rows = truth.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=draw)
    centres = descriptors.k_means(rows, 3, draw)
    assert torch.cdist(truth, centres).amin(dim=1).max() < 0.5


def test_k_means_accepts_fewer_rows_than_centres() -> None:
    centres = descriptors.k_means(torch.eye(3), 8, torch.Generator().manual_seed(0))
    assert centres.shape == (8, 3)
    assert centres.isfinite().all()


@pytest.mark.parametrize("kind", [descriptors.PatchCodes, descriptors.PatchFilters])
def test_fitting_is_deterministic(kind: type[descriptors.PatchCodes] | type[descriptors.PatchFilters]) -> None:
    clips = [loudness(60, seed) for seed in range(3)]
    one, two = (kind.fit(clips, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_random_patches_are_those_that_a_plain_loop_takes() -> None:
    clips = [loudness(frames, seed).half() for seed, frames in enumerate((5, 16, 60))]
    clips[1][:, 20:] = 1.0  # background
    draw, expected = torch.Generator().manual_seed(5), []
    for _ in range(2 * 300):
        clip, frame, band = (int(torch.randint(bound, (1,), generator=draw)) for bound in (3, 9, 61))
        beginning = descriptors.loop_frames(clips[clip].float().clamp(min=descriptors.FLOOR), 16)
        patch = beginning[frame : frame + 8, band : band + 20].flatten()
        if patch.std() > 0.1:
            expected.append(patch - patch.mean())
    found = descriptors.random_patches(clips, 300, 8, 20, torch.Generator().manual_seed(5))
    assert 300 < len(expected) < 600
    torch.testing.assert_close(found, torch.stack(expected[:300]))

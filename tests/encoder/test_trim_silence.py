"""Leading and trailing silence of a clip is trimmed, and nothing else."""

from __future__ import annotations

import torch

from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.trim_silence import MIN_FRAMES, trim_silence, trim_silence_batch
from boiler.model.mel import LogMel, MelSettings

SETTINGS = MelSettings()
MEL = LogMel(SETTINGS)
WINDOW = 2**17
HOP = SETTINGS.hop_samples


def window(*stretches: torch.Tensor) -> torch.Tensor:
    """A clip repeated to fill the window: [1, 1, WINDOW]."""
    clip = torch.cat(stretches)
    return clip.repeat(WINDOW // len(clip) + 1)[:WINDOW][None, None]


def noise(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames * HOP, generator=torch.Generator().manual_seed(seed))


def silence(frames: int) -> torch.Tensor:
    return torch.zeros(frames * HOP)


def trimmed(waveform: torch.Tensor) -> torch.Tensor:
    return trim_silence(MEL(waveform), loop_lengths(waveform), 0.0, HOP)


def test_a_sound_that_fills_its_window_is_unchanged() -> None:
    waveform = noise(WINDOW // HOP)[None, None]
    assert torch.equal(trimmed(waveform), MEL(waveform))


def test_silence_at_both_ends_is_trimmed() -> None:
    waveform = window(silence(16), noise(20), silence(30))
    found = trimmed(waveform)
    assert found.shape == (1, 1, SETTINGS.n_mels, WINDOW // HOP)
    assert found.amax(dim=2).min() > 0
    frames = int((MEL(waveform)[..., :66].amax(dim=2) > 0).sum())
    assert 20 <= frames <= 22  # an analysis window on either side overlaps the silence
    torch.testing.assert_close(found[..., frames : 2 * frames], found[..., :frames])


def test_the_result_does_not_depend_on_the_amount_of_silence() -> None:
    one, other = (trimmed(window(silence(before), noise(24), silence(after))) for before, after in ((8, 40), (50, 3)))
    # whole frames precede the sound, so its offset within a frame is the same
    torch.testing.assert_close(one[..., 1:20], other[..., 1:20], atol=1e-4, rtol=0)


def test_the_beginning_of_the_next_copy_in_the_last_frame_is_not_part_of_the_clip() -> None:
    sound = noise(20)
    quiet = torch.zeros(30 * HOP + 300)  # the clip ends within a frame, which reaches into the next copy
    found = trimmed(window(sound, quiet))
    frames = int((found[..., :40].amax(dim=2) > 0).sum(dim=2))
    assert frames == 40  # the sound again and again, without a gap
    torch.testing.assert_close(found[..., 1:19], trimmed(window(sound, silence(30)))[..., 1:19], atol=1e-4, rtol=0)


def test_silence_between_two_sounds_is_kept() -> None:
    found = trimmed(window(noise(10), silence(12), noise(10, seed=1)))
    assert (found.amax(dim=2)[0, 0, :32] == 0).sum() >= 10


def test_silence_and_a_click_are_unchanged() -> None:
    click = torch.zeros(1, 1, WINDOW)
    click[..., 20 * HOP] = 1.0
    for waveform in (torch.zeros(1, 1, WINDOW), click):
        assert (MEL(waveform).amax(dim=2) > 0).sum() < MIN_FRAMES
        assert torch.equal(trimmed(waveform), MEL(waveform))


def test_windows_of_a_batch_are_independent() -> None:
    windows = torch.cat([window(silence(9), noise(20)), torch.zeros(1, 1, WINDOW), noise(WINDOW // HOP)[None, None]])
    batch = trimmed(windows)
    for number in range(3):
        torch.testing.assert_close(batch[number], trimmed(windows[number : number + 1])[0], atol=1e-5, rtol=0)


def test_scripted_equals_eager() -> None:
    windows = torch.cat([window(silence(9), noise(20)), torch.zeros(1, 1, WINDOW)])
    scripted = torch.jit.script(trim_silence)
    torch.testing.assert_close(scripted(MEL(windows), loop_lengths(windows), 0.0, HOP), trimmed(windows))


def test_the_batched_form_gives_the_same() -> None:
    rng = torch.Generator().manual_seed(0)
    loudness = torch.rand(6, 1, 5, 40, generator=rng)
    loudness[0] = 0  # nothing sounds
    loudness[1, ..., :7] = 0
    loudness[2, ..., 12:] = 0
    loudness[3] = 0
    loudness[3, ..., 20:22] = 1  # a click
    loudness[4, ..., :3] = loudness[4, ..., 30:] = 0
    lengths = [40_000, 2_000, 1_500, 4_000, 3_500, 99]
    one_by_one = trim_silence(loudness, lengths, 0.5, 100)
    together = trim_silence_batch(loudness, torch.tensor(lengths), 0.5, 100)
    assert torch.equal(one_by_one, together)

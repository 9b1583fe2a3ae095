"""A folder of small videos of which sound and pictures go together: a grey level for each pitch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sounds import tone
from videos import plain_frames, write_video


def write_tonal_videos(folder: Path, n: int = 6, seconds: int = 3) -> Path:
    """FOLDER/NN.mp4: a tone, and frames whose level says which. 22.05 kHz, 5 frames a second."""
    for number in range(n):
        sound = tone(200 * 2 ** (5 * number / n), seconds, 22_050)
        frames = plain_frames([20 + 200 * number // n] * (5 * seconds), height=64, width=80)
        write_video(folder / f"{number:02d}.mp4", frames, sound.astype(np.float32), rate_hz=5, sample_rate_hz=22_050)
    return folder

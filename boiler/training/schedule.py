"""The learning rate of a training step."""

from __future__ import annotations

import math

FINAL_LR_SHARE = 0.02


def learning_rate(
    highest: float, step: int, share: float, warm_up_steps: int, max_warm_up_share: float = math.inf
) -> float:
    """Linear warm-up over the first `warm_up_steps`, or `max_warm_up_share` of the run if that is less, then cosine
    decay to `FINAL_LR_SHARE` of `highest`. `share`: the fraction of the run that is done, 0 to 1, by steps or by time,
    whichever ends first."""
    share = min(share, 1.0)
    warm_up = min(1.0, max((step + 1) / warm_up_steps, share / max_warm_up_share))
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return highest * warm_up * (FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * cosine)

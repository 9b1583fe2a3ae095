"""The time budget of a run: `--max_minutes` limits the wall-clock time of the whole command; every stage gets a
share."""

from __future__ import annotations

import math
import time

DECODING_SHARE = 0.4
FOLDER_FIT_SHARE = 0.5
"""Upper limits of decoding and of fitting to the folder alone, as fractions of the time that is left."""
CHECKPOINT_FIT_SHARE = 0.03
"""Upper limit of the fits of a checkpoint between epochs, as a fraction of the whole time."""
FINISHING_SHARE, MAX_FINISHING_S = 0.2, 120.0
"""Reserved for the end, when the encoders are fitted and compared with MFCC statistics, as a fraction of the whole, and
at most."""
COMPARISON_SHARE = 0.04
"""The part of `FINISHING_SHARE` for the comparison, as a fraction of the whole time."""


class TimeBudget:
    """The time spent, and what each stage may spend. Without a limit, every stage may take as long as it needs.

    A sitting is one execution of the command; a run that is resumed has several.

    Arguments:
        max_minutes: the limit of the whole run, over all its sittings, or None.
        spent_s: seconds spent by earlier sittings.
        started: when this sitting began, on `time.monotonic`; by default now.
    """

    def __init__(self, max_minutes: float | None, spent_s: float = 0.0, started: float | None = None) -> None:
        self.max_s = math.inf if max_minutes is None else 60 * max_minutes
        self._spent_s = spent_s
        self._origin = (time.monotonic() if started is None else started) - spent_s
        self._loop_began_s = 0.0

    @property
    def is_bounded(self) -> bool:
        return self.max_s < math.inf

    def elapsed_s(self) -> float:
        """Seconds spent by all sittings."""
        return time.monotonic() - self._origin

    def left_s(self) -> float:
        """Seconds left to the run, at least 0."""
        return max(self.max_s - self.elapsed_s(), 0.0)

    def decoding_s(self) -> float:
        return DECODING_SHARE * self.left_s()

    def folder_fit_s(self) -> float:
        return FOLDER_FIT_SHARE * self.left_s()

    def checkpoint_fit_s(self) -> float:
        return CHECKPOINT_FIT_SHARE * self.max_s

    def final_fit_s(self) -> float:
        return max(self.max_s * (1 - COMPARISON_SHARE) - self.elapsed_s(), 0.0)

    def comparison_s(self) -> float:
        return COMPARISON_SHARE * self.max_s

    def begin_loop(self) -> None:
        """Call when the training steps begin."""
        self._loop_began_s = self.elapsed_s()

    def loop_left_s(self) -> float:
        """Seconds left for the training steps."""
        return self.max_s - min(FINISHING_SHARE * self.max_s, MAX_FINISHING_S) - self.elapsed_s()

    def loop_share(self) -> float:
        """The fraction of the time for the training steps that is spent, earlier sittings included, 0 to 1. 0 without a
        limit."""
        if not self.is_bounded:
            return 0.0
        spent_s, left_s = self._spent_s + self.elapsed_s() - self._loop_began_s, self.loop_left_s()
        return 1.0 if left_s <= 0 else spent_s / (spent_s + left_s)

    def expected_steps(self, step: int, first_step: int, last_step: int) -> int:
        """The total number of steps, at the mean speed from `first_step` (at `begin_loop`) to `step`; at most
        `last_step`."""
        if not self.is_bounded:
            return last_step
        s_per_step = (self.elapsed_s() - self._loop_began_s) / (step - first_step)
        return min(last_step, step + int(max(self.loop_left_s(), 0.0) / max(s_per_step, 1e-9)))

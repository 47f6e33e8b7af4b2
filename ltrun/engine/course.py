"""Course of a run: the epochs done, the time left, and when a line of progress is due."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import accumulate

LEAST_PAUSE, MOST_PAUSE = 10, 600  # seconds between two lines of progress where no bar can be redrawn


class Course:
    """Epochs of a run, counted through its stages. total: epochs of all stages. began: start on the monotonic clock, in s."""

    def __init__(self, stages: Mapping[str, int]) -> None:
        totals = [0, *accumulate(stages.values())]
        self.before, self.total = dict(zip(stages, totals, strict=False)), totals[-1]
        self.began = time.monotonic()
        self.first: float | None = None  # epochs that were done when this process began

    def reach(self, stage: str, epochs: float) -> float:
        """Returns the epochs of the run that are done after `epochs` of a stage, earlier stages and processes included."""
        done = self.before[stage] + epochs
        if self.first is None:
            self.first = float(int(done - 1e-9))  # this process trains the epoch under way, or trained the epoch just ended
        return done

    def left(self, done: float, now: float) -> float:
        """Returns the seconds to the end of the last epoch, at the pace of this process."""
        own = done - (self.first or 0.0)
        return (self.total - done) * (now - self.began) / own if own > 0 else 0.0


class Pace:
    """Says when a line of progress is due: every tenth of the elapsed time, but within LEAST_PAUSE and MOST_PAUSE seconds."""

    def __init__(self, now: float) -> None:
        self.began = self.told = now

    def due(self, now: float) -> bool:
        if now - self.told < min(max((now - self.began) / 10, LEAST_PAUSE), MOST_PAUSE):
            return False
        self.told = now
        return True


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{whole % 60:02d}s" if minutes else f"{seconds:.1f}s"

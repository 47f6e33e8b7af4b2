"""Course of a run: epochs done of all its epochs, the time left, and when to say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import accumulate

LEAST_PAUSE, MOST_PAUSE = 10, 600  # seconds between two lines where nothing can be redrawn


class Course:
    """Epochs of a run, its stages one after the other. total: of all stages. began: seconds of the monotonic clock."""

    def __init__(self, stages: Mapping[str, int]) -> None:
        totals = [0, *accumulate(stages.values())]
        self.before, self.total = dict(zip(stages, totals, strict=False)), totals[-1]
        self.began = time.monotonic()
        self.first: float | None = None  # epochs that were done when this process began

    def reach(self, stage: str, epochs: float) -> float:
        """Epochs that are done when so many of a stage are, those of earlier stages and of an earlier process included."""
        done = self.before[stage] + epochs
        if self.first is None:
            self.first = float(int(done - 1e-9))  # the epoch that is under way, or has just ended, is this process's own
        return done

    def left(self, done: float, now: float) -> float:
        """Seconds to the last epoch, at the pace of this process."""
        own = done - (self.first or 0.0)
        return (self.total - done) * (now - self.began) / own if own > 0 else 0.0


class Pace:
    """Says when another line is due: at first every ten seconds, later when a tenth of the time has passed once more."""

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

"""Times of both sides of a comparison, in turns, with a guard against other programs.

Times of one program on one machine drift by a fifth within minutes, so nothing here is timed alone: what is compared is timed
in turns, in one process, and what is reported is a ratio of medians. Seconds are its context.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

EXTRA = 2  # rounds are repeated up to so many times as often as asked, to replace disturbed repeats
CORES = os.cpu_count() or 1
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, the unit of /proc/stat


@dataclass(frozen=True)
class Repeat:
    """One timed call. seconds: wall clock. own: CPU seconds of this process. others: those of all other programs meanwhile,
    None where the machine does not say. disturbed: whether they were in its way."""

    seconds: float
    own: float
    others: float | None
    disturbed: bool


@dataclass
class Times:
    """All repeats of one measurement. Statistics are over the undisturbed ones, or over all where there is none."""

    repeats: list[Repeat] = field(default_factory=list)

    @property
    def quiet(self) -> list[float]:
        return [repeat.seconds for repeat in self.repeats if not repeat.disturbed]

    @property
    def seconds(self) -> list[float]:
        return self.quiet or [repeat.seconds for repeat in self.repeats]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def own(self) -> float:
        """The median of this process's CPU seconds, which other programs lengthen less than the wall clock's."""
        return float(np.median([repeat.own for repeat in self.repeats if not (repeat.disturbed and self.quiet)]))

    def summary(self) -> dict[str, Any]:
        first, third = (float(q) for q in np.quantile(self.seconds, (0.25, 0.75)))
        return {
            "median": self.median,
            "own_median": self.own,
            "first_quartile": first,
            "third_quartile": third,
            "n": len(self.seconds),
            "disturbed": len(self.repeats) - len(self.quiet),
            "repeats": [asdict(repeat) for repeat in self.repeats],
        }


def timed(call: Callable[[], object], device: torch.device) -> Repeat:
    """Calls once, from an idle device to an idle device."""
    synchronise(device)
    busy, own, begun = _busy(), _own(), time.perf_counter()
    call()
    synchronise(device)
    seconds, own, after = time.perf_counter() - begun, _own() - own, _busy()
    others = None if busy is None or after is None else max(0.0, (after - busy) - own)
    return Repeat(seconds, own, others, in_the_way(seconds, own, others, CORES))


def timed_command(call: Callable[[], object], device: torch.device) -> Repeat:
    """The same for a call that starts programs, of whose CPU time nothing is known: looks for others in the second before."""
    before = timed(lambda: time.sleep(1), device)
    seconds = timed(call, device).seconds
    return Repeat(seconds, 0.0, before.others, in_the_way(before.seconds, CORES * before.seconds, before.others, CORES))


def in_the_way(seconds: float, own: float, others: float | None, cores: int) -> bool:
    """Whether other programs used more than a tenth of a core while, with this one, three quarters of all cores were busy."""
    if others is None or others - 2 * cores * TICK < 0.1 * seconds:  # the machine counts in ticks, per core
        return False
    return own + others > 0.75 * cores * seconds


def alternate(
    sides: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    after: Callable[[Mapping[str, Times]], object] = lambda times: None,
    warm_up: bool = True,
    commands: bool = False,
) -> dict[str, Times]:
    """Times the sides in turns, back and forth (ABBA), after one call of each that does not count (warm_up).

    Goes on until every side has `repeats` undisturbed repeats, or EXTRA times as many rounds are over. after: called after
    every round with all repeats so far, to keep partial results. commands: the sides start programs.
    """
    for call in sides.values() if warm_up else ():
        call()
    times = {name: Times() for name in sides}
    for turn in range(EXTRA * repeats):
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in order:
            times[name].repeats.append((timed_command if commands else timed)(sides[name], device))
        after(times)
        if all(len(side.quiet) >= repeats for side in times.values()):
            break
    return times


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _own() -> float:
    """CPU seconds of this process and of its children, such as the workers of a loader, whether they have ended or not."""
    running = 0.0
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            with suppress(OSError):  # it has just ended
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                running += sum(map(int, fields[11:15])) * TICK  # its own and its ended children's, user and system
    return sum(os.times()[:4]) + running


def _busy() -> float | None:
    """CPU seconds that all programs have used since the machine started, and that its host has taken away."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(ticks) for ticks in fields[:8])
    return (user + nice + system + irq + softirq + steal) * TICK

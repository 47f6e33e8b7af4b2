"""Timing of both sides of a comparison, in turns, with a guard against other programs.

Times of one program on one machine drift by a fifth within minutes. Therefore all sides of a comparison are timed in turns, in
one process, and the result is a ratio of medians. Seconds only give it context.
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

EXTRA = 2  # most rounds, as a multiple of the requested repeats, to replace disturbed repeats
CORES = os.cpu_count() or 1
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, the unit of /proc/stat


@dataclass(frozen=True)
class Repeat:
    """One timed call. seconds: wall clock. own: CPU seconds of this process. others: CPU seconds of all other programs
    meanwhile, None if the machine does not tell. disturbed: whether other programs were in the way."""

    seconds: float
    own: float
    others: float | None
    disturbed: bool


@dataclass
class Times:
    """All repeats of one measurement. Statistics are over undisturbed repeats, or over all if all were disturbed."""

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
        """The median of this process's CPU seconds, which other programs lengthen less than wall-clock seconds."""
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
    """Times one call, from an idle device to an idle device."""
    synchronise(device)
    busy, own, begun = _busy(), _own(), time.perf_counter()
    call()
    synchronise(device)
    seconds, own, after = time.perf_counter() - begun, _own() - own, _busy()
    others = None if busy is None or after is None else max(0.0, (after - busy) - own)
    return Repeat(seconds, own, others, in_the_way(seconds, own, others, CORES))


def timed_command(call: Callable[[], object], device: torch.device) -> Repeat:
    """Times one call that starts programs, whose CPU time is unknown: looks for other programs in the second before."""
    before = timed(lambda: time.sleep(1), device)
    seconds = timed(call, device).seconds
    return Repeat(seconds, 0.0, before.others, in_the_way(before.seconds, CORES * before.seconds, before.others, CORES))


def in_the_way(seconds: float, own: float, others: float | None, cores: int) -> bool:
    """Returns whether other programs used over a tenth of a core while over three quarters of all cores were busy."""
    if others is None or others - 2 * cores * TICK < 0.1 * seconds:  # the machine counts in ticks, for each core
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
    """Times the sides in turns, back and forth (ABBA), after one untimed call of each if `warm_up`.

    Goes on until every side has `repeats` undisturbed repeats, or EXTRA times as many rounds are over. after: called after
    every round with all repeats so far, to keep partial results. commands: whether the sides start programs.
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
    """Returns the CPU seconds of this process and of its children, such as a loader's workers, running or ended."""
    running = 0.0
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            with suppress(OSError):  # the child has just ended
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                running += sum(map(int, fields[11:15])) * TICK  # user and system, of the child and of its ended children
    return sum(os.times()[:4]) + running


def _busy() -> float | None:
    """Returns the CPU seconds of all programs since the machine started, including time that its host took away."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(ticks) for ticks in fields[:8])
    return (user + nice + system + irq + softirq + steal) * TICK

"""What the benchmarks share: arguments, timing side by side, a guard against other programs, the record.

Times of one program on one machine drift by a fifth within minutes, so nothing here is timed alone: what is compared is timed
in turns, in one process, and what is reported is a ratio of medians. Seconds are its context.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltrun import __version__
from ltrun.results.atomic import write_atomically

EXTRA = 2  # rounds are repeated up to so many times as often as asked, to replace disturbed repeats
CORES = os.cpu_count() or 1
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, the unit of /proc/stat

Flags = tuple[bool, bool, bool]
EXACT: Flags = (False, False, False)


# ------------------------------------------------------------------------------------------------------------- arguments


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the record there, again after every measurement")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice unless given")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="of ltrun's side")
    parser.add_argument("--compile", choices=["auto", "true", "false"], default="auto", help="of ltrun's side")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="undisturbed repeats of every measurement")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes, to see that the script works")
    return parser


def unmet(checks: Sequence[str], found: Mapping[str, float], below: bool = True) -> int:
    """1, and a line for each, where a number is below, or else above, what is asked for as NAME=NUMBER."""
    code = 0
    for name, _, limit in (check.partition("=") for check in checks):
        if name not in found:
            raise SystemExit(f"--check {name}: there is no such number; use {', '.join(found)}")
        if found[name] < float(limit) if below else found[name] > float(limit):
            print(f"{name}={found[name]:.2f} is {'below' if below else 'above'} {limit}")
            code = 1
    return code


def prepared(args: argparse.Namespace) -> torch.device:
    """The device, after the number of threads is set. Ends the program where the CPU lacks the arithmetic asked for."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream(device))  # for both sides, as in a run: see ltrun.engine.step.own_stream
    if device.type == "cpu" and args.precision == "bf16" and not has_bf16():
        sys.exit("--precision bf16: this CPU has no AVX-512 bf16 and would emulate it, which is slower than fp32; use fp32")
    if args.smoke:
        args.repeats, args.batch_size = min(args.repeats, 2), min(args.batch_size, 16)
    return device


# ---------------------------------------------------------------------------------------------------------------- timing


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


@contextmanager
def flags(wanted: Flags) -> Iterator[None]:
    """Settings of the whole process that the two sides of a comparison want differently."""
    old = current_flags()
    _set_flags(wanted)
    try:
        yield
    finally:
        _set_flags(old)


def current_flags() -> Flags:
    """cuDNN's search for the fastest algorithm; products rounded to TF32 in convolutions; and in matrix products."""
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _set_flags(wanted: Flags) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = wanted


PLAIN: Flags = (True, *current_flags()[1:])
"""torch's own settings, read before ltrun sets any, with the search that every reference repository switches on."""


# ---------------------------------------------------------------------------------------------------------------- record


class Record:
    """What a benchmark found, as JSON: device, versions, date, settings, every repeat of every measurement, results."""

    def __init__(self, benchmark: str, args: argparse.Namespace, device: torch.device):
        self.path: Path | None = args.json
        settings = {k: v for k, v in vars(args).items() if k not in ("json", "device")}
        self.content: dict[str, Any] = {
            "benchmark": benchmark,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "device": device_name(device),
            "cpu": cpu_name(),
            "cores": CORES,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "settings": settings,
            "complete": False,
            "times": {},
            "results": {},
        }

    @property
    def title(self) -> str:
        return f"{self.content['device']}, {self.content['threads']} threads, torch {torch.__version__}"

    def times(self, times: Mapping[str, Times]) -> None:
        self.content["times"] |= {name: side.summary() for name, side in times.items()}
        self._save()

    def result(self, **found: Any) -> None:
        self.content["results"] |= found
        self._save()

    def close(self) -> None:
        """Says how much other programs disturbed, and marks the record as complete."""
        sides = self.content["times"]
        disturbed, n = (sum(side[key] for side in sides.values()) for key in ("disturbed", "n"))
        alone = sum(side["disturbed"] == len(side["repeats"]) for side in sides.values())
        if disturbed:
            print(f"other programs disturbed {disturbed} repeats, which were set aside; {n} count")
        if alone:
            print(f"NOT QUIET: of {alone} among {len(sides)} measurements every repeat was disturbed and counts; measure again")
        self.content["complete"] = True
        self._save()

    def _save(self) -> None:
        if self.path is not None:
            write_atomically(self.path, json.dumps(self.content, indent=1).encode() + b"\n")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    kind = [name for name, there in {"AVX-512": torch.cpu._is_avx512_supported(), "bf16": has_bf16()}.items() if there]
    return f"{name} ({', '.join(kind) or 'no AVX-512'})"


def has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def versions() -> dict[str, str | None]:
    named = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    return {"ltrun": __version__, "python": platform.python_version(), "cuda": torch.version.cuda, **named}


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds >= 0.01 else f"{1000 * seconds:.3f} ms"

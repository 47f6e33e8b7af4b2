"""Every lever of `runtime.levers`, alone and together, by precision: milliseconds of a captured step, and whether it is right.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/levers.py --json levers.json [--time 160]

Each way to compute a step is timed in turns, in one process, against the step without levers: ResNet-32, batches of 128, erm,
random images with the class counts of CIFAR100-LT. Beside the levers are tried the other layout of images and inductor. First
the way must be right: from the same weights, the changes of every parameter and statistic in a few steps may differ from those
without the lever by a multiple of the distance that the other layout, a repeat, and the step in fp32 have from it. A step timed
against itself gives the noise. Ways that are faster are then joined, one by one. The ways run in a child process, so that one
which fails takes no other with it. `--words PRECISION` prints what the record says to switch on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import EXACT, Record, arguments, flags, prepared
from gpu.isolated import Child
from gpu.probe import profile
from gpu.verdicts import INDUCTOR, LAYOUT, NEEDS, NO_TIME, REFUSED, Row, greedy, noise, of_levers, verdict, words
from subject import Subject, job_of, sized
from timing import Times, alternate
from torch import Tensor

from ltrun.engine.levers import LEVERS, check
from ltrun.errors import ConfigError

STEPS = 20  # steps of a timed call
GATE_STEPS = 6  # steps whose results are compared: enough for a step to be captured and replayed
# A result is right within NOISE times the distances that roundings make, at least LEAST; a gradient left out is 1 away.
NOISE, LEAST, MOST = 3, 1e-4, 0.9
LIMIT, COMPILING = 60, 120  # seconds until a way counts as hung
Results = dict[str, Tensor]


@dataclass(frozen=True)
class Way:
    """A way to compute a step: a precision, and the names of what is switched on."""

    precision: str
    names: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return [f"runtime.precision={self.precision}", *words(self.names)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--time", type=float, default=1e9, metavar="SECONDS", help="begin no way after so many seconds")
    parser.add_argument("--warm", action="store_true", help="only fill inductor's cache")
    parser.add_argument("--words", metavar="PRECISION", help="print the overrides that the record of --json says to switch on")
    args = parser.parse_args(argv)
    if args.words:
        return advised(args)
    device = prepared(args)
    if args.warm:
        bench = Bench(args)
        for precision in ("bf16", "tf32"):
            bench.subject(Way(precision, (INDUCTOR,)))
        return 0
    record = Record("levers", args, device)
    print(record.title)
    child = Child(Bench, args)
    check = Check(args, record, child)
    for precision in precisions(device):
        check.alone(precision)
        check.together(precision)
    for precision in precisions(device)[: 1 if args.smoke else 2]:  # last, because it takes long
        check.add(precision, INDUCTOR, COMPILING)
    child.close()
    record.close()
    print("\n".join(record.content["results"]["advice"]))
    return int(any(found["control"].get("error", NO_TIME) != NO_TIME for found in check.found.values()))


def advised(args: argparse.Namespace) -> int:
    record = json.loads(args.json.read_text())
    print(" ".join(words(record["results"]["precisions"].get(args.words, {}).get("kept", ()))))
    return 0


def precisions(device: torch.device) -> list[str]:
    return ["bf16", "tf32", "fp32"] if device.type == "cuda" else ["fp32"]  # a CPU shows that the check works, and no more


class Check:
    """Measurements of all ways, one by one, and the record of their rows and verdicts."""

    def __init__(self, args: argparse.Namespace, record: Record, child: Child):
        self.record, self.child, self.until = record, child, time.monotonic() + args.time
        self.found: dict[str, dict[str, Any]] = {}

    def alone(self, precision: str) -> None:
        """Measures the step against itself, and then the other layout and each lever against it."""
        control = self.measured(precision, (), ())
        self.found[precision] = {"control": control, "noise": 0.0 if "error" in control else noise(control), "alone": {}}
        for name in (LAYOUT, *LEVERS):
            self.add(precision, name)

    def add(self, precision: str, name: str, limit: float = LIMIT) -> None:
        found = self.found[precision]
        if "error" not in found["control"]:
            found["alone"][name] = self.judged(precision, (name,), (), limit)
        self.save()

    def together(self, precision: str) -> None:
        """Joins the ways that are faster, and measures all that stay against the step without levers."""
        found = self.found[precision]

        def joined(ways: Sequence[str], fewer: Sequence[str]) -> Row:
            row = self.judged(precision, ways, fewer)
            found.setdefault("tried", []).append(row | {"ways": list(ways)})
            return row

        found["kept"] = greedy(found["alone"], joined)
        if len(found["kept"]) > 1:
            found["together"] = self.judged(precision, found["kept"], ())
        self.save()

    def judged(self, precision: str, ways: Sequence[str], against: Sequence[str], limit: float = LIMIT) -> Row:
        row = self.measured(precision, ways, against, limit)
        return row | {"verdict": verdict(row, self.found[precision]["noise"], precision)}

    def measured(self, precision: str, ways: Sequence[str], against: Sequence[str], limit: float = LIMIT) -> Row:
        left = self.until - time.monotonic()
        if left < 5:
            row: Row = {"error": NO_TIME}
        else:
            row = self.child((Way(precision, tuple(ways)), Way(precision, tuple(against))), min(left, limit))
        if "repeats" in row:
            self.record.times({f"{precision} {', '.join(ways) or 'none'} : {', '.join(against) or 'none'}": row.pop("repeats")})
        print(f"{precision} {' + '.join(ways) or 'itself':60} {shown(row)}", flush=True)
        return row

    def save(self) -> None:
        self.record.result(precisions=self.found, advice=list(of_levers(self.found)))


def shown(row: Row) -> str:
    if "error" in row:
        return row["error"][:160]
    kernels = f" {row['kernels']:4.0f} kernels, busy {row['busy_us']:5.0f} us" if "kernels" in row else ""
    first, third = row["quartiles"]
    ratio = f"{row['ratio']:.3f} ({first:.3f} to {third:.3f})"
    return f"{row['ms']:7.3f} ms, {ratio} of {row['reference_ms']:7.3f}, distance {row['distance']:.2f}{kernels}"


# -------------------------------------------------------------------------------------------------- in the child process


class Bench:
    """Handler of the child process: measures a way against another. Keeps the last ways, which later tasks compare with."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, prepared(args)
        self.kept: dict[Way, tuple[Subject, Results, float]] = {}
        self.allowed: dict[str, dict[str, float]] = {}

    def __call__(self, task: tuple[Way, Way]) -> Row:
        way, reference = task
        begun = time.perf_counter()
        try:
            subject, results, loss = self.subject(way, again=way == reference)
        except ConfigError as error:
            return {"error": f"{REFUSED if self.device.type == 'cuda' else NEEDS}: {error}"}
        setup = time.perf_counter() - begun
        other, expected, expected_loss = self.subject(reference)
        allowed = self.roundings(reference.precision)
        distance = max(apart(results[name], tensor) / allowed[name] for name, tensor in expected.items())
        row: Row = {"setup": setup, "distance": distance, "loss": abs(loss - expected_loss)}
        return row | self.timed(subject, other)

    def subject(self, way: Way, again: bool = False) -> tuple[Subject, Results, float]:
        """Returns a way's subject, ready to be timed, with the results and the loss of its first steps."""
        if way in self.kept and not again:
            return self.kept.setdefault(way, self.kept.pop(way))  # the way becomes the newest
        small = ["network=resnet8", *sized(1000, 100)] if self.args.smoke else sized(1000)
        chosen = ["method=erm", f"batch_size={self.args.batch_size}", "optimizer.lr=0.001", f"runtime.device={self.device}"]
        chosen += [*small, *way.words]
        check(job_of(*chosen).settings.runtime, self.device)
        with flags(EXACT):
            subject = Subject(self.device, *chosen, steps=GATE_STEPS)
            subject.flags = ("cudnn_search" in way.names, *subject.flags[1:])
        results, loss = followed(subject)
        if subject.warnings:
            raise RuntimeError("; ".join(subject.warnings))
        subject.steps = 2 if self.args.smoke else STEPS
        made = subject, results, loss
        if not again:
            self.kept[way] = made
            while len(self.kept) > 3:
                del self.kept[next(iter(self.kept))]
        return made

    def roundings(self, precision: str) -> dict[str, float]:
        """Returns parameter or statistic -> the distance that roundings of a precision explain."""
        if precision not in self.allowed:
            expected = self.subject(Way(precision))[1]
            ways = dict.fromkeys((Way(precision), Way(precision, (LAYOUT,)), Way("fp32")))
            others = [self.subject(way, again=True)[1] for way in ways]
            made = {name: max(apart(other[name], tensor) for other in others) for name, tensor in expected.items()}
            self.allowed[precision] = {name: min(MOST, max(LEAST, NOISE * distance)) for name, distance in made.items()}
        return self.allowed[precision]

    def timed(self, subject: Subject, other: Subject) -> Row:
        times = alternate({"way": subject.train, "other": other.train}, self.args.repeats, self.device)
        ratios = rounds(times["way"], times["other"])
        first, middle, third = (float(value) for value in np.quantile(ratios, (0.25, 0.5, 0.75)))
        steps = subject.steps or 1
        row: Row = {
            "ms": 1000 * times["way"].median / steps, "reference_ms": 1000 * times["other"].median / steps,
            "ratio": middle, "quartiles": [first, third], "repeats": times["way"],
        }  # fmt: skip
        if self.device.type == "cuda":
            measured = profile(subject)
            row |= {key: measured[key] for key in ("kernels", "busy_us", "groups_us")}
        return row


def rounds(times: Times, other: Times) -> list[float]:
    """Returns the ratios of the two times of each round; of quiet rounds, if there are any."""
    pairs = list(zip(times.repeats, other.repeats, strict=True))
    quiet = [pair for pair in pairs if not (pair[0].disturbed or pair[1].disturbed)]
    return [a.seconds / b.seconds for a, b in quiet or pairs]


def followed(subject: Subject) -> tuple[Results, float]:
    """Returns how each parameter and statistic of the network changes in the steps of an epoch, and the loss."""
    before = floats(subject)
    loss = float(subject.train()["loss"])
    return {name: tensor - before[name] for name, tensor in floats(subject).items()}, loss


def floats(subject: Subject) -> Results:
    state = subject.network.state_dict()
    return {name: tensor.detach().cpu().double() for name, tensor in state.items() if tensor.is_floating_point()}


def apart(found: Tensor, expected: Tensor) -> float:
    """Returns the relative distance of two changes; inf if one is not finite, or if only the expected one is zero."""
    difference, size = float((found - expected).norm()), float(expected.norm())
    if difference == 0:
        return 0.0
    return difference / size if size > 0 and difference < float("inf") else float("inf")


if __name__ == "__main__":
    sys.exit(main())

"""Throughput of several runs at once on one machine, in images per second.

    python benchmarks/pack.py --json benchmarks/results/pack.json
    python benchmarks/pack.py --at-once 1 4 8 --layouts NHWC NCHW --precision tf32 --repeats 1 --no-commands

Each measurement is the command `ltrun -m method=erm seed=0,... runtime.pack=K` with K runs, on random images with the class
counts of CIFAR100-LT. Images per second are the sum of the runs' records: training and evaluation, without start-up. The sum is
right only if the runs trained at the same time. overlap: the time during which all runs trained, over the mean time of a run.
steady: the sum of the runs' medians over their middle epochs, when all runs train and all warm-ups are over.
On a CPU a single run has all threads, and each of several runs has one. On CUDA the runs of the command share a process; K
commands `ltrun method=erm seed=k` side by side are timed beside it.

--layouts: NHWC is runtime.channels_last. It is the faster layout for one run, but may be the slower one for several. On an H200
in tf32, the host needs 3.9 of the 5.9 ms of a step to queue it, and queues one step at a time; in NCHW it needs 0.2 of 7.3 ms
(gpu/probe.py). Other kernels on the device may also stall cuDNN's batch normalisation in NHWC
(https://github.com/pytorch/pytorch/issues/80259).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from common import Record, arguments, prepared
from subject import run_command, runtime, sized
from timing import alternate

from ltrun.machine import cores
from ltrun.results.record import RunRecord

AT_ONCE = (1, 2, 4, 8, 16)
LAYOUTS = {"NHWC": "runtime.channels_last=true", "NCHW": "runtime.channels_last=false"}


@dataclass(frozen=True)
class Measured:
    """All runs together. rate: images per second by their records. steady: by their middle epochs. overlap: see above."""

    rate: float
    steady: float
    overlap: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument(
        "--at-once", nargs="+", type=int, metavar="K", help="runs at once, beside 1; on a CPU up to its cores unless given"
    )
    parser.add_argument("--epochs", type=int, help="epochs of a run; 1 on a CPU unless given, 20 on CUDA")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=["NHWC"], help="memory layouts; NHWC unless given")
    parser.add_argument("--largest-class", type=int, help="training images of the largest class; 500 unless given")
    parser.add_argument("--no-commands", action="store_true", help="on CUDA: leave out commands side by side")
    args = parser.parse_args(argv)
    device = prepared(args)
    most = AT_ONCE[-1] if device.type == "cuda" else cores()
    args.at_once = sorted({1, *(args.at_once or (k for k in AT_ONCE if k <= most))})
    args.epochs = args.epochs or (20 if device.type == "cuda" else 1)
    if args.smoke:
        args.at_once, args.epochs, args.largest_class, args.repeats = args.at_once[:2], 1, 100, 1
    record = Record("pack", args, device)
    print(f"{record.title}, {args.precision}, compile={args.compile}")
    found: dict[str, list[Measured]] = defaultdict(list)
    commands = sides_of(args, beside=device.type == "cuda" and not args.no_commands)
    sides = {
        name: measurement(started, k, found[name], lambda: record.result(sides=rates(found)))
        for name, (k, started) in commands.items()
    }
    times = alternate(sides, args.repeats, device, record.times, warm_up=False, commands=True)
    results = rates(found)
    for name, (k, _) in commands.items():
        results[name]["wall_seconds_a_run"] = times[name].median / k
    record.result(sides=results)
    for name, values in results.items():
        print(
            f"{name:>14}: {values['images_per_second']:6.0f} images/s, {values['times_one_run']:.2f} times one run, "
            f"steady {values['steady']:6.0f}, overlap {values['overlap']:.0%}, {values['wall_seconds_a_run']:.1f} s per run, "
            "start-up included"
        )
    record.close()
    return 0


def sides_of(args: argparse.Namespace, beside: bool) -> dict[str, tuple[int, list[list[str]]]]:
    """Returns name of a measurement -> its runs at once and the commands that train them; `beside`, also side by side."""
    forms = {"at once": sweep, "commands": apart} if beside else {"at once": sweep}
    found = {}
    for layout in args.layouts:
        note = "" if layout == "NHWC" else f", {layout}"
        for k, form in ((k, form) for k in args.at_once for form in forms if k > 1 or form == "at once"):
            found[f"{k} {form}{note}"] = k, [[*command, LAYOUTS[layout]] for command in forms[form](args, k)]
    return found


def rates(found: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, Any]]:
    """Returns the measurements so far, by side. times_one_run: of one run in the first layout."""
    rate = {name: median(one.rate for one in measured) for name, measured in found.items() if measured}
    single = next(iter(rate.values()))
    return {
        name: {
            "images_per_second": rate[name],
            "times_one_run": rate[name] / single,
            "steady": median(one.steady for one in found[name]),
            "overlap": median(one.overlap for one in found[name]),
            "repeats": [(one.rate, one.overlap) for one in found[name]],
        }
        for name in rate
    }


def words(args: argparse.Namespace) -> list[str]:
    chosen = ["method=erm", f"epochs={args.epochs}", f"batch_size={args.batch_size}", *runtime(args)]
    chosen += sized(1000, args.largest_class)
    return [*chosen, "network=resnet8"] if args.smoke else chosen


def sweep(args: argparse.Namespace, k: int) -> list[list[str]]:
    """Returns one command that trains k seeds at once."""
    return [["-m", *words(args), f"seed={','.join(map(str, range(k)))}", f"runtime.pack={k}"]]


def apart(args: argparse.Namespace, k: int) -> list[list[str]]:
    """Returns a command for each of k seeds."""
    return [[*words(args), f"seed={seed}"] for seed in range(k)]


def measurement(commands: list[list[str]], k: int, found: list[Measured], after: Callable[[], None]) -> Callable[[], None]:
    """Returns a call that starts the commands at the same time, appends its measurement to `found`, and then calls `after`."""

    def call() -> None:
        with tempfile.TemporaryDirectory(prefix="ltrun-benchmark-") as name, ThreadPoolExecutor(len(commands)) as threads:
            folders = [Path(name) / str(i) for i in range(len(commands))]
            done = list(threads.map(lambda command, folder: run_command(*command, folder=folder), commands, folders))
            found.append(measured({path: record for _, written in done for path, record in written.items()}, k))
        after()

    return call


def measured(records: Mapping[Path, RunRecord], k: int) -> Measured:
    """Returns the measurement of k runs. records: folder -> record."""
    assert len(records) == k
    ends = [(path / "metrics.jsonl").stat().st_mtime for path in records]  # the line of the last epoch
    seconds = [record.provenance["seconds"] for record in records.values()]
    begins = [end - lasted for end, lasted in zip(ends, seconds, strict=True)]
    rate = sum(record.provenance["images_per_second"] for record in records.values())
    return Measured(rate, sum(map(steady, records)), max(0.0, min(ends) - max(begins)) / mean(seconds))


def steady(folder: Path) -> float:
    """Returns a run's median images per second after a third of its epochs and before the last sixth."""
    epochs = [json.loads(line)["images_per_second"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return median(epochs[len(epochs) // 3 : len(epochs) - len(epochs) // 6])


if __name__ == "__main__":
    sys.exit(main())

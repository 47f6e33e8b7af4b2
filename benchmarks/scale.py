"""Scaling of samplers, statistics, metrics and reports with the numbers of classes, images and runs, on synthetic rows.

    python benchmarks/scale.py --threads 1 --json benchmarks/results/scale.json

Every sampler of conf/resampling draws an epoch: from ten thousand to ten million images of 1,000 classes, and a million images
of 10 to 8,142 classes, the number of iNaturalist 2018. Beside the samplers it times the statistics of the classes, the plan of
an epoch's batches, the metrics of a test set, and `ltrun report` over many runs and many classes. For each it prints the
time of the fastest repeat, the peak of additional memory, and growth: the slope of log time over log size between the two
largest sizes. 1 is linear; random access to memory that no longer fits a cache raises it up to 1.6. It also counts the
instructions that Python executes, whose number would grow with a loop over images. The exit code is 1 if there is such a loop;
the last line is `largest growth ...`.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from common import Record, arguments, prepared
from omegaconf import OmegaConf
from timing import Times, alternate

from ltrun.config import catalogue
from ltrun.config.bind import bind
from ltrun.engine.stage import batches
from ltrun.metrics import SINGLE_LABEL
from ltrun.parts import Sampler
from ltrun.report.collect import collect
from ltrun.report.group import tables
from ltrun.report.render import FORMATS
from ltrun.results.address import address
from ltrun.results.record import RunRecord
from ltrun.tasks.single_label import measure
from ltrun.types import ClassStats, Clock, Labels

IMAGES = (10_000, 100_000, 1_000_000, 10_000_000)  # with MIDDLE classes
CLASSES = (10, 100, 1_000, 8_142)  # with MIDDLE_IMAGES images, 5,000 test images or 20 runs
MIDDLE, MIDDLE_IMAGES = 1_000, 1_000_000
TEST_IMAGES = (1_000, 10_000, 100_000)  # with 100 classes
RUNS = (10, 100, 1_000)  # with 100 classes
COUNTED = (2_000, 16_000)  # numbers of images for which Python's instructions are counted

Calls = dict[str, Callable[[], object]]
Clear = Path("/proc/self/clear_refs")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    device = prepared(args)
    record = Record("scale", args, device)
    print(record.title)
    cut = 2 if args.smoke else None
    growth: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for axis, sizes, make in (
            ("images", IMAGES[:cut], lambda n: rows(n, MIDDLE, device)),
            ("classes", CLASSES[:cut], lambda n: rows(MIDDLE_IMAGES // (100 if args.smoke else 1), n, device)),
            ("test images", TEST_IMAGES[:cut], lambda n: metrics(n, 100)),
            ("classes of a test set", CLASSES[:cut], lambda n: metrics(5_000, n)),
            ("runs", RUNS[:cut], lambda n: report(Path(folder) / f"runs{n}", n, 100)),
            ("classes of a run", CLASSES[:cut], lambda n: report(Path(folder) / f"classes{n}", 20, n)),
        ):
            growth |= along(axis, sizes, make, args, device, record)
    counts = instructions(device)
    record.result(instructions=counts)
    name, worst = max(growth.items(), key=lambda item: item[1])
    record.result(growth=growth)
    record.close()
    looping = [name for name, (few, many) in counts.items() if many > few]
    print(
        f"Python's instructions for {COUNTED[0]:,} and {COUNTED[1]:,} images: " + ("; ".join(looping) or "the same everywhere")
    )
    print(f"largest growth {worst:.2f} ({name})")
    return int(bool(looping))


def parser() -> argparse.ArgumentParser:
    made = arguments(__doc__)
    made.set_defaults(repeats=3)
    return made


def along(
    axis: str,
    sizes: Sequence[int],
    make: Callable[[int], Calls],
    args: argparse.Namespace,
    device: torch.device,
    record: Record,
) -> dict[str, float]:
    """Times the calls at every size of one axis. Returns name -> growth."""
    found: dict[str, list[tuple[int, float, int | None]]] = {}
    for size in sizes:
        calls = make(size)
        memory = {name: peak(call, device) for name, call in calls.items()}
        times: Mapping[str, Times] = alternate(calls, args.repeats, device, warm_up=False)
        record.times({f"{name}, {size} {axis}": side for name, side in times.items()})
        record.result(**{f"peak bytes, {size} {axis}": memory})
        for name, side in times.items():
            found.setdefault(name, []).append((size, min(side.seconds), memory[name]))
    slopes = {f"{name}, {axis}": slope(points) for name, points in found.items()}
    width = max(map(len, found))
    print(f"\n{axis:{width}}" + "".join(f"{size:>22,}" for size in sizes) + "   growth")
    for name, points in found.items():
        print(f"{name:{width}}" + "".join(f"{shown(*point[1:]):>22}" for point in points) + f"{slopes[f'{name}, {axis}']:9.2f}")
    return slopes


def slope(points: Sequence[tuple[int, float, int | None]]) -> float:
    (small, before, _), (large, after, _) = points[-2:]
    return math.log(after / before) / math.log(large / small)


def shown(seconds: float, memory: int | None) -> str:
    return f"{1000 * seconds:,.1f} ms" + ("" if memory is None else f" {memory / 1e6:,.0f} MB")


# ----------------------------------------------------------------------------------------------------------- what is timed


def rows(images: int, classes: int, device: torch.device) -> Calls:
    """Returns a call for each sampler, and for all other work on every row once an epoch or once a run."""
    counts = torch.logspace(0, -2, classes, dtype=torch.float64)  # imbalance 100
    counts = (counts * (images / counts.sum())).long().clamp(min=1)
    counts[0] += images - counts.sum()
    labels = torch.arange(classes).repeat_interleave(counts)[torch.randperm(images)].to(device)
    targets, stats = Labels.hard(labels), ClassStats(counts)
    calls: Calls = {}
    for option in catalogue.options("resampling"):
        path = next(folder for folder in catalogue.folders() if (folder / "resampling" / f"{option.name}.yaml").is_file())
        node: Any = OmegaConf.to_container(OmegaConf.load(str(path / "resampling" / f"{option.name}.yaml")))
        found = bind(node["sampler"], "sampler", Sampler)
        if SINGLE_LABEL not in found.target.accepts:
            continue
        sampler = found.build({"stats": stats, "num_classes": classes}).to(device)
        calls[f"resampling={option.name}"] = lambda sampler=sampler: sampler.draw(
            targets, Clock("train", 9, 10), generator(device)
        )
    plan = torch.randperm(images, device=device)
    calls["class statistics"] = lambda: statistics(targets, classes)
    calls["batches of 128"] = lambda: batches(plan, 128)
    return calls


def generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def statistics(targets: Labels, classes: int) -> object:
    stats = ClassStats.of(targets, classes)
    return stats.prior, stats.shots(), stats.imbalance_factor, stats.gini


def metrics(images: int, classes: int) -> Calls:
    scores, labels = torch.randn(images, classes), torch.randint(classes, (images,))
    stats = ClassStats(torch.randint(1, 500, (classes,)))
    return {"metrics": lambda: measure(scores, labels, stats)}


def write_runs(folder: Path, runs: int, classes: int) -> None:
    """Writes records as training does: five seeds of each configuration."""
    each = torch.rand(classes).tolist()
    split = dict.fromkeys(("accuracy", "macro", "many", "medium", "few", "ece"), 0.5) | {"error": 0.5, "per_class": each}
    for run in range(runs):
        mark = f"{run // 5:08x}"
        RunRecord(
            dataset="synthetic",
            method="erm",
            changes={"optimizer.lr": 0.001 * (run // 5)},
            choices={"margin": "none"},
            config={"optimizer": {"lr": 0.001 * (run // 5)}},
            seed=run % 5,
            fingerprint=mark,
            headline="plain",
            selection="last",
            predictors={"plain": {"sees": [], "splits": {"test": split | {"images": 10_000}}}},
            classes={"names": [f"class {c}" for c in range(classes)], "counts": [10] * classes},
            stages=[{"name": "train", "epochs": 200, "seconds": 1.0}],
        ).save(address(folder, "synthetic", "erm", mark, run % 5))


def report(folder: Path, runs: int, classes: int) -> Calls:
    """Writes runs, and returns a call that reads their records and renders their tables as Markdown."""
    write_runs(folder, runs, classes)
    return {"report": lambda: FORMATS["markdown"](tables(collect([folder])[0]))}


# ------------------------------------------------------------------------------------------------- memory and instructions


def peak(call: Callable[[], object], device: torch.device) -> int | None:
    """Returns the bytes that a call adds to memory at its peak; None if the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return int(torch.cuda.max_memory_allocated(device) - before)
    try:
        Clear.write_text("5")  # resets the high-water mark
        before = status("VmRSS")
        call()
        return max(0, status("VmHWM") - before)
    except OSError:
        call()
        return None


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def instructions(device: torch.device) -> dict[str, list[int]]:
    """Returns name -> numbers of instructions that Python executes for few and for many images."""
    found: dict[str, list[int]] = {}
    for images in COUNTED:
        for name, call in rows(images, 10, device).items():
            if name != "batches of 128":  # this call loops over batches, not images
                call()  # one-time work
                with counted() as count:
                    call()
                found.setdefault(name, []).append(count[0])
    return found


@contextmanager
def counted() -> Iterator[list[int]]:
    count = [0]

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        count[0] += event == "opcode"
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(old)


if __name__ == "__main__":
    sys.exit(main())

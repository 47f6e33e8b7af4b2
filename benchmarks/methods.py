"""Training cost of each method relative to erm, and its peak memory.

    python benchmarks/methods.py --threads 1 --json benchmarks/results/methods.json
    python benchmarks/methods.py --only ldam_drw ride --steps 4

Every preset of conf/method trains some steps of each of its stages on random images with the class counts of CIFAR100-LT, in
turns with erm.

step: the time of a step over erm's, averaged over the stages with their lengths as weights. explained: the same of the
multiplications in the forward and backward passes of these steps, counted on the CPU. above: step over explained, the cost of
all else; the table marks what is more than 15 % above. run: the time of a whole run over erm's, from the preset's own epochs
and the number of images that its sampler draws. memory: on a CPU the peak of a process of its own, from its start; on CUDA the
peak of allocated memory. The row of erm, timed against itself, shows the noise.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from common import CPU, Record, arguments, prepared
from subject import Subject, runtime, sized
from timing import alternate
from torch.utils.flop_counter import FlopCounterMode

from ltrun.config import catalogue

BASE = "erm"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="time only these presets")
    parser.add_argument("--steps", type=int, help="steps per repeat; 1 on a CPU unless given, 40 on CUDA")
    args = parser.parse_args(argv)
    device = prepared(args)
    args.steps = 1 if args.smoke else args.steps or (40 if device.type == "cuda" else 1)
    presets = [option.name for option in catalogue.options("method")]
    if unknown := set(args.only or ()) - set(presets):
        raise SystemExit(f"--only: there is no method {', '.join(sorted(unknown))}; `ltrun methods method` lists them")
    names = [BASE, *(name for name in args.only or presets if name != BASE)]
    record = Record("methods", args, device)
    print(f"{record.title}, {args.precision}, compile={args.compile}")
    found: dict[str, Any] = {}
    for name, measured in each(names, args, device):
        found[name] = measured | {"memory": measured["peak_memory_bytes"] / found.get(BASE, measured)["peak_memory_bytes"]}
        record.content["times"] |= measured.pop("times")
        record.result(methods=found)
        said = "".join(f"; {sentence}" for sentence in measured["warnings"])
        peak = measured["peak_memory_bytes"] / 2**20
        ratios = "  ".join(f"{key} {measured[key]:5.2f}" for key in ("step", "explained", "above", "run"))
        print(f"{name:34} {ratios}  {peak:6.0f} MiB{said}", flush=True)
    record.close()
    return 0


def each(names: Sequence[str], args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each preset with its measurements; on a CPU, measures it in its own process, because memory is per process."""
    if device.type == "cuda":
        yield from ((name, measure(name, args, device)) for name in names)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        yield from ((name, pool.submit(measure, name, args, device).result()) for name in names)


def measure(name: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Measures one preset: memory first, before other measurements allocate any, then time."""
    torch.set_num_threads(args.threads or torch.get_num_threads())
    words = (f"batch_size={args.batch_size}", *sized(100), *runtime(args))
    memory = peak(lambda: Subject(device, f"method={name}", *words, steps=args.steps), device)
    subject, erm = (Subject(device, f"method={method}", *words, steps=args.steps) for method in (name, BASE))
    counts = operations(name, words, args.steps)
    erm.settle()
    erm_work = erm.epoch_images * erm.stages[0].epochs
    cost, passes, work = 0.0, 0.0, 0
    times: dict[str, Any] = {}
    for index, stage in enumerate(subject.stages):
        if index:
            subject.enter(index)
        subject.settle()
        sides = alternate({BASE: erm.train, stage.name: subject.train}, args.repeats, device)
        images = subject.epoch_images * stage.epochs
        cost += images * sides[stage.name].median / sides[BASE].median
        passes += images * counts[index]
        work += images
        times |= {f"{name}: {stage.name}": sides[stage.name].summary(), f"{name}: {stage.name}, erm": sides[BASE].summary()}
    return {
        "step": cost / work,
        "explained": passes / work,
        "above": cost / passes,
        "run": cost / erm_work,
        "peak_memory_bytes": memory,
        "warnings": subject.warnings,
        "times": times,
    }


def operations(name: str, words: Sequence[str], steps: int) -> list[float]:
    """Returns, for each stage of a preset, the multiplications of its steps' forward and backward passes over those of erm."""
    eager = (*words, "runtime.device=cpu", "runtime.precision=fp32", "runtime.compile=false")
    subject, erm = (Subject(CPU, f"method={method}", *eager, steps=steps) for method in (name, BASE))
    base, found = multiplied(erm), []
    for index in range(len(subject.stages)):
        if index:
            subject.enter(index)
        found.append(multiplied(subject) / base)
    return found


def multiplied(subject: Subject) -> int:
    """Returns the floating-point operations of convolutions and matrix products while a subject trains."""
    with FlopCounterMode(display=False) as counter:
        subject.train()
    return counter.get_total_flops()


def peak(make: Callable[[], Subject], device: torch.device) -> int:
    """Returns the peak memory in bytes over all stages of a subject, which is made here and freed afterwards."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    subject = make()
    for index in range(len(subject.stages)):
        if index:
            subject.enter(index)
        subject.settle()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - before
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())

"""Profile of a training step computed in several ways: milliseconds, kernels and busy time of the device.

    PYTHONPATH=benchmarks python benchmarks/gpu/probe.py --json probe.json

The precisions, eager steps, and a step without one of its pieces, to see the cost of the piece; such a step may be wrong.
levers.py measures what runs can switch on.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from common import Record, arguments, prepared
from subject import Subject, kernels, sized
from timing import Times, synchronise, timed

from ltrun.engine.step import Graph
from ltrun.types import Streams

EPOCHS = 8  # epochs that are timed
STEPS = 10  # steps that are profiled
QUEUED = 20  # steps for which the host's queueing is timed
RUN = 17_000  # steps of a run of 200 epochs
GROUPS = {  # group of kernels -> parts of their names
    "convolution": (
        "conv", "xmma", "cutlass", "sm80", "sm90", "wgrad", "dgrad", "implicit", "gemm", "winograd", "fft", "cudnn::cnn",
    ),
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw", "bnorm"),
    "layout": ("nchwToNhwc", "nhwcToNchw", "transpose", "Transpose"),
    "memory": ("Memcpy", "Memset", "copy_kernel", "CatArray"),
    "optimizer": ("FusedSgd", "multi_tensor", "FusedOptimizer"),
    "inductor": ("triton_",),
    "elementwise": ("elementwise", "vectorized"),
    "reduction": ("reduce",),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ pieces left out


def without_monitor(subject: Subject) -> AbstractContextManager[Any]:
    return patch.object(subject.stage.monitor, "see", lambda *_: None)


def without_copies(subject: Subject) -> AbstractContextManager[Any]:
    """Replays each graph with the batch that it was captured with."""

    def replay(graph: Graph, streams: Streams) -> None:
        graph.graph.replay()

    return patch.object(Graph, "replay", replay)


# ----------------------------------------------------------------------------------------------------------------- ways


@dataclass(frozen=True)
class Way:
    """A way to compute a step. compile: runtime.compile. changed: changes a subject, in a context around all steps."""

    precision: str = "fp32"
    compile: str = "auto"
    changed: Callable[[Subject], AbstractContextManager[Any]] = lambda subject: nullcontext()
    note: str = ""

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.precision, self.note)))

    @property
    def words(self) -> list[str]:
        return [f"runtime.precision={self.precision}", f"runtime.compile={self.compile}"]


WAYS = [
    Way(),
    Way("tf32"),
    Way("bf16"),
    Way("tf32", changed=without_monitor, note="no monitor"),
    Way("tf32", changed=without_copies, note="nothing copied in"),
    Way(compile="false", note="no graph"),
]


def ways(device: torch.device) -> list[Way]:
    """Returns the ways; on a CPU in fp32."""
    if device.type == "cuda":
        return WAYS
    there = [replace(way, precision="fp32") for way in WAYS]
    return list({way.name: way for way in there}.values())


# ------------------------------------------------------------------------------------------------------------ measuring


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("probe", args, device)
    print(f"{record.title}\n{'':32}  ms/step  a run  kernels  busy us  set-up")
    found: dict[str, dict[str, Any]] = {}
    for way in ways(device):
        try:
            found[way.name] = measure(way, args, device, record)
        except Exception as error:  # record the error of one way, such as a missing kernel, and measure the others
            traceback.print_exc()
            found[way.name] = {"error": f"{type(error).__name__}: {error}"[:600]}
        record.result(ways=found)
        print(f"{way.name:32} {shown(found[way.name])}", flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    record.close()
    return int(any("error" in row for row in found.values()))


def shown(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"FAILED {row['error'][:160]}"
    said = "; ".join(row["warnings"])[:150]
    kernels, busy = row.get("kernels", 0), row.get("busy_us", 0)
    return f"{row['ms']:8.3f} {RUN * row['ms'] / 1000:5.1f}s {kernels:8.0f} {busy:8.0f} {row['setup']:6.1f}s  {said}"


def measure(way: Way, args: argparse.Namespace, device: torch.device, record: Record) -> dict[str, Any]:
    """Returns the times of a step in milliseconds and microseconds, its set-up in seconds; device times on CUDA only."""
    begun = time.perf_counter()
    words = ["method=erm", f"batch_size={args.batch_size}", *way.words, *sized(1000, 100 if args.smoke else None)]
    words += ["network=resnet8"] if args.smoke else []
    subject = Subject(device, *words, steps=2 if args.smoke else None)
    with way.changed(subject):
        subject.settle()
        synchronise(device)
        row: dict[str, Any] = {"setup": time.perf_counter() - begun, "warnings": subject.warnings}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        times = Times([timed(subject.train, device) for _ in range(1 if args.smoke else EPOCHS)])
        record.times({way.name: times})
        steps = subject.steps or -(-subject.epoch_images // args.batch_size)
        row |= {
            "ms": 1000 * times.median / steps,
            "host_ms": host(subject, 2 if args.smoke else QUEUED),
            "graphs": len(subject.stage.step.graphs),
        }
        if device.type == "cuda":
            row |= {"peak_MiB": torch.cuda.max_memory_allocated(device) / 2**20, **profile(subject)}
    return row


def host(subject: Subject, steps: int) -> float:
    """Returns the host's milliseconds to queue a step, the mean of so many from an idle device; on a CPU, to compute it."""
    size, device = subject.job.settings.batch_size, subject.run.context.device
    batches = list(subject.train_set.open([torch.arange(size)] * steps))
    synchronise(device)
    begun = time.perf_counter()
    for batch in batches:
        subject.stage.step({"main": batch})
    seconds = time.perf_counter() - begun
    synchronise(device)
    return 1000 * seconds / steps


def profile(subject: Subject) -> dict[str, Any]:
    """Returns the kernels of a step and their microseconds, in all, by group, and for the longest kernels."""
    steps, subject.steps = subject.steps, STEPS
    ran = kernels(subject.train)
    subject.steps = steps
    counts = Counter(name for name, _ in ran)
    times, groups = defaultdict[str, float](float), defaultdict[str, float](float)
    for name, microseconds in ran:
        times[name] += microseconds
        groups[group_of(name)] += microseconds
    return {
        "kernels": len(ran) / STEPS,
        "busy_us": sum(times.values()) / STEPS,
        "groups_us": {name: round(total / STEPS, 1) for name, total in longest(groups)},
        "top": [[name[:140], round(total / STEPS, 1), counts[name] / STEPS] for name, total in longest(times)[:25]],
    }


def longest(times: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(times.items(), key=lambda item: -item[1])


def group_of(kernel: str) -> str:
    return next((group for group, parts in GROUPS.items() if any(part in kernel for part in parts)), "other")


if __name__ == "__main__":
    sys.exit(main())

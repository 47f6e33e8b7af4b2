"""Profile of a training step computed in several ways: milliseconds, kernels and busy time of the device.

    PYTHONPATH=benchmarks python benchmarks/gpu/probe.py basic --json probe.json

`basic`: precisions, layouts of the images (NHWC is channels_last), cuDNN's search for the fastest algorithm, and a step without
one of its pieces, to see the cost of the piece; such a step may compute wrong numbers. `compiled`: inductor, whose first step
takes minutes; --warm takes only that step, so that a later call finds the programs in inductor's cache.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from common import Record, arguments, prepared
from subject import Subject, kernels, sized
from timing import Times, synchronise, timed
from torch import Tensor, nn
from torch.nn import functional as F

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


def without_counters(subject: Subject) -> AbstractContextManager[Any]:
    """Stops batch normalisation from counting its batches."""
    for module in subject.network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.num_batches_tracked = None
    return nullcontext()


def without_monitor(subject: Subject) -> AbstractContextManager[Any]:
    return patch.object(subject.stage.monitor, "see", lambda *_: None)


def without_copies(subject: Subject) -> AbstractContextManager[Any]:
    """Replays each graph with the batch that it was captured with."""

    def replay(graph: Graph, streams: Streams) -> None:
        graph.graph.replay()

    return patch.object(Graph, "replay", replay)


def native_normalisation(subject: Subject) -> AbstractContextManager[Any]:
    """Replaces cuDNN's kernels of batch normalisation by torch's own."""

    def native(
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor,
        bias: Tensor,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        return torch.native_batch_norm(x, weight, bias, mean, var, training, momentum, eps)[0]

    return patch.object(F, "batch_norm", native)


# ----------------------------------------------------------------------------------------------------------------- ways


@dataclass(frozen=True)
class Way:
    """A way to compute a step. compile: runtime.compile. search: whether cuDNN searches for the fastest algorithm.

    changed: changes a subject; its context is entered around all steps.
    """

    precision: str = "fp32"
    channels_last: bool = True
    compile: str = "auto"
    search: bool = False
    changed: Callable[[Subject], AbstractContextManager[Any]] = lambda subject: nullcontext()
    note: str = ""

    @property
    def name(self) -> str:
        notes = [self.note, "search" * self.search, {"false": "no graph", "true": "inductor"}.get(self.compile, "")]
        return ", ".join([f"{self.precision} {'NHWC' if self.channels_last else 'NCHW'}", *filter(None, notes)])

    @property
    def words(self) -> list[str]:
        last = str(self.channels_last).lower()
        return [f"runtime.precision={self.precision}", f"runtime.channels_last={last}", f"runtime.compile={self.compile}"]


WAYS = {
    "basic": [
        Way(),
        Way("tf32"),
        Way("bf16"),
        Way(channels_last=False),
        Way("tf32", channels_last=False),
        Way(search=True),
        Way("tf32", search=True),
        Way("tf32", channels_last=False, search=True),
        Way("bf16", search=True),
        Way("tf32", changed=native_normalisation, note="native batch norm"),
        Way("tf32", changed=without_counters, note="no batch counters"),
        Way("tf32", changed=without_monitor, note="no monitor"),
        Way("tf32", changed=without_copies, note="nothing copied in"),
        Way(compile="false"),
    ],
    "compiled": [Way("bf16", compile="true"), Way("tf32", compile="true")],
}


def ways(kind: str, device: torch.device) -> list[Way]:
    """Returns the ways of a kind; on a CPU without cuDNN's search and precisions other than fp32."""
    if device.type == "cuda":
        return WAYS[kind]
    there = [replace(way, precision="fp32", search=False) for way in WAYS[kind]]
    return list({way.name: way for way in there}.values())


# ------------------------------------------------------------------------------------------------------------ measuring


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("kind", choices=WAYS)
    parser.add_argument("--warm", action="store_true", help="set up each way and measure nothing")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("probe", args, device)
    print(f"{record.title}\n{'':32}  ms/step  a run  kernels  busy us  set-up")
    found: dict[str, dict[str, Any]] = {}
    for way in ways(args.kind, device):
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
    if "ms" not in row:
        return f"set up in {row['setup']:.1f} s"
    said = "; ".join(row["warnings"])[:150]
    kernels, busy = row.get("kernels", 0), row.get("busy_us", 0)
    return f"{row['ms']:8.3f} {RUN * row['ms'] / 1000:5.1f}s {kernels:8.0f} {busy:8.0f} {row['setup']:6.1f}s  {said}"


def measure(way: Way, args: argparse.Namespace, device: torch.device, record: Record) -> dict[str, Any]:
    """Returns the times of a step in milliseconds and microseconds, its set-up in seconds; device times on CUDA only."""
    begun = time.perf_counter()
    words = ["method=erm", f"batch_size={args.batch_size}", *way.words, *sized(1000, 100 if args.smoke else None)]
    words += ["network=resnet8"] if args.smoke else []
    with changed(way, Subject(device, *words, steps=2 if args.smoke else None)) as subject:
        subject.settle()
        synchronise(device)
        row: dict[str, Any] = {"setup": time.perf_counter() - begun, "warnings": subject.warnings}
        if args.warm:
            return row
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


@contextmanager
def changed(way: Way, subject: Subject) -> Iterator[Subject]:
    subject.flags = (way.search, *subject.flags[1:])
    with way.changed(subject):
        yield subject


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

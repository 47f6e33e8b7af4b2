"""Images a second of 1, 4 and 8 runs that share a GPU as lanes of one process, by precision, layout and levers.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/lanes.py --json lanes.json [--time 80] [--levers levers.json]

Each lane is a run of erm with ResNet-32, a thread with a CUDA stream of its own, as with `runtime.pack`; lanes take turns at
queueing steps. All lanes begin together, and then train for the same seconds (`../pack.py` times whole commands).
With --levers also the levers that its record says to switch on, and `rows_in_graph`, which spares the host of many lanes. Each
measurement runs in a child process, which is ended if its lanes hang.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch
from common import EXACT, Record, arguments, flags, prepared
from gpu.isolated import Child
from gpu.verdicts import LAYOUT, NO_TIME, Row, of_lanes, words
from subject import Subject, sized

from ltrun.engine.step import WARM_UP, own_stream
from ltrun.engine.turns import Turns, released

STEPS = 20  # steps of an epoch of a lane
LIMIT = 40  # seconds until lanes count as hung
HOSTS = "rows_in_graph"  # the lever that spares the host, which many lanes share


@dataclass(frozen=True)
class Task:
    """lanes: runs at once. words: the overrides of each. seconds: of training."""

    lanes: int
    words: tuple[str, ...]
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--at-once", nargs="+", type=int, metavar="K", default=[1, 4, 8], help="runs at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="of training in each measurement")
    parser.add_argument("--time", type=float, default=1e9, metavar="SECONDS", help="begin no measurement after so many seconds")
    parser.add_argument("--levers", default="", metavar="RECORD", help="the record of levers.py")
    args = parser.parse_args(argv)
    device, until = prepared(args), time.monotonic() + args.time
    if args.smoke:
        args.at_once, args.seconds = args.at_once[:2], 0.5
    record = Record("lanes", args, device)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**20 if device.type == "cuda" else 0.0
    print(record.title)
    found: dict[str, dict[str, Row]] = {}
    child = Child(Bench, args)
    for name, chosen in ways(args, device).items():
        found[name] = {}
        for k in args.at_once:
            left = until - time.monotonic()
            row = child(Task(k, chosen, args.seconds), min(left, LIMIT)) if left > 5 else {"error": NO_TIME}
            found[name][str(k)] = row
            record.result(lanes=found, advice=list(of_lanes(found, memory)))
            print(f"{name}, {k} at once: {row.get('error') or shown(row)}", flush=True)
    child.close()
    record.close()
    print("\n".join(record.content["results"]["advice"]))
    return int(any(row.get("error", NO_TIME) != NO_TIME for rows in found.values() for row in rows.values()))


def shown(row: Row) -> str:
    return f"{row['images_per_second']:.0f} images/s, at most {row['peak_MiB']:.0f} MiB"


def ways(args: argparse.Namespace, device: torch.device) -> dict[str, tuple[str, ...]]:
    """Returns name -> overrides of the ways that are measured, the most valuable first."""
    precisions = ("bf16", "tf32") if device.type == "cuda" else ("fp32",)
    found = {f"{p} NHWC": (f"runtime.precision={p}",) for p in precisions}
    path = Path(args.levers)
    levers = json.loads(path.read_text())["results"].get("precisions", {}) if path.is_file() else {}
    for precision in precisions:
        names = names_of(levers.get(precision, {}))
        if names:
            found[f"{precision} {' '.join(words(names))}"] = (f"runtime.precision={precision}", *words(names))
    return found | {f"{p} NCHW": (f"runtime.precision={p}", LAYOUT) for p in precisions[::-1]}


def names_of(found: dict[str, Any]) -> list[str]:
    """Returns what helps one run, and the lever that helps the host, unless it did not work."""
    kept, row = list(found.get("kept", ())), found.get("alone", {}).get(HOSTS)
    fit = row is not None and row["verdict"] in ("faster", "no faster", "slower")
    return [*kept, HOSTS] if fit and HOSTS not in kept else kept


class Bench:
    """Handler of the child process: trains lanes at once."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, prepared(args)

    def __call__(self, task: Task) -> Row:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        turns, together = Turns(), Barrier(task.lanes)
        with ThreadPoolExecutor(task.lanes) as threads, flags(EXACT):
            lanes = [threads.submit(self.lane, task, seed, turns, together) for seed in range(task.lanes)]
        errors = [error for error in (lane.exception() for lane in lanes) if error is not None]
        if errors:  # the lanes that waited for a failed one raise BrokenBarrierError
            raise next((error for error in errors if not isinstance(error, BrokenBarrierError)), errors[0])
        rates = [lane.result() for lane in lanes]
        peak = torch.cuda.max_memory_reserved(self.device) / 2**20 if self.device.type == "cuda" else 0.0
        return {"images_per_second": sum(rates), "rates": rates, "peak_MiB": peak}

    def lane(self, task: Task, seed: int, turns: Turns, together: Barrier) -> float:
        """Returns a lane's images per second."""
        try:
            with turns.taken_by_a_run(), own_stream(self.device):
                subject = self.subject(task, seed)
                subject.train()  # more than WARM_UP steps: the step is captured
                if subject.warnings:
                    raise RuntimeError("; ".join(subject.warnings))
                with released():
                    together.wait()
                begun, images = time.perf_counter(), 0
                while time.perf_counter() < begun + task.seconds:
                    images += subject.train()["images"]
                return images / (time.perf_counter() - begun)
        except Exception:
            together.abort()  # the other lanes do not wait for this one
            raise

    def subject(self, task: Task, seed: int) -> Subject:
        small = ["network=resnet8", *sized(100, 100)] if self.args.smoke else sized(100)
        fixed = ["method=erm", f"batch_size={self.args.batch_size}", f"seed={seed}", f"runtime.device={self.device}"]
        subject = Subject(self.device, *fixed, *small, *task.words, steps=WARM_UP + 1 if self.args.smoke else STEPS)
        subject.flags = (any("cudnn_search" in word for word in task.words), *subject.flags[1:])
        return subject


if __name__ == "__main__":
    sys.exit(main())

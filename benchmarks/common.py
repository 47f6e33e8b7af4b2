"""Arguments, process settings and records of all benchmarks."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from timing import CORES, Times

from ltrun import __version__
from ltrun.engine.precision import has_bf16
from ltrun.machine import processor
from ltrun.results.atomic import write_atomically

Flags = tuple[bool, bool, bool]
EXACT: Flags = (False, False, False)
CPU = torch.device("cpu")


# ------------------------------------------------------------------------------------------------------------- arguments


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="file of the record, written after every measurement")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice unless given")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="precision of ltrun's side")
    parser.add_argument("--compile", choices=["auto", "true", "false"], default="auto", help="runtime.compile of ltrun's side")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="undisturbed repeats of every measurement")
    parser.add_argument("--smoke", action="store_true", help="take seconds instead of minutes, to see that the script works")
    return parser


def unmet(checks: Sequence[str], found: Mapping[str, float], below: bool = True) -> int:
    """Prints each number of `found` that misses its limit NAME=NUMBER. Returns 1 if any does, else 0.

    below: whether a number misses its limit below it, else above it.
    """
    code = 0
    for name, _, limit in (check.partition("=") for check in checks):
        if name not in found:
            raise SystemExit(f"--check: there is no number '{name}'; known: {', '.join(found)}")
        if found[name] < float(limit) if below else found[name] > float(limit):
            print(f"{name}={found[name]:.2f} is {'below' if below else 'above'} {limit}")
            code = 1
    return code


def prepared(args: argparse.Namespace) -> torch.device:
    """Sets the number of threads and returns the device. Exits if the CPU lacks the requested precision."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream(device))  # for both sides, as in ltrun.engine.step.own_stream
    if device.type == "cpu" and args.precision == "bf16" and not has_bf16(device):
        sys.exit("--precision bf16: this CPU has no AVX-512 bf16 and would emulate it, which is slower than fp32; use fp32")
    if args.smoke:
        args.repeats, args.batch_size = min(args.repeats, 2), min(args.batch_size, 16)
    return device


# -------------------------------------------------------------------------------------------------------------- settings


@contextmanager
def flags(wanted: Flags) -> Iterator[None]:
    """Sets process-wide flags that the two sides of a comparison need to differ, and restores them."""
    old = current_flags()
    _set_flags(wanted)
    try:
        yield
    finally:
        _set_flags(old)


def current_flags() -> Flags:
    """Returns cuDNN's search for the fastest algorithm, TF32 in convolutions, and TF32 in matrix products."""
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _set_flags(wanted: Flags) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = wanted


PLAIN: Flags = (True, *current_flags()[1:])
"""torch's own settings, read before ltrun sets any, with the search, which every reference repository switches on."""


# ---------------------------------------------------------------------------------------------------------------- record


class Record:
    """The record of a benchmark, as JSON: device, versions, date, settings, every repeat of every measurement, results."""

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
        """Prints how many repeats other programs disturbed, and marks the record as complete."""
        sides = self.content["times"]
        disturbed, n = (sum(side[key] for side in sides.values()) for key in ("disturbed", "n"))
        alone = sum(side["disturbed"] == len(side["repeats"]) for side in sides.values())
        if disturbed:
            print(f"other programs disturbed {disturbed} repeats, which were set aside; {n} count")
        if alone:
            print(f"NOT QUIET: in {alone} of {len(sides)} measurements every repeat was disturbed, so all count; measure again")
        self.content["complete"] = True
        self._save()

    def _save(self) -> None:
        if self.path is not None:
            write_atomically(self.path, json.dumps(self.content, indent=1).encode() + b"\n")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    kind = [name for name, there in {"AVX-512": torch.cpu._is_avx512_supported(), "bf16": has_bf16(CPU)}.items() if there]
    return f"{processor()} ({', '.join(kind) or 'no AVX-512'})"


def versions() -> dict[str, str | None]:
    named = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    return {"ltrun": __version__, "python": platform.python_version(), "cuda": torch.version.cuda, **named}


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds >= 0.01 else f"{1000 * seconds:.3f} ms"

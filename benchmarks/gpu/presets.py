"""Check of every preset on a CUDA device: graph-replayed against eager training, with eager repeats for the noise of atomics.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/presets.py --json presets.json [--only method=erm lanes]

Each preset trains six epochs of the tests' small set (70 images of 8 by 8, batches of 32 and a last batch of 6), so that both
shapes are captured and replayed, and deferred parts switch while steps are replayed. CASES adds other kinds of checks. Prints
failures; the exit code is then 1. On a CPU the tests' imagined device replaces CUDA, which shows that this script works.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from common import Record, arguments, prepared
from torch import Tensor

from ltrun.contracts.device import unevaluated
from ltrun.contracts.imagined import DEVICE, Mode, imagined_cuda
from ltrun.data import Resident
from ltrun.engine.step import own_stream
from ltrun.engine.turns import Turns
from tests.contracts.test_imagined_device import WORDS, Impatient
from tests.support.cases import Composed, bound, changed, composed, digits, normaliser, small, snapshot, trainer

State = dict[str, Tensor]
Distances = list[tuple[float, float]]  # from replayed to eager training, and from eager training to its repeat
GOOD = ("same bits", "close")
NOISE, LEAST = 20, 1e-4  # a replayed result is close within NOISE times the noise, or within LEAST


@dataclass
class Bench:
    """A device to train presets on. imagined: whether it is the tests' stand-in. warnings: the warnings of the runs so far."""

    imagined: bool
    warnings: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return DEVICE if self.imagined else torch.device("cuda")

    def trained(self, composition: Composed, compile: object = "auto", folder: Path | None = None, **more: Any) -> State:
        """Returns the state of the trained network, on the host. more: arguments of `tests.support.cases.trainer`."""
        train, _ = digits()
        settings: dict[str, Any] = {
            "device": self.device, "train_set": Resident(train.images.to(self.device), train.targets.to(self.device)),
            "prepare": normaliser().to(self.device), "evaluate": unevaluated, "compile": compile,
            "warn": self.warnings.append, "checkpoint_seconds": 1e9, "precision": "fp32",
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as own, own_stream(self.device):
            state = snapshot(trainer(bound(composition, ("tests",)), folder or Path(own), **(settings | more)).run())
            return {name: tensor.cpu() for name, tensor in state.items()}

    def compared(self, composition: Composed, **more: Any) -> tuple[float, float]:
        eager, again = (self.trained(composition, compile=False, **more) for _ in range(2))
        return apart(self.trained(composition, **more), eager), apart(again, eager)


def apart(found: State, expected: State) -> float:
    """Returns the largest relative distance between tensors of the same name; inf if one is not finite."""

    def one(a: Tensor, b: Tensor) -> float:
        if torch.equal(a, b):
            return 0.0
        a, b = a.double(), b.double()
        finite = torch.isfinite(a).all() and torch.isfinite(b).all()
        return float((a - b).norm() / b.norm().clamp(min=1e-3)) if finite else float("inf")

    return max(one(found[name], tensor) for name, tensor in expected.items())


def preset(*words: str) -> Composed:
    return small(composed(*words), epochs=6)


# ----------------------------------------------------------------------------------------------------------------- cases


def lanes(bench: Bench) -> Distances:
    """Compares four runs that take turns in one process with the same runs alone."""
    presets = {name: preset(f"method={name}") for name in ("cmo", "crt", "paco", "meta_weight_net")}
    found: dict[str, State] = {}
    errors: list[BaseException] = []
    turns = Turns()

    def lane(name: str) -> None:
        try:
            with Mode() if bench.imagined else nullcontext(), turns.taken_by_a_run():
                found[name] = bench.trained(presets[name])
        except BaseException as error:  # a thread would end without reporting it
            errors.append(error)

    threads = [Thread(target=lane, args=(name,)) for name in presets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
    alone, again = ({name: bench.trained(composition) for name, composition in presets.items()} for _ in range(2))
    return [(apart(found[name], alone[name]), apart(again[name], alone[name])) for name in presets]


def fallback(bench: Bench) -> Distances:
    """Trains with a part that reads a value on the host: expects one warning and the results of eager steps."""
    node = {"_target_": f"{Impatient.__module__}.{Impatient.__name__}"}
    distances = bench.compared(changed(preset("method=erm"), representation__terms={"impatient": {"part": node}}))
    warned = bench.warnings[:]
    bench.warnings.clear()
    if len(warned) != 1 or Impatient.__name__ not in warned[0]:
        raise RuntimeError(f"expected one warning that names {Impatient.__name__}, got {warned}")
    return [distances]


def resume(bench: Bench) -> Distances:
    """Compares runs that are interrupted after their captures and resume from checkpoints with uninterrupted runs."""

    def stop(row: Mapping[str, Any]) -> None:
        if row["epoch"] == 5:
            raise InterruptedError

    distances = []
    for name in ("erm", "crt", "paco"):
        composition = preset(f"method={name}")
        with tempfile.TemporaryDirectory() as folder:
            with suppress(InterruptedError):
                bench.trained(composition, folder=Path(folder), report=stop, checkpoint_seconds=0.0)
            found = bench.trained(composition, folder=Path(folder), checkpoint_seconds=0.0)
        whole, again = bench.trained(composition), bench.trained(composition)
        distances.append((apart(found, whole), apart(again, whole)))
    return distances


def in_precision(bench: Bench, precision: str) -> Distances:
    names = ("erm", "ldam_drw", "paco", "sade", "meta_weight_net")
    words = [*(f"method={name}" for name in names), "augmentation=simclr"]
    return [bench.compared(preset(word), precision=precision) for word in words]


CASES: dict[str, Callable[[Bench], Distances]] = {
    "lanes": lanes,
    "fallback": fallback,
    "resume": resume,
    "bf16": lambda bench: in_precision(bench, "bf16"),
    "tf32": lambda bench: in_precision(bench, "tf32"),
}


# -------------------------------------------------------------------------------------------------------------- the check


def checked(name: str, imagined: bool) -> dict[str, Any]:
    """Returns verdict and distances of a case of CASES, or of the words of a command line."""
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    begun, bench = time.perf_counter(), Bench(imagined)
    row: dict[str, Any] = {"words": name}
    try:
        with imagined_cuda() if imagined else nullcontext():
            distances = CASES[name](bench) if name in CASES else [bench.compared(preset(*name.split()))]
        row |= {"distances": distances, "warnings": bench.warnings, "verdict": verdict(distances, bench.warnings)}
    except Exception as error:  # record the error of one preset, and check the others
        row |= {
            "verdict": "ERROR",
            "error": f"{type(error).__name__}: {error}"[:500],
            "traceback": traceback.format_exc()[-1500:],
        }
    return row | {"good": row["verdict"] in GOOD, "seconds": round(time.perf_counter() - begun, 2)}


def verdict(distances: Distances, warnings: Sequence[str]) -> str:
    if warnings:
        return "WARNS"
    if all(found == 0 for found, _ in distances):
        return "same bits"
    return "close" if all(found <= max(NOISE * noise, LEAST) < torch.inf for found, noise in distances) else "DIFFERS"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--only", nargs="+", metavar="WORDS", help=f"check only these: words, or {', '.join(CASES)}")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("presets", args, device)
    cases = [name for name in CASES if device.type == "cuda" or name != "bf16"]  # the imagined device has no bf16
    names = args.only or [*cases, *map(" ".join, [*WORDS, ("augmentation=autoaugment",)])]
    rows: list[dict[str, Any]] = []
    for row in each(names, args, imagined=device.type == "cpu"):
        rows.append(row)
        record.result(presets=rows)
        if not row["good"]:
            print(json.dumps({key: value for key, value in row.items() if key != "traceback"}), flush=True)
    record.close()
    counts = {found: sum(row["verdict"] == found for row in rows) for found in sorted({row["verdict"] for row in rows})}
    bad = [row["words"] for row in rows if not row["good"]]
    print(f"presets: {counts}; failed: {', '.join(bad) or 'none'}")
    return int(bool(bad))


def each(names: Iterable[str], args: Namespace, imagined: bool) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        waiting = {pool.submit(checked, name, imagined): name for name in names}
        for done in as_completed(waiting):
            try:
                yield done.result()
            except BrokenProcessPool as error:  # a process died and broke the pool
                yield {"words": waiting[done], "verdict": "ERROR", "good": False, "error": f"BrokenProcessPool: {error}"}


if __name__ == "__main__":
    sys.exit(main())

"""Training on two ranks that share one GPU against training in one process: losses of each epoch.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/ranks.py --json ranks.json [--time 60]

erm and paco train a ResNet-8 for three epochs on random images. Two ranks on one GPU speak gloo. A world of one speaks
NCCL: this shows that NCCL starts. With `runtime.sync_bn` two ranks compute what one process computes, apart from roundings;
without, each rank normalises its half of a batch by itself. All commands run at the same time on CUDA: nothing is timed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from common import Record, arguments, prepared
from subject import RANDOM_IMAGES, sized

SMALL = ["network=resnet8", "epochs=3", "batch_size=64", *sized(200, 100)]
SAME, LOCAL = 0.01, 0.1  # largest relative differences of an epoch's loss: with the same statistics, and with those of a rank
SYNCED = "runtime.sync_bn=true"
RUNS: dict[str, tuple[str, int | None, list[str]]] = {
    "erm, one process": ("erm", None, []),
    "erm, 2 ranks, sync_bn": ("erm", 2, [SYNCED]),
    "erm, 2 ranks": ("erm", 2, []),
    "erm, a world of one": ("erm", 1, []),
    "paco, one process": ("paco", None, []),
    "paco, 2 ranks, sync_bn": ("paco", 2, [SYNCED]),
}
"""Name -> method, number of ranks or None for a process without torchrun, and further overrides."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--time", type=float, default=600, metavar="SECONDS", help="end each command after so many seconds")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("ranks", args, device)
    print(record.title)
    found: dict[str, dict[str, Any]] = {}
    names = list(RUNS)[:2] if args.smoke else list(RUNS)
    with ThreadPoolExecutor(len(names) if device.type == "cuda" else 1) as threads:
        waiting = {threads.submit(trained, command(name, device), args.time): name for name in names}
        for done in as_completed(waiting):
            name = waiting[done]
            found[name] = done.result()
            rows = {name: found[name] for name in names if name in found}
            record.result(ranks=rows, advice=of_ranks(rows))
            print(f"{name}: {found[name].get('error') or found[name]['losses']}", flush=True)
    record.close()
    print("\n".join(record.content["results"]["advice"]))
    return int(any(not good(name, found) for name in names))


def command(name: str, device: torch.device) -> list[str]:
    method, ranks, words = RUNS[name]
    launcher = [] if ranks is None else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*launcher, "-m", "ltrun", *RANDOM_IMAGES, *SMALL, f"method={method}", f"runtime.device={device}", *words]


def trained(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Returns the losses, and the images a second, of the epochs that a command of python's trains, or its error."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory(prefix="ltrun-ranks-") as folder, TemporaryFile("w+") as output:
        whole = [sys.executable, *command, f"outputs={folder}"]
        process = subprocess.Popen(whole, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its ranks
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            return {"error": f"no end after {seconds:.0f} s"}
        if code:
            output.seek(0)
            said = output.read()
            print(said[-6000:], flush=True)
            return {"error": f"exit code {code}: {reason(said)}"}
        lines = [line for path in Path(folder).rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    return {"losses": [row["loss"] for row in rows], "rates": [row["images_per_second"] for row in rows]}


def reason(output: str) -> str:
    """Returns ltrun's first sentence in an output, which is of the rank that failed, or else its last error of Python's."""
    lines = [line.strip() for line in output.splitlines()]
    sentences = [line for line in lines if line.startswith("ltrun: ") and not line.startswith("ltrun: interrupted")]
    errors = [line for line in lines if re.match(r"(?!torch\.distributed\.elastic)[\w.]*(Error|Exception)\b", line)]
    return (*sentences[:1], *errors[-1:], "no error is named")[0][:300]


def difference(name: str, found: Mapping[str, Mapping[str, Any]]) -> float:
    """Returns the largest relative difference of an epoch's loss from one process of the same method; inf if one failed."""
    losses, expected = (found.get(key, {}).get("losses", []) for key in (name, f"{name.partition(',')[0]}, one process"))
    if not losses or len(losses) != len(expected):
        return float("inf")
    return max(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True))


def local(name: str) -> bool:
    """Whether each rank of a run normalises its own share of a batch."""
    return RUNS[name][1] == 2 and SYNCED not in RUNS[name][2]


def good(name: str, found: Mapping[str, Mapping[str, Any]]) -> bool:
    return difference(name, found) <= (LOCAL if local(name) else SAME)


def of_ranks(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns what the runs on ranks show, in sentences."""
    said = []
    for name, row in found.items():
        if "error" in row:
            said.append(f"{name}: failed: {row['error']}")
        elif RUNS[name][1] is not None:
            same = "near the losses of one process" if local(name) else "the losses of one process"
            verdict = same if good(name, found) else "OTHER losses than one process"
            said.append(f"{name}: {verdict}, {difference(name, found):.2%} apart at most")
    return said


if __name__ == "__main__":
    sys.exit(main())

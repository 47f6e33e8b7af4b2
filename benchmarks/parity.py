"""Parity of accuracy between variants of the arithmetic that speed up training: same methods, same seeds.

    python benchmarks/parity.py --json benchmarks/results/parity.json

`plain` is float32 without channels_last, graph or compiler, `default` is ltrun's default, `compiled` is runtime.compile=true,
`bf16` is runtime.precision=bf16. A CPU without bf16 emulates it, more slowly and with the same rounding. Training is chaotic: a
difference in the last bit grows into another, equally good network. The question is whether the means over seeds differ by more
than their deviation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from common import Record, arguments, prepared

from ltrun.cli import dispatch

VARIANTS = {
    "plain": ["runtime.channels_last=false", "runtime.compile=false"],
    "default": [],
    "compiled": ["runtime.compile=true"],
    "bf16": ["runtime.precision=bf16"],
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--methods", nargs="+", default=["erm", "ldam_drw", "balanced_softmax"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dataset", help="digits_lt on a CPU and cifar100_lt on CUDA unless given")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--root", help="dataset.root")
    args = parser.parse_args()
    device = prepared(args)
    dataset = args.dataset or ("cifar100_lt" if device.type == "cuda" else "digits_lt")
    methods, seeds = (["erm"], [0]) if args.smoke else (args.methods, range(args.seeds))
    common = [f"dataset={dataset}", f"runtime.device={device.type}", *([f"dataset.root={args.root}"] if args.root else [])]
    common += ["epochs=1", "runtime.pack=1"] if args.smoke else []
    record = Record("parity", args, device)
    found: dict[str, dict[str, list[float]]] = {name: {method: [] for method in methods} for name in args.variants}
    with tempfile.TemporaryDirectory() as folder, mock.patch("ltrun.engine.precision.has_bf16", lambda device: True):
        for seed, method, name in product(seeds, methods, args.variants):
            outputs = Path(folder) / name / method / str(seed)
            if dispatch([f"method={method}", f"seed={seed}", *common, *VARIANTS[name], f"outputs={outputs}"]):
                sys.exit(f"{method}, seed {seed}, {name}: failed")
            found[name][method].append(accuracy(outputs))
            record.result(dataset=dataset, accuracies=found, summary=summary(found))
    record.close()
    for name, row in summary(found).items():
        print(f"{name:10s}" + "  ".join(f"{m} {mean:.1f} ± {deviation:.1f}" for m, (mean, deviation) in row.items()))


def accuracy(outputs: Path) -> float:
    (result,) = outputs.rglob("result.json")
    content = json.loads(result.read_text())
    return 100 * float(content["predictors"][content["headline"]]["splits"]["test"]["accuracy"])


def summary(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Returns variant -> method -> mean and standard deviation (n - 1 in the denominator) in percent, of the runs so far."""
    return {
        name: {m: (float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0) for m, v in row.items() if v}
        for name, row in found.items()
    }


if __name__ == "__main__":
    main()

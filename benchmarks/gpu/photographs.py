"""Photographs on a GPU: nvJPEG against the decoding workers, and training of a ResNet-50 in each arithmetic.

    PYTHONPATH=.:benchmarks python benchmarks/gpu/photographs.py --json photographs.json [--time 60]

decoding: random crops of JPEG files of 500 x 375, decoded by worker processes or by the device (runtime.decode=device): how far
apart are the pixels, and how many images a second? training: two epochs of erm on these files by the command line, in tf32,
bf16 and fp16, in parts (runtime.accumulate), with averaged weights (runtime.ema) and with the device decoding: are the losses
finite, and how many images a second did the second epoch train?
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from common import Record, arguments, prepared
from data import SIDE, write_photos
from ranks import trained
from torch import Tensor

from ltrun.data.crop import RandomCrop, drawn
from ltrun.data.folder import ImageFolder
from ltrun.data.stores import Streamed
from ltrun.machine import cores

APART = 4.0  # levels of 255: mean difference of pixels above which nvJPEG decodes another picture
RUNS: dict[str, list[str]] = {
    "tf32": ["runtime.precision=tf32"],
    "bf16": ["runtime.precision=bf16"],
    "bf16, device decodes": ["runtime.precision=bf16", "runtime.decode=device"],
    "fp16": ["runtime.precision=fp16"],
    "bf16, accumulate 4": ["runtime.precision=bf16", "runtime.accumulate=4"],
    "bf16, ema": ["runtime.precision=bf16", "runtime.ema=0.999"],
}
ON_CPU: dict[str, list[str]] = {"fp32, accumulate 4, ema": ["runtime.accumulate=4", "runtime.ema=0.999"]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--time", type=float, default=600, metavar="SECONDS", help="end each command after so many seconds")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("photographs", args, device)
    print(record.title)
    begun = time.monotonic()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="ltrun-benchmark-") as name:
        write_photos(Path(name), 32 if args.smoke else 1024)
        found = decoding(Path(name), device)
        record.result(decoding=found, advice=of_decoding(found))
        for words in RUNS if device.type == "cuda" else ON_CPU:
            left = args.time - (time.monotonic() - begun)
            rows[words] = trained(command(Path(name), words, device, args.smoke), max(left, 1))
            print(f"{words}: {rows[words]}", flush=True)
            record.result(training=rows, advice=[*of_decoding(found), *of_training(rows)])
    record.close()
    print("\n".join(record.content["results"]["advice"]))
    return int(any("error" in row or not finite(row) for row in rows.values()))


def decoding(folder: Path, device: torch.device) -> dict[str, float]:
    """Returns the mean and largest difference of the pixels, and images a second by the workers and by the device."""
    pixels: dict[str, Tensor] = {}
    found: dict[str, float] = {}
    for side, on_device in {"workers": False, "device": True}.items():
        source = ImageFolder(str(folder), SIDE, resize=256, workers=cores(), random_crops=True, device_decodes=on_device)
        store = cast(Streamed, source.open(device).train)
        plan = list(torch.arange(len(store)).split(64))
        for timed in (False, True):
            begun = time.perf_counter()
            batches = [batch.inputs for batch in store.open(plan, cuts=drawn(RandomCrop(SIDE), 0, plan))]
            pixels[side] = torch.cat(batches).cpu()
            if timed:
                found[side] = len(store) / (time.perf_counter() - begun)
    apart = (pixels["workers"].int() - pixels["device"].int()).abs().float()
    return found | {"mean": float(apart.mean()), "largest": float(apart.max())}


def command(folder: Path, name: str, device: torch.device, smoke: bool) -> list[str]:
    small = ["dataset.image_size=32", "dataset.resize=36", "network=resnet10", "batch_size=16"]
    size = small if smoke or device.type == "cpu" else ["network=resnet50", "batch_size=128"]
    data = ["dataset=photos", f"dataset.root={folder}", f"dataset.workers={cores()}", "epochs=2", f"runtime.device={device}"]
    return ["-m", "ltrun", "method=erm", *data, *size, *(RUNS | ON_CPU)[name]]


def finite(row: Mapping[str, Any]) -> bool:
    return all(math.isfinite(loss) for loss in row.get("losses", [math.nan]))


def of_decoding(found: Mapping[str, float]) -> list[str]:
    faster = found["device"] / found["workers"]
    verdict = "runtime.decode=device pays" if faster > 1 else "runtime.decode=device does not pay"
    same = "the same pictures" if found["mean"] <= APART else "OTHER pictures"
    rates = f"{found['workers']:.0f} images a second by {cores()} workers, {found['device']:.0f} by the device"
    return [
        f"decoding: {rates}: {verdict}",
        f"decoding: {same}, pixels {found['mean']:.2f} levels of 255 apart in the mean, {found['largest']:.0f} at most",
    ]


def of_training(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    said = []
    for name, row in rows.items():
        rate = f", {row['rates'][-1]:.0f} images a second" if row.get("rates") else ""
        said.append(f"{name}: {row['error']}" if "error" in row else f"{name}: losses {json.dumps(row['losses'])}{rate}")
    return said


if __name__ == "__main__":
    sys.exit(main())

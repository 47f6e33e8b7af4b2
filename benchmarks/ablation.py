"""Ablation of ltrun's speed: the factor of each lever, alone and left out of all.

    python benchmarks/ablation.py --threads 1 --json benchmarks/results/ablation.json

A lever is a key of `runtime`, or a piece of ltrun that the plain loop's counterpart can replace:

    data            images resident on the device and augmented by the batch; off: one by one through PIL and a DataLoader
    sgd             one kernel for all parameters; off: a loop over the parameters
    channels_last   runtime.channels_last
    folding         batch normalisation folded into the convolutions in evaluation
    precision       runtime.precision, with --precision bf16 or tf32
    no_wait         on CUDA: the host never waits within an epoch; off: it waits after each step, as if it fetched the loss
    graph           on CUDA: a step is one CUDA graph, runtime.compile=auto
    inductor        with --compile true: runtime.compile=true; on CUDA on top of the graph

alone: the time with no lever over the time with this lever. left out: the time without this lever over the time with all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence, Set
from copy import deepcopy
from unittest.mock import patch

import torch
from common import Record, arguments, milliseconds, prepared
from stand_ins import TEST_IMAGES, PerImage, Waiting
from subject import Subject, sized
from timing import Times, alternate

from ltrun.parts import Network

EVALUATION = {"channels_last", "folding", "precision"}  # levers of evaluation; every lever but folding is one of training


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, help="steps per repeat; 2 on a CPU unless given, a whole epoch on CUDA")
    parser.add_argument("--test-images", type=int, help="test images per repeat; 500 on a CPU unless given, all on CUDA")
    parser.add_argument("--workers", type=int, help="workers of the plain loader; 4 on CUDA unless given, 0 on a CPU")
    parser.add_argument("--only", nargs="+", default=[], metavar="LEVER", help="time only these levers, beside all and none")
    args = parser.parse_args(argv)
    device = prepared(args)
    if args.smoke:
        args.steps, args.test_images = 1, 100
    record = Record("ablation", args, device)
    print(f"{record.title}, {args.precision}, compile={args.compile}")
    every = levers(args, device)
    if unknown := set(args.only) - set(every):
        raise SystemExit(f"--only: there is no lever {', '.join(sorted(unknown))} on this device; known: {', '.join(every)}")
    variants: dict[str, Set[str]] = {"all": set(every), "none": set()}
    for lever in args.only or every:
        variants[f"{lever} left out"] = set(every) - {lever} - ({"inductor"} if lever == "graph" else set())
        if lever != "inductor" or device.type == "cpu":
            variants[f"{lever} alone"] = {lever}
    for kind, chosen in {"train": set(every) - {"folding"}, "evaluation": EVALUATION & set(every)}.items():
        sides = {
            name: variant(args, device, on, kind)
            for name, on in variants.items()
            if name in ("all", "none") or name.split()[0] in chosen
        }
        times = alternate(sides, args.repeats, device, lambda times, kind=kind: record.times(labelled(kind, times)))  # type: ignore[misc]
        record.result(**{kind: factors(times)})
        show(kind, times)
    record.close()
    return 0


def levers(args: argparse.Namespace, device: torch.device) -> list[str]:
    """Returns the levers that this device and the options have."""
    cuda = device.type == "cuda"
    there = {
        "data": True,
        "sgd": True,
        "channels_last": True,
        "folding": True,
        "precision": args.precision != "fp32",
        "no_wait": cuda,
        "graph": cuda and args.compile != "false",
        "inductor": args.compile == "true",
    }
    return [name for name, is_there in there.items() if is_there]


def variant(args: argparse.Namespace, device: torch.device, on: Set[str], kind: str) -> Callable[[], object]:
    """Returns a call that trains, or evaluates, with these levers on and all others off."""
    cuda = device.type == "cuda"
    words = [
        "method=erm",
        f"batch_size={args.batch_size}",
        *sized(args.test_images or (TEST_IMAGES if cuda else 500)),
        f"runtime.channels_last={str('channels_last' in on).lower()}",
        f"runtime.precision={args.precision if 'precision' in on else 'fp32'}",
        f"runtime.compile={'true' if 'inductor' in on else 'auto' if 'graph' in on else 'false'}",
    ]
    if "data" not in on:
        words.append("~dataset.augments.crop_flip")
    if "sgd" not in on:
        words.append("optimizer._target_=stand_ins.LoopSGD")
    subject = Subject(device, *words, steps=args.steps or (None if cuda else 2))
    if "data" not in on:
        workers = (4 if cuda else 0) if args.workers is None else args.workers
        subject.train_on(PerImage(subject.train_set, workers))
    if cuda and "no_wait" not in on:
        subject.train_on(Waiting(subject.train_set))
    if kind == "train":
        subject.settle()
        return subject.train
    return subject.evaluate if "folding" in on else patch("ltrun.engine.evidence.folded", unfolded)(subject.evaluate)


def unfolded(network: Network) -> Network:
    return deepcopy(network).eval()


def labelled(kind: str, times: dict[str, Times]) -> dict[str, Times]:
    return {f"{kind}: {name}": side for name, side in times.items()}


def factors(times: dict[str, Times]) -> dict[str, float]:
    """Returns speed-ups: of all levers, of each lever alone, and of all levers over all but one."""
    seconds = {name: side.median for name, side in times.items()}
    found = {"all": seconds["none"] / seconds["all"]}
    for name in seconds:
        if name.endswith("alone"):
            found[name] = seconds["none"] / seconds[name]
        elif name.endswith("left out"):
            found[name] = seconds[name] / seconds["all"]
    return found


def show(kind: str, times: dict[str, Times]) -> None:
    found = factors(times)
    print(
        f"{kind}: none {milliseconds(times['none'].median)}, all {milliseconds(times['all'].median)}, {found['all']:.2f} times"
    )
    for lever in dict.fromkeys(name.split()[0] for name in found if name != "all"):
        values = (f"{what} {found[key]:.2f}" for what in ("alone", "left out") if (key := f"{lever} {what}") in found)
        print(f"  {lever:14} {'  '.join(values)}")


if __name__ == "__main__":
    sys.exit(main())

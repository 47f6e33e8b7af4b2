"""Speed of ltrun's training step and epoch against a plain loop like the loops of reference repositories.

    python benchmarks/step.py --threads 1 --json benchmarks/results/step.json --check train=1.25

Both sides train the same ResNet-32 on the same random images with the class counts of CIFAR100-LT (10,847 images, and 10,000
test images), by cross-entropy, in batches of 128, in turns in one process. Before anything is timed, the same weights and the
same batch must give the same loss, gradient and steps. One side consists of the objects of `ltrun method=erm
dataset=cifar100_lt`; the other is plain.py, eager and in torch's own precision whatever --precision and --compile say. Both
sides evaluate after every epoch, although ltrun by default evaluates after every tenth. On a CPU an epoch is extrapolated from
some steps and a part of the test set; on CUDA a whole epoch is timed. The last line is `ratio train=... epoch=...`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import EXACT, PLAIN, Record, arguments, flags, milliseconds, prepared, unmet
from plain import PlainLoop
from stand_ins import TEST_IMAGES
from subject import Subject, run_command, runtime, sized
from timing import Times, alternate
from torch import Tensor
from torch.nn import functional as F

from ltrun.types import Batch, Labels

GATE_STEPS = 6  # enough for a step to be captured as a graph and replayed
# Largest allowed differences. pixels: of a normalised image, absolute. gradient: of both sides in float64 on the same pixels,
# relative. In float32 neither side is within 1e-3 of float64: if rounding flips the sign of an activation, ReLU passes another
# gradient. loss: of the timed step, absolute. steps: of the change of the weights in GATE_STEPS steps, relative.
SAME = {"pixels": 2e-6, "gradient": 1e-5}
TOLERANCES = {
    "fp32": SAME | {"loss": 1e-3, "steps": 0.1},
    "tf32": SAME | {"loss": 1e-2, "steps": 0.3},
    "bf16": SAME | {"loss": 5e-2, "steps": 0.3},
}


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    device = prepared(args)
    record = Record("step", args, device)
    print(f"{record.title}, {args.precision}, compile={args.compile}")
    differences = gate(args, device)
    record.result(differences=differences)
    print("same weights, same batch: " + ", ".join(f"{name} within {value:.1e}" for name, value in differences.items()))
    if refused := {name for name, most in TOLERANCES[args.precision].items() if not differences[name] <= most}:
        print(f"ltrun and the plain loop differ in {', '.join(sorted(refused))}, so nothing is timed")
        return 1
    times, images = compare(args, device, record)
    results = summary(times, images)
    record.result(**results)
    show(times, results)
    if args.run:
        record.result(run_command=whole_run(args))
    record.close()
    print(f"ratio train={results['train']:.2f} epoch={results['epoch']:.2f}")
    return unmet(args.check, {name: results[name] for name in ("train", "epoch", "evaluation", "run")})


def parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, help="steps per repeat; 4 on a CPU unless given, a whole epoch on CUDA")
    parser.add_argument("--test-images", type=int, help="test images per repeat; 1000 on a CPU unless given, all on CUDA")
    parser.add_argument(
        "--workers", type=int, help="workers of the plain loader; 4 on CUDA unless given, 0 on a CPU, whose cores are busy"
    )
    parser.add_argument("--check", nargs="+", default=[], metavar="NAME=RATIO", help="exit code 1 below a ratio: train=1.25")
    parser.add_argument("--run", type=int, metavar="EPOCHS", help="also time a whole run of so many epochs, start-up included")
    return parser


# ------------------------------------------------------------------------------------------------------- the same numbers


def gate(args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Returns the differences between the sides on one batch without augmentation, from the same weights; see TOLERANCES."""
    words = ("method=erm", "~dataset.augments.crop_flip", "optimizer.lr=0.01", f"batch_size={args.batch_size}")
    subject = Subject(device, *words, *runtime(args))
    images, labels = subject.images()
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: args.batch_size]
    batch = images[rows], labels[rows]
    loop = PlainLoop(batch, batch, 100, device, args.batch_size, workers=0, steps=None, augment=False)
    loop.optimizer.param_groups[0]["lr"] = 0.01
    loop.network.load(subject.network)
    start = flat(loop.network.parameters())

    subject.rows = rows
    losses = [subject.train()["loss"] for _ in range(GATE_STEPS)]
    with flags(EXACT):
        expected = [loop.train() for _ in range(GATE_STEPS)]
    way, plain_way = (flat(network.parameters()) - start for network in (subject.network, loop.network))
    return gradient(device, words, batch, loop) | {"loss": abs(losses[0] - expected[0]), "steps": relative(way, plain_way)}


def gradient(device: torch.device, words: Sequence[str], batch: tuple[Tensor, Tensor], loop: PlainLoop) -> dict[str, float]:
    """Returns the differences of the pixels that the networks see, and of the gradients in float64."""
    subject = Subject(device, *words, "runtime.precision=fp32", "runtime.compile=false")
    labels = Labels.hard(batch[1]).to(device)
    images, rows = batch[0].to(device), torch.arange(len(labels), device=device)
    pixels = subject.trainer.context.prepare(images).cpu()
    transformed = torch.stack([loop.testing.dataset[row][0] for row in range(len(labels))])
    objective = subject.stage.objective.double().train()
    values, _, _ = objective({"main": Batch(images, labels, rows)})
    values["total"].backward()
    network = loop.network.double().train()
    network.load(subject.network)
    network.zero_grad()
    F.cross_entropy(network(subject.trainer.context.prepare(images)), labels.labels).backward()
    found, reference = (flat(p.grad for p in module.parameters()) for module in (subject.network, network))
    return {"pixels": float((pixels - transformed).abs().max()), "gradient": relative(found, reference)}


def flat(tensors: Iterable[Tensor | None]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors if tensor is not None]).double()


def relative(found: Tensor, reference: Tensor) -> float:
    return float((found - reference).norm() / reference.norm())


# ----------------------------------------------------------------------------------------------------------------- timing


def compare(args: argparse.Namespace, device: torch.device, record: Record) -> tuple[dict[str, Times], dict[str, int]]:
    """Returns the times of both sides, and the numbers of images that a repeat trains on and tests, and that an epoch has."""
    whole = device.type == "cuda"
    steps = 1 if args.smoke else args.steps or (None if whole else 4)
    tested = 100 if args.smoke else args.test_images or (TEST_IMAGES if whole else 1000)
    workers = (4 if whole else 0) if args.workers is None else args.workers
    subject = Subject(
        device,
        "method=erm",
        f"batch_size={args.batch_size}",
        *sized(tested),
        *runtime(args),
        steps=steps,
    )
    train, test = subject.images("train"), subject.images("test")
    loop = PlainLoop(train, test, 100, device, args.batch_size, workers, steps)
    loop.network.load(subject.network)
    subject.settle()

    def plain(call: Callable[[], object]) -> Callable[[], None]:
        def called() -> None:
            with flags(PLAIN):
                call()

        return called

    sides = {
        "plain train": plain(loop.train),
        "ltrun train": subject.train,
        "plain evaluation": plain(loop.evaluate),
        "ltrun evaluation": subject.evaluate,
    }
    times = alternate(sides, args.repeats, device, record.times)
    total = len(train[1])
    trained = total if steps is None else min(total, steps * args.batch_size)
    images = {"trained": trained, "tested": tested, "train": total, "test": TEST_IMAGES}
    record.result(images=images, steps=-(-trained // args.batch_size), workers=workers)
    return times, images


def summary(times: Mapping[str, Times], images: Mapping[str, int]) -> dict[str, float]:
    """Returns the seconds of training and of evaluation in an epoch of each side, and ratios of the plain loop's to ltrun's.

    train: without evaluation. epoch: with one evaluation on both sides. run: with the plain loop's evaluation after every epoch
    and ltrun's after every tenth, their defaults. cpu_train: train in CPU seconds of the process, which a noisy machine
    distorts less.
    """
    found: dict[str, float] = {}
    for side in ("plain", "ltrun"):
        found[f"{side}_train_seconds"] = times[f"{side} train"].median / images["trained"] * images["train"]
        found[f"{side}_evaluation_seconds"] = times[f"{side} evaluation"].median / images["tested"] * images["test"]
    plain = found["plain_train_seconds"] + found["plain_evaluation_seconds"]
    train, evaluation = found["ltrun_train_seconds"], found["ltrun_evaluation_seconds"]
    return found | {
        "train": found["plain_train_seconds"] / train,
        "cpu_train": times["plain train"].own / times["ltrun train"].own,
        "evaluation": found["plain_evaluation_seconds"] / evaluation,
        "epoch": plain / (train + evaluation),
        "run": plain / (train + evaluation / 10),
    }


def show(times: Mapping[str, Times], results: Mapping[str, float]) -> None:
    for name, side in times.items():
        first, third = (side.summary()[key] for key in ("first_quartile", "third_quartile"))
        quartiles = f"{milliseconds(first)} to {milliseconds(third)}"
        print(f"{name:17} {milliseconds(side.median):>11} ({quartiles}; n={len(side.seconds)})")
    for name in ("plain", "ltrun"):
        train, evaluation = results[f"{name}_train_seconds"], results[f"{name}_evaluation_seconds"]
        print(f"{name}: an epoch takes {train:.2f} s and its evaluation {evaluation:.2f} s")
    print(f"ratio of CPU time of the process: train {results['cpu_train']:.2f}")
    print(f"ratio with ltrun's evaluation after every tenth epoch, the plain loop's after every epoch: {results['run']:.2f}")


def whole_run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs a whole run by its command. Returns its seconds from start to end, and the seconds of its record."""
    words = ["method=erm", f"epochs={args.run}", f"batch_size={args.batch_size}", *runtime(args)]
    if args.smoke:
        words += ["network=resnet8", *sized(100, 100)]
    with tempfile.TemporaryDirectory(prefix="ltrun-benchmark-") as folder:
        seconds, records = run_command(*words, folder=Path(folder))
    counted = next(iter(records.values())).provenance["seconds"]
    print(f"a run of {args.run} epochs: {seconds:.1f} s from command to end, {counted:.1f} s of it training and evaluation")
    return {"epochs": args.run, "wall_seconds": seconds, "seconds": counted}


if __name__ == "__main__":
    sys.exit(main())

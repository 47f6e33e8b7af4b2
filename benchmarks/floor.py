"""Lower bounds of a training step's time on this machine, timed in turns with ltrun's step, and their share of the step.

    python benchmarks/floor.py --threads 1 --json benchmarks/results/floor.json

products: the multiplications of the step's convolutions at the rate of large matrix products, in tf32 with rounded factors as
in the convolutions. convolutions: the network's
convolutions alone, forward and backward, in channels_last and the precision of the step, on CUDA as one graph like the step,
because the host launches them slower than the device computes them; the practical limit. memory: reading
and writing the outputs of the convolutions, in PASSES passes at the rate of a large copy. launches, on CUDA: as many tiny
kernels in a CUDA graph as the step has kernels. Libraries may beat their own matrix products, so a share may exceed 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from common import Record, arguments, flags, milliseconds, prepared
from subject import Subject, kernels, runtime
from timing import alternate
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.engine.precision import has_bf16
from ltrun.engine.step import WARM_UP, captured

PASSES = 7  # the fewest of an ideally fused network, including normalisation in training mode
LAUNCHES = 1000


@dataclass(frozen=True)
class Convolution:
    """A convolution of the network. inputs, weight: shapes. first: whether it is the first, whose input needs no gradient."""

    inputs: torch.Size
    weight: torch.Size
    stride: tuple[int, ...]
    first: bool

    @property
    def outputs(self) -> int:
        batch, _, height, width = self.inputs
        return batch * self.weight[0] * (height // self.stride[0]) * (width // self.stride[1])

    @property
    def operations(self) -> int:
        """Operations of a forward and a backward pass; a multiplication and an addition count as two."""
        return 2 * self.outputs * self.weight[1:].numel() * (2 if self.first else 3)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="steps per repeat; 2 unless given")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("floor", args, device)
    print(f"{record.title}, {args.precision}")
    steps = 1 if args.smoke else args.steps
    subject = Subject(device, "method=erm", f"batch_size={args.batch_size}", *runtime(args), steps=steps)
    subject.settle()
    layers = convolutions(subject, args.batch_size)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    size, length = (256, 2**20) if args.smoke else (2048, 2**26) if device.type == "cpu" else (8192, 2**29)
    sides: dict[str, Callable[[], object]] = {
        "step": subject.train,
        "product": product(size, dtype, device, rounded=args.precision == "tf32"),
        "copy": copying(length, device),
        "convolutions": passes(layers, dtype, device),
    }
    if dtype is torch.float32 and (device.type == "cuda" or has_bf16(device)):
        sides["product bf16"] = product(size, torch.bfloat16, device)
    if device.type == "cuda":
        sides |= launches(device)
    times = alternate(sides, args.repeats, device, record.times)
    record.times(times)
    seconds = {name: side.median for name, side in times.items()}

    step = seconds["step"] / steps
    operations, outputs = sum(layer.operations for layer in layers), sum(layer.outputs for layer in layers)
    rate = 2 * size**3 / seconds["product"]
    bandwidth = 2 * 4 * length / seconds["copy"]
    floors = {
        "products": operations / rate,
        "convolutions": seconds["convolutions"],
        "memory": PASSES * outputs * dtype.itemsize / bandwidth,
    }
    if device.type == "cuda":
        count = len(kernels(subject.train)) / steps
        record.result(kernels=count, launch_seconds=seconds["launches"] / LAUNCHES)
        floors["launches"] = count * seconds["launches in a graph"] / LAUNCHES
        print(f"{count:.0f} kernels per step; a launch takes {seconds['launches'] / LAUNCHES * 1e6:.1f} us")
    record.result(step_seconds=step, operations=operations, operations_per_second=rate, bytes_per_second=bandwidth)
    record.result(floor_seconds=floors, share={name: floor / step for name, floor in floors.items()})
    print(f"{rate / 1e9:.0f} GFLOP/s in products, {bandwidth / 1e9:.1f} GB/s copying; a step has {operations / 1e9:.1f} GFLOP")
    print(f"{'step':13} {milliseconds(step):>11}")
    for name, floor in floors.items():
        print(f"{name:13} {milliseconds(floor):>11} {floor / step:7.1%} of the step")
    record.close()
    return 0


def convolutions(subject: Subject, batch_size: int) -> list[Convolution]:
    """Returns the network's convolutions in the order of a forward pass."""
    found: list[Convolution] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        stride = tuple(int(step) for step in module.stride)
        found.append(Convolution(inputs[0].shape, module.weight.shape, stride, first=not found))

    hooks = [m.register_forward_hook(note) for m in subject.network.modules() if isinstance(m, nn.Conv2d)]
    images = next(subject.run.context.splits.train.open([torch.arange(batch_size)])).inputs
    with torch.no_grad():
        subject.network.predict(subject.trainer.context.prepare(images))
    for hook in hooks:
        hook.remove()
    return found


def passes(layers: Sequence[Convolution], dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """Returns a call that takes each convolution by itself, forward and backward, padded as a 3 x 3 convolution."""

    def some(shape: torch.Size) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device).to(memory_format=torch.channels_last)

    tensors = [(layer, some(layer.inputs), some(layer.weight).requires_grad_()) for layer in layers]
    shapes = [F.conv2d(x, w.detach(), stride=layer.stride, padding=1).shape for layer, x, w in tensors]
    gradients = [some(shape) for shape in shapes]
    for layer, x, _ in tensors:
        x.requires_grad_(not layer.first)

    def call() -> None:
        for (layer, x, w), gradient in zip(tensors, gradients, strict=True):
            out = F.conv2d(x, w, stride=layer.stride, padding=1)
            torch.autograd.grad(out, [w] if layer.first else [x, w], gradient)

    if device.type != "cuda":
        return call
    for _ in range(WARM_UP):
        call()
    return captured(call).replay


def product(size: int, dtype: torch.dtype, device: torch.device, rounded: bool = False) -> Callable[[], Tensor]:
    """Returns a call that multiplies two matrices. rounded: in TF32."""
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)

    def call() -> Tensor:
        with flags((False, rounded, rounded)):
            return torch.mm(a, b, out=out)

    return call


def copying(length: int, device: torch.device) -> Callable[[], Tensor]:
    source, target = (torch.zeros(length, device=device) for _ in range(2))
    return lambda: target.copy_(source)


def launches(device: torch.device) -> dict[str, Callable[[], None]]:
    """Returns calls that run LAUNCHES tiny kernels in a row: launched by the host, and in a CUDA graph."""
    tiny = torch.zeros(1, device=device)

    def call() -> None:
        for _ in range(LAUNCHES):
            tiny.add_(1)

    call()
    return {"launches": call, "launches in a graph": captured(call).replay}


if __name__ == "__main__":
    sys.exit(main())

"""Levers: ways to a faster training step on CUDA, which `runtime.levers` switches on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import nn

from ltrun.config.settings import LEVERS, Runtime
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.errors import ConfigError

__all__ = ["LEVERS", "check", "chosen", "gathers_in_the_step", "searching", "use"]

TRITON = ("image_kernel", "norm_relu_kernel")
CAPTURED = ("rows_in_graph", "parallel_gradients")
OF_NETWORKS = {"norm_relu_kernel": "norm_relu", "parallel_gradients": "convolution", "joint_casts": "casts"}
"""Levers that change a built network -> the module of ltrun.kernels whose `use` changes it."""
OF_OPERATIONS = ("image_kernel", *OF_NETWORKS)  # inductor writes kernels for these operations itself


def check(runtime: Runtime, device: torch.device | None = None, ranks: Ranks = ALONE) -> None:
    """Raises ConfigError for a lever that the other settings, the device or several ranks leave without effect.

    device: of the run; None where the machine is not known yet.
    """
    reasons = _wants(runtime) | (_lacks(device) if device is not None else {})
    if not ranks.alone:
        reasons |= dict.fromkeys(
            CAPTURED, "works in captured steps alone, which several ranks do not take: train in one process"
        )
        if runtime.sync_bn:
            reasons["norm_relu_kernel"] = "does not reach over ranks: leave runtime.sync_bn=true out"
    for name in chosen(runtime):
        if name in reasons:
            raise ConfigError(f"runtime.levers: {name} {reasons[name]}, or leave {name} out (runtime.levers=[] has none)")


def chosen(runtime: Runtime) -> list[str]:
    """Returns the levers that are on, each once, in the order in which they are applied."""
    return [name for name in LEVERS if name in runtime.levers]


def _wants(runtime: Runtime) -> dict[str, str]:
    """Returns lever -> what it needs, and the way out, for levers that other settings exclude."""
    found: dict[str, str] = {}
    if runtime.precision != "bf16":
        found["joint_casts"] = f"is for bf16, not {runtime.precision}: set runtime.precision=bf16"
    if runtime.accumulate > 1:
        found |= dict.fromkeys(CAPTURED, "works in captured steps alone: set runtime.accumulate=1")
    if runtime.compile is False:
        found |= dict.fromkeys(CAPTURED, "works in captured steps alone: set runtime.compile=auto")
    if runtime.compile is True:
        found |= dict.fromkeys(OF_OPERATIONS, "replaces operations for which inductor makes kernels: set runtime.compile=auto")
    if runtime.device.startswith("cpu"):
        found |= dict.fromkeys(LEVERS, "is for CUDA devices: set runtime.device=cuda")
    return found


def _lacks(device: torch.device) -> dict[str, str]:
    """Returns lever -> what it needs, and the way out, for levers that the device or its libraries exclude."""
    if device.type != "cuda":
        return dict.fromkeys(LEVERS, f"is for CUDA devices, and this run's device is {device.type}: use a machine with a GPU")
    return dict.fromkeys(TRITON, "needs Triton: pip install triton") if find_spec("triton") is None else {}


def use(network: nn.Module, runtime: Runtime) -> None:
    """Changes the modules of a network in place, by the levers that are on; its parameters and buffers keep their names."""
    for name in chosen(runtime):
        if name in OF_NETWORKS:
            import_module(f"ltrun.kernels.{OF_NETWORKS[name]}").use(network)


def gathers_in_the_step(runtime: Runtime) -> bool:
    """Returns whether a step receives row numbers alone, as the image kernel needs them too."""
    return "rows_in_graph" in runtime.levers or "image_kernel" in runtime.levers


@contextmanager
def searching(runtime: Runtime) -> Iterator[None]:
    """Sets for the block whether cuDNN searches for the fastest algorithm. Runs that take turns keep a flag each."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = "cudnn_search" in runtime.levers
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before

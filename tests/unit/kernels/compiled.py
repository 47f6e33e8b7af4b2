"""Compiles the Triton kernels of a module for an H100, which needs no GPU: the interpreter runs what the compiler refuses.

python -m tests.unit.kernels.compiled prints a line a kernel: its name, type of maps, whether it spills registers, instructions.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ltrun.kernels import norm_relu_triton as kernels

H100 = GPUTarget("cuda", 90, 32)


def compile(kernel: Any, arguments: dict[str, Any]) -> Any:
    """Compiles a kernel for arguments: a type such as '*fp32' or 'fp32', or a number.

    Tells Triton the pointers and numbers that are multiples of 16, as a launch does.
    """
    constant = {parameter.name for parameter in kernel.params if parameter.is_constexpr}
    signature = {
        name: "constexpr" if name in constant else value if isinstance(value, str) else "i32"
        for name, value in arguments.items()
    }
    places = {name: (index,) for index, name in enumerate(arguments)}
    multiples = [
        name
        for name, value in arguments.items()
        if name not in constant and (value.startswith("*") if isinstance(value, str) else value % 16 == 0)
    ]
    aligned = {places[name]: [["tt.divisibility", 16]] for name in multiples}
    source = ASTSource(kernel, signature, {places[name]: arguments[name] for name in constant}, aligned)
    return triton.compile(source, target=H100, options={"num_warps": kernels.WARPS})


def main() -> None:
    for layout in (torch.channels_last, torch.contiguous_format):
        plan = kernels.Plan.of(torch.empty(128, 64, 8, 8, device="meta").contiguous(memory_format=layout))
        for kind in ("*fp32", "*bf16"):
            maps = {"maps", "shortcut", "out", "slope", "passed", "found"}
            for kernel in (kernels._moments, kernels._normalise, kernels._slopes, kernels._inner):
                names, shape = kernel.arg_names, dict(zip(kernel.arg_names[-len(plan.shape) :], plan.shape, strict=True))
                usual = {"momentum": "fp32", "eps": "fp32", "splits": plan.splits, "ADDS": True, "PASSED": False} | shape
                binary = compile(kernel, {name: usual.get(name, kind if name in maps else "*fp32") for name in names})
                found = sorted(set(re.findall(r"(?:ld|st)\.global\.v4\.b32|cvt\.rn\.bf16x2\.f32|atom\S*", binary.asm["ptx"])))
                spilled = re.search(r"\.local", binary.asm["ptx"]) is not None
                print(kernel.__name__, kind, spilled, *found)


if __name__ == "__main__":
    main()

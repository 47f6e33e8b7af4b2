"""The assignment of rows to columns: exact on the host, and the same by the kernel for CUDA."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import permutations

import pytest
import torch

from ltrun.kernels.assignment import assignment
from tests.unit.kernels.test_norm_relu import in_a_process

KERNEL = """
import torch
from ltrun.kernels.assignment import assignment
from ltrun.kernels.assignment_triton import assign
torch.manual_seed(0)
for classes in (1, 2, 3, 7, 16, 33):
    for scores in (torch.randn(classes, classes), torch.zeros(classes, classes), -torch.rand(classes, classes)):
        found, expected = assign(scores), assignment(scores)
        assert found.dtype == torch.int64 and sorted(found.tolist()) == list(range(classes))
        rows = torch.arange(classes)
        assert torch.isclose(scores[rows, found].sum(), scores[rows, expected].sum(), rtol=1e-6, atol=1e-5)
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ltrun.kernels.assignment_triton import _assign
for block, warps in ((16, 1), (128, 1), (8192, 32)):
    types = {"costs": "*fp32", "columns": "*i64", "classes": "i32", "BLOCK": "constexpr"}
    source = ASTSource(_assign, types, {(3,): block}, {})
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert ".local" not in binary.asm["ptx"], "registers are spilled"
"""
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="this machine has no Triton")


def test_no_permutation_has_a_larger_sum() -> None:
    torch.manual_seed(0)
    for scores in torch.randn(5, 5, 5):
        rows = torch.arange(5)
        best = max(scores[rows, torch.tensor(order)].sum().item() for order in permutations(range(5)))
        assert scores[rows, assignment(scores)].sum().item() == pytest.approx(best, rel=1e-6)


def test_scores_that_are_no_numbers_still_give_a_permutation() -> None:
    assert sorted(assignment(torch.full((4, 4), torch.nan)).tolist()) == [0, 1, 2, 3]


@needs_triton
@pytest.mark.slow
def test_the_kernel_finds_the_same_sum_in_the_interpreter() -> None:
    in_a_process("-c", KERNEL, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.slow
def test_the_kernel_compiles_for_an_h100(tmp_path: object) -> None:
    in_a_process("-c", COMPILED, TRITON_CACHE_DIR=str(tmp_path))

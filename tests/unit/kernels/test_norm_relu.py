"""Batch norm, addition and ReLU as one operation: torch's own without the lever, and the same numbers with it."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.kernels import norm_relu
from ltrun.network import ResNetCIFAR
from tests.support.cases import differing
from tests.support.levers import both, step
from tests.support.networks import bilateral, plain
from tests.support.tree import ROOT

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="this machine has no Triton")


def in_a_process(*command: str, **more: str) -> str:
    """Runs Python in a process of its own, because Triton reads $TRITON_INTERPRET when it is imported; returns its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TRITON"))} | more
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_triton
@pytest.mark.slow
def test_the_kernels_in_the_interpreter() -> None:
    file = Path(__file__).with_name("interpreted.py")
    in_a_process("-m", "pytest", str(file), "-p", "no:cacheprovider", TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.slow
def test_the_kernels_compile_for_an_h100(tmp_path: Path) -> None:
    """They load and store 16 bytes at once, round to bf16, have no atomics and keep all values in registers."""
    lines = in_a_process("-m", "tests.unit.kernels.compiled", TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(lines) == 2 * 2 * 4
    for line in lines:
        name, kind, spilled, *instructions = line.split()
        writes = name != "_moments"  # writes sums alone
        expected = {"ld.global.v4.b32"} | ({"st.global.v4.b32"} if writes else set())
        expected |= {"cvt.rn.bf16x2.f32"} if writes and kind == "*bf16" else set()
        assert set(instructions) == expected and spilled == "False", line


def test_without_triton_s_interpreter_a_cpu_keeps_torch_s_operations() -> None:
    torch.manual_seed(0)
    for make in (plain, bilateral):
        network, altered = both(make(3), norm_relu.use)
        assert network.state_dict().keys() == altered.state_dict().keys()
        assert any(isinstance(module, norm_relu.NormReLU) for module in altered.modules())
        assert not differing(step(altered), step(network))


@pytest.mark.parametrize("training", [True, False])
def test_the_default_is_three_operations_in_place(training: bool) -> None:
    norm, maps, shortcut = nn.BatchNorm2d(3).train(training), torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    expected = deepcopy(norm)
    assert torch.equal(norm_relu.norm_relu(norm, maps), F.relu(expected(maps)))
    assert torch.equal(norm_relu.norm_relu(norm, maps, shortcut), F.relu(expected(maps) + shortcut))
    identity, given = nn.Identity(), maps.clone()
    assert norm_relu.norm_relu(identity, given, shortcut) is given and torch.equal(given, F.relu(maps + shortcut))
    assert not differing(norm.state_dict(), expected.state_dict())


def test_a_subclass_of_batch_norm_is_left_alone() -> None:
    layers = nn.Sequential(nn.SyncBatchNorm(3), nn.BatchNorm1d(3), nn.BatchNorm2d(3))
    norm_relu.use(layers)
    assert [type(layer) for layer in layers] == [nn.SyncBatchNorm, nn.BatchNorm1d, norm_relu.NormReLU]


def test_every_batch_norm_of_the_backbone_is_a_fusion_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the backbone, and in the trunk and branches of a fork; all shortcuts are added there."""
    for fork in (False, True):
        seen: list[bool] = []

        def fits(self: norm_relu.NormReLU, maps: Tensor, shortcut: Tensor | None, seen: list[bool] = seen) -> bool:
            seen.append(shortcut is not None)
            return False

        monkeypatch.setattr(norm_relu.NormReLU, "fits", fits)
        network = ResNetCIFAR(14, in_channels=3)
        trunk, branches = network.fork("layer1", 1) if fork else (network, [])
        norm_relu.use(nn.ModuleList([trunk, *branches]))
        maps = trunk(torch.randn(2, 3, 8, 8))
        for branch in branches:
            branch(maps)
        assert len(seen) == 13 and sum(seen) == 6

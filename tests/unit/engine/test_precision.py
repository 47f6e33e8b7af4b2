"""Precision of a run: the flags that each precision sets on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ltrun.engine.precision import Precision


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = flags


@pytest.mark.parametrize(("name", "convolutions"), [("fp32", False), ("tf32", True)])
@pytest.mark.parametrize("before", [False, True])
def test_tf32_rounds_in_convolutions_alone(name: Any, convolutions: bool, before: bool) -> None:
    """Matrix products belong to heads, losses and similarities, whatever the flags were before."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
    Precision(name, torch.device("cuda"))
    assert torch.backends.cudnn.allow_tf32 is convolutions
    assert torch.backends.cuda.matmul.allow_tf32 is False

"""Arithmetic of a prediction: the number that torch counts, without the import of torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ltrun.engine.cost import multiply_accumulates
from tests.support.cases import bound, composed, context, digits, normaliser, small, trainer
from tests.support.commands import environment


@pytest.mark.parametrize("method", ["erm", "sade", "ldam_drw"])
def test_multiply_accumulates_are_half_of_the_operations_that_torch_counts(method: str, tmp_path: Path) -> None:
    network = trainer(bound(small(composed(f"method={method}"))), tmp_path).network().eval()
    images = digits()[1].images[:1]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.predict(normaliser()(images))
    assert multiply_accumulates(network, context()) == counter.get_total_flops() / 2 > 10_000


def test_a_run_imports_no_compiler(tmp_path: Path) -> None:
    """torch._dynamo takes as long to import as torch, and a run that compiles nothing needs it nowhere."""
    code = "import sys; from ltrun.cli import dispatch; dispatch(sys.argv[1:]); print('torch._dynamo' in sys.modules)"
    words = ["method=erm", "dataset=digits_lt", "epochs=1", f"outputs={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True, text=True, check=True)
    assert list(tmp_path.rglob("result.json")) and done.stdout.split()[-1] == "False"

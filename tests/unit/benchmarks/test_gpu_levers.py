"""Measurements of levers and of lanes on the imagined device: captured steps, compared before they are timed."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Barrier
from unittest.mock import patch

import pytest
import torch
from gpu import lanes, levers
from gpu.levers import Way, apart
from gpu.verdicts import LAYOUT

from ltrun.contracts.imagined import DEVICE, Mode, imagined_cuda
from ltrun.engine.turns import Turns
from ltrun.optimizer.sgd import FusedSGD

ARGS = Namespace(device="cuda", threads=1, precision="fp32", smoke=True, batch_size=16, repeats=1)
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device, on which the check itself runs")


@pytest.fixture
def imagined() -> Iterator[None]:
    """The device, without what it does not imagine: waiting, and the profiler."""
    with ExitStack() as stack:
        stack.enter_context(imagined_cuda())
        for module in (levers, lanes):
            stack.enter_context(patch.object(module, "prepared", lambda args: DEVICE))
        stack.enter_context(patch("timing.synchronise", lambda device: None))
        graphs = {"busy_us": 0.0, "groups_us": {}}
        stack.enter_context(
            patch.object(levers, "profile", lambda subject: graphs | {"kernels": len(subject.stage.step.graphs)})
        )
        for name in ("empty_cache", "reset_peak_memory_stats", "max_memory_reserved"):
            stack.enter_context(patch.object(torch.cuda, name, lambda *device: 0))
        yield


@pytest.mark.slow
def test_ways_are_captured_and_wrong_gradients_are_found(imagined: None) -> None:
    bench, plain = levers.Bench(ARGS), Way("fp32")
    for names in ((), (LAYOUT,), ("rows_in_graph",)):
        row = bench((Way("fp32", names), plain))
        assert row["distance"] <= 1 and row["kernels"] == 1 and row["ms"] > 0, names
    assert bench((Way("fp32", ("joint_casts",)), plain))["error"].startswith("refused: runtime.levers: joint_casts")

    step = FusedSGD.step

    def without_a_gradient(optimizer: FusedSGD) -> None:
        gradient = optimizer.parameters[3].grad
        assert gradient is not None
        gradient.zero_()
        step(optimizer)

    with patch.object(FusedSGD, "step", without_a_gradient):
        assert bench((Way("fp32", ("cudnn_search",)), plain))["distance"] > 1


@pytest.mark.slow
def test_lanes_train_together_and_the_error_of_one_is_named(imagined: None) -> None:
    lane = lanes.Bench.lane

    def in_its_mode(bench: lanes.Bench, task: lanes.Task, seed: int, turns: Turns, together: Barrier) -> float:
        with Mode():
            return lane(bench, task, seed, turns, together)

    with patch.object(lanes.Bench, "lane", in_its_mode):
        row = lanes.Bench(ARGS)(lanes.Task(3, ("runtime.precision=fp32",), 0.2))
        assert len(row["rates"]) == 3 and row["images_per_second"] == sum(row["rates"])
        train = lanes.Subject.train

        def failing(subject: lanes.Subject) -> dict[str, object]:
            if subject.job.settings.seed == 1:
                raise ValueError("a reason")
            return train(subject)

        with patch.object(lanes.Subject, "train", failing), pytest.raises(ValueError, match="a reason"):
            lanes.Bench(ARGS)(lanes.Task(3, ("runtime.precision=fp32",), 0.2))


def test_a_change_is_compared_with_the_expected_one() -> None:
    one, zero = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    assert apart(one, one) == apart(zero, zero) == 0
    assert apart(1.5 * one, one) == 0.5
    assert apart(zero, one) == 1
    assert apart(one, zero) == apart(one * float("nan"), one) == float("inf")

"""Monitor of losses: the first value that is not finite is named with its part, epoch and step; the last checkpoint is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.monitor import LossMonitor
from ltrun.engine.stage import Row
from ltrun.errors import TrainingError
from ltrun.parts import Adjust, Criterion, Head, Mixer, Term, Weigh
from ltrun.types import Batch, Clock, Outputs, Streams
from tests.support.cases import CPU, bound, changed, composed, small, trainer
from tests.support.training import mine, node


class Bad:
    """Returns nan from the fifth call on: from the second of the three steps in the second epoch."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, value: Tensor) -> Tensor:
        self.calls += 1
        return value * torch.where(torch.tensor(self.calls >= 5), math.nan, 1.0)


class BadTerm(Term):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return self.bad(outputs["main"].logits.square().mean())


class BadAdjust(Adjust):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(logits)


class BadWeigh(Weigh):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(torch.ones(len(labels)))


class BadCriterion(Criterion):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.bad(nn.functional.cross_entropy(logits, labels, reduction="none"))


class BadMixer(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Bad()

    def forward(self, streams: Streams) -> dict[str, Batch]:
        return {**streams, "main": streams["main"].replace(inputs=self.bad(streams["main"].inputs))}


class BadHead(Head):
    def __init__(self, *, features: int, num_classes: int) -> None:
        super().__init__()
        self.inner, self.bad = nn.Linear(features, num_classes), Bad()

    def forward(self, features: Tensor) -> Tensor:
        return self.bad(self.inner(features)) if self.training else self.inner(features)

    @property
    def classes(self) -> Tensor:
        return self.inner.weight


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "term": ({"representation": {"terms": {"mine": {"part": node(BadTerm)}}}}, r"mine|BadTerm"),
    "adjust": ({"margin": {"adjust": node(BadAdjust)}}, r"margin|BadAdjust"),
    "weigh": ({"reweighting": {"weigh": node(BadWeigh)}}, r"reweighting|BadWeigh"),
    "criterion": ({"reweighting": {"criterion": node(BadCriterion)}}, r"reweighting|BadCriterion"),
    "mixer": ({"augmentation": {"mixers": {"mine": node(BadMixer)}}}, r"mine|BadMixer|augmentation"),
    "head": ({"classifier": {"head": node(BadHead)}}, r"network|BadHead"),
}


@pytest.mark.parametrize(("changes", "named"), BAD.values(), ids=BAD)
def test_the_first_part_that_is_not_finite_is_named_with_its_epoch_and_step(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    rows: list[Row] = []
    recipe = mine(changed(small(composed(), epochs=4), **changes))
    with pytest.raises(TrainingError) as caught:
        trainer(recipe, tmp_path, report=rows.append).run()
    sentence = str(caught.value)
    assert "not finite" in sentence and "stage 'train'" in sentence and "epoch 2" in sentence and "step 2" in sentence
    assert re.search(named, sentence.split("Lower optimizer.lr")[0]), f"the part is not named: {sentence}"
    assert len(rows) == 1, "the failed epoch has no row"
    kept = Checkpoints(tmp_path).load(CPU, pytest.fail)
    assert kept is not None and kept["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in kept["module"].values())


class BadOnce(Adjust):
    """Returns nan in one call alone: for the first label column of the second step in the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        self.calls += 1
        return logits * (math.nan if self.calls == 9 else 1.0)


def test_a_part_that_is_called_once_per_label_column_is_named_if_one_call_is_not_finite(tmp_path: Path) -> None:
    recipe = mine(changed(small(composed("augmentation=mixup"), epochs=4), margin={"adjust": node(BadOnce)}))
    with pytest.raises(TrainingError, match=r"(margin|BadOnce).*epoch 2, step 2"):
        trainer(recipe, tmp_path).run()


def test_the_error_for_an_overflow_says_to_lower_the_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite: .*step \d+\. Lower optimizer\.lr"):
        trainer(bound(changed(small(composed()), optimizer__lr=1e30)), tmp_path).run()
    assert Checkpoints(tmp_path).load(CPU, pytest.fail) is None


def test_the_monitor_names_the_earliest_value_that_is_not_finite() -> None:
    monitor, nan, one = LossMonitor(["a", "b"], ["main", "key"]), torch.tensor(math.nan), torch.tensor(1.0)
    for step in range(4):
        values = {"a": nan if step >= 2 else one, "b": nan if step == 1 else one, "total": nan if step >= 1 else one}
        monitor.see(2, values, {"main": Outputs(logits=torch.zeros(2, 3)), "key": Outputs()})
    with pytest.raises(TrainingError, match=r"term 'b', stage 's', epoch 3, step 2"):
        monitor.means(Clock("s", 2, 5), 8)


class Masked(Adjust):
    """Masks a class by minus infinity."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits.index_fill(1, torch.tensor([2]), -math.inf)


def seen(logits: Tensor, after: Sequence[nn.Module]) -> LossMonitor:
    """Returns a monitor that has seen a step in which each part was called once."""
    monitor, one = LossMonitor(["a"], ["main"], after=after), torch.tensor(1.0)
    for part in after:
        part(logits, torch.zeros(len(logits), dtype=torch.int64), Outputs())
    monitor.see(2, {"a": one, "total": one}, {"main": Outputs(logits=logits)})
    return monitor


def test_minus_infinity_is_allowed_in_parts_alone() -> None:
    assert seen(torch.zeros(2, 3), [Masked()]).means(Clock("s", 0, 1), 2) == {"a": 1.0, "total": 1.0}
    with pytest.raises(TrainingError, match="network on stream 'main'"):
        seen(torch.full((2, 3), -math.inf), [Masked()]).means(Clock("s", 0, 1), 2)


class Same(Adjust):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits


class Launches(TorchDispatchMode):
    """Counts what a device would launch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def test_a_monitored_part_costs_one_kernel_of_a_step() -> None:
    """All places together are judged at once."""
    monitors: list[list[str]] = []
    for parts in ([], [Same()], [Same(), type("Other", (Same,), {})()]):
        monitor, one = LossMonitor(["a"], ["main"], after=parts), torch.tensor(1.0)
        with Launches() as launches:
            for part in parts:
                part(torch.zeros(()), torch.zeros(()), Outputs())
            monitor.see(2, {"a": one, "total": one}, {"main": Outputs(logits=torch.zeros(2, 3))})
        monitors.append([name for name in launches.names if name != "zeros"])
    none, once, twice = monitors
    assert sorted(once) == sorted([*none, "amax"]) and sorted(twice) == sorted([*once, "amax"])
    assert sorted(none) == ["_to_copy", "add_", "add_", "clamp", "eq", "logical_and_", "stack", "sum"]


def test_the_monitor_weights_losses_by_images() -> None:
    monitor = LossMonitor(["a"], ["main"])
    for _ in range(2):
        monitor.begin()  # clears the sums of the previous epoch
        monitor.see(30, {"a": torch.tensor(1.0), "total": torch.tensor(2.0)}, {})
        monitor.see(10, {"a": torch.tensor(5.0), "total": torch.tensor(6.0)}, {})
    assert monitor.means(Clock("s", 0, 1), 40) == {"a": 2.0, "total": 3.0}

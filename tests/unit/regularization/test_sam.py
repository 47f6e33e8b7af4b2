"""SAM and ImbSAM: steps by hand, what a second pass leaves behind, batches without tail classes, refusals."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import Mixup
from ltrun.classifier import Linear
from ltrun.engine.objective import Objective
from ltrun.engine.precision import Scaler
from ltrun.engine.update import Plain
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Plain as PlainNetwork
from ltrun.network import ResNetCIFAR
from ltrun.parts import Mixer, Prepare, Update
from ltrun.regularization import SAM, ImbSAM
from ltrun.types import Batch, ClassStats, Clock, Labels
from tests.support.cases import FP32, blind_view

STATS = ClassStats(torch.tensor([50, 30, 19, 5, 0]))
LABELS = [0, 0, 0, 1, 1, 2, 3, 3]


class Doubles(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.double() / 255


def objective(mixers: dict[str, Mixer] | None = None) -> Objective:
    torch.manual_seed(0)
    backbone = ResNetCIFAR(8, width=4, in_channels=1)
    network = PlainNetwork(backbone=backbone, make_head=lambda n: Linear(features=n, num_classes=5)).double()
    terms = {"classification": Classification()}
    return Objective(network, Doubles(), {"main": []}, mixers or {}, terms, {"classification": 1.0}, FP32)


def batch(labels: list[int]) -> dict[str, Batch]:
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    return {"main": Batch(images, Labels.hard(torch.tensor(labels)), torch.arange(8))}


def stepped(update: Update, goal: Objective, labels: list[int]) -> dict[str, Tensor]:
    """Returns the gradient that a step of rate 1 followed."""
    before = {name: p.detach().clone() for name, p in goal.network.named_parameters()}
    torch.manual_seed(7)
    update(goal, torch.optim.SGD(goal.network.parameters(), 1.0), batch(labels))
    return {name: before[name] - p.detach() for name, p in goal.network.named_parameters()}


def loss_of(goal: Objective, labels: list[int], rows: Tensor) -> Tensor:
    """The summed cross-entropy of some rows over the number of all rows, in training mode."""
    streams = batch(labels)
    logits = goal.network.predict(Doubles()(streams["main"].inputs)).need("logits")
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="none")
    return losses[rows].sum() / len(rows)


def slopes(goal: Objective, labels: list[int], rows: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss_of(goal, labels, rows), list(goal.network.parameters())))


def uphill(goal: Objective, slope: list[Tensor], rho: float) -> Objective:
    """A copy whose weights have moved by rho along a gradient."""
    moved, norm = deepcopy(goal), torch.cat([each.flatten() for each in slope]).norm()
    with torch.no_grad():
        for parameter, each in zip(moved.network.parameters(), slope, strict=True):
            parameter.add_(rho * each / norm)
    return moved


def agree(found: dict[str, Tensor], expected: list[Tensor]) -> None:
    for (name, gradient), other in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-12, msg=name)


def test_sam_follows_the_gradient_at_the_worst_weights_nearby() -> None:
    goal, every = objective(), torch.ones(8, dtype=torch.bool)
    moved = uphill(goal, slopes(goal, LABELS, every), 0.05)
    agree(stepped(SAM(0.05), objective(), LABELS), slopes(moved, LABELS, every))


@pytest.mark.parametrize("tail_weight", [1.0, 2.0])
def test_imb_sam_is_plain_for_head_rows_and_sam_for_tail_rows(tail_weight: float) -> None:
    goal, tail = objective(), STATS.counts[torch.tensor(LABELS)] < 20
    head, moved = slopes(goal, LABELS, ~tail), uphill(goal, slopes(goal, LABELS, tail), 0.05)
    expected = [a + tail_weight * b for a, b in zip(head, slopes(moved, LABELS, tail), strict=True)]
    agree(stepped(ImbSAM(0.05, 20, tail_weight, stats=STATS), objective(), LABELS), expected)


def test_a_batch_without_tail_classes_gets_the_plain_step() -> None:
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    plain = stepped(Plain(), objective(), labels)
    agree(stepped(ImbSAM(stats=STATS), objective(), labels), list(plain.values()))


def test_mixed_rows_belong_to_the_tail_in_the_share_of_their_labels() -> None:
    """With a vanishing radius, the tail's gradient at both weights is one, and the step is plain."""
    mixers: dict[str, Mixer] = {"mixup": Mixup()}
    plain = stepped(Plain(), objective(mixers), LABELS)
    near = stepped(ImbSAM(1e-9, tail_weight=1.0, stats=STATS), objective(mixers), LABELS)
    for name in plain:
        torch.testing.assert_close(near[name], plain[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("update", [SAM(0.5), ImbSAM(0.5, stats=STATS)], ids=["sam", "imb_sam"])
def test_the_second_pass_leaves_statistics_losses_and_outputs_of_the_first(update: Update) -> None:
    ends = []
    for one in (update, Plain()):
        goal = objective()
        optimizer = torch.optim.SGD(goal.network.parameters(), 0.0)
        values, outputs, _ = one(goal, optimizer, batch(LABELS))
        ends.append((goal.state_dict(), values["total"], outputs["main"].need("logits")))
    assert ends[0][0].keys() == ends[1][0].keys() and torch.equal(ends[0][1], ends[1][1])
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])
    assert torch.equal(ends[0][2], ends[1][2])


@pytest.mark.parametrize("update", [SAM(), ImbSAM(stats=STATS)], ids=["sam", "imb_sam"])
def test_a_scaled_loss_is_refused(update: Update) -> None:
    goal = objective()
    goal.scaler = Scaler()
    with pytest.raises(ConfigError, match=r"runtime.precision: .* needs its true gradient"):
        update(goal, torch.optim.SGD(goal.network.parameters(), 0.1), batch(LABELS))


def test_values_that_make_no_sense_are_refused() -> None:
    for make in (lambda: SAM(0.0), lambda: ImbSAM(-1.0, stats=STATS)):
        with pytest.raises(ConfigError, match="rho must be above 0"):
            make()
    with pytest.raises(ConfigError, match="tail_weight must be above 0"):
        ImbSAM(tail_weight=0.0, stats=STATS)
    with pytest.raises(ConfigError, match=r"few must be above 5, the images of the smallest class, got 5"):
        ImbSAM(few=5, stats=STATS).adapt(blind_view(Clock("train", 0, 2), STATS))

"""Masked power sampling: probabilities of rows and classes, and the labels that the loss leaves out."""

import pytest
import torch

from ltrun.loss import Classification
from ltrun.parts import Criterion
from ltrun.resampling import MaskedPower
from ltrun.resampling.masked_power import draw_masked
from ltrun.reweighting import SumOfClasses
from ltrun.types import Clock, MultiHot, Outputs

HOT = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]).bool()  # class 3 has no row
COUNTS = torch.tensor([4.0, 2.0, 1.0])


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
def test_a_class_is_drawn_by_the_power_of_its_count_and_then_one_of_its_rows(q: float) -> None:
    drawn = draw_masked(HOT, q, 40_000, torch.Generator().manual_seed(0))
    found = torch.zeros(HOT.shape).index_put_(tuple(drawn.unbind(1)), torch.tensor(1 / 40_000), accumulate=True)
    classes = torch.cat([COUNTS**q / (COUNTS**q).sum(), torch.zeros(1)])
    wanted = HOT * classes / HOT.sum(0).clamp(min=1)
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)


def test_an_epoch_has_as_many_rows_as_the_data() -> None:
    drawn = MaskedPower().draw(MultiHot(HOT), Clock("train", 0, 1), torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 2) and HOT[drawn[:, 0], drawn[:, 1]].all()


@pytest.mark.parametrize(("criterion", "divisor"), [(None, 8), (SumOfClasses(), 2)])
def test_the_other_labels_of_a_row_do_not_count_in_the_loss(criterion: Criterion | None, divisor: int) -> None:
    targets = MultiHot(HOT).take(torch.tensor([1, 4])).only(torch.tensor([1, 1]))
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    loss = Classification(criterion=criterion).loss(logits, targets, Outputs(logits=logits))
    (slope,) = torch.autograd.grad(loss, logits)
    wanted = (logits.sigmoid() - HOT[[1, 4]].double()) / divisor  # left-out entries count in the mean
    wanted[0, 0] = 0  # row 1 also has class 0
    torch.testing.assert_close(slope, wanted.detach())

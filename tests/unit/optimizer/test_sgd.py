"""SGD: its hyperparameters, and updates that match torch.optim.SGD bit for bit."""

import pytest
import torch
from torch import nn

from ltrun.engine.stage import set_rates
from ltrun.optimizer import SGD


def test_sgd_has_the_given_hyperparameters() -> None:
    parameter = nn.Parameter(torch.ones(3))
    made = SGD(0.05, 0.8, 1e-3, True).build({"weight": parameter})
    assert (made.momentum, made.param_groups[0]["weight_decay"], made.nesterov) == (0.8, 1e-3, True)
    assert made.param_groups[0]["lr"].item() == pytest.approx(0.05) and made.param_groups[0]["params"] == [parameter]


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "nesterov"), [(0.9, 2e-4, False), (0.9, 5e-4, True), (0.0, 0.0, False), (0.9, 0.0, False)]
)
def test_sgd_matches_torch_bit_for_bit(momentum: float, weight_decay: float, nesterov: bool) -> None:
    """The rate changes and the state is saved and loaded on the way; a parameter without a gradient stays as it is."""
    torch.manual_seed(0)
    shapes = [(4, 3, 3, 3), (7,), (5, 4)]
    ours, theirs = ([nn.Parameter(torch.full(shape, 0.7)) for shape in shapes] for _ in range(2))
    option = SGD(0.1, momentum, weight_decay, nesterov)
    named = {str(index): parameter for index, parameter in enumerate(ours)}
    made = option.build(named)
    reference = torch.optim.SGD(theirs, 0.1, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)
    for step in range(6):
        rate = 0.1 / (step + 1)
        set_rates(made, [rate])
        set_rates(reference, [rate])
        made.zero_grad()
        reference.zero_grad()
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        if step == 3:
            saved, made = made.state_dict(), option.build(named)
            made.load_state_dict(saved)
            set_rates(made, [rate])
        made.step()
        reference.step()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    before, ours[1].grad = ours[1].detach().clone(), None
    made.step()
    assert torch.equal(ours[1], before) and not torch.equal(ours[0], theirs[0])

"""What schedules and optimizers keep to in runs of any length."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ltrun.engine.stage import set_rates
from ltrun.errors import ConfigError
from ltrun.optimizer import SGD
from ltrun.schedule.cosine import Cosine
from ltrun.schedule.multistep import MultiStep
from ltrun.types import Clock

SCHEDULES: dict[str, MultiStep | Cosine] = {
    "multistep": MultiStep(),
    "cosine": Cosine(),
    "cosine with warm-up": Cosine(warmup=0.1, warmup_start=0.5),
}


def factors(schedule: MultiStep | Cosine, epochs: int) -> list[float]:
    return [schedule.factor(Clock("joint", epoch, epochs)) for epoch in range(epochs)]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 40, 200, 1000])
def test_every_epoch_of_every_length_has_a_rate(name: str, epochs: int) -> None:
    values = factors(SCHEDULES[name], epochs)
    assert all(0 < value <= 1 for value in values)
    assert max(values) == 1.0
    top = values.index(1.0)
    assert values[:top] == sorted(values[:top]) and values[top:] == sorted(values[top:], reverse=True)


def test_short_runs_train() -> None:
    """Steps that fall together in a short run would leave its last epoch nothing: 0.8 and 0.9 of 3 are both epoch 2."""
    assert factors(MultiStep(), 1) == [1.0]
    assert factors(MultiStep(), 2) == [1.0, 0.01]
    assert factors(MultiStep(), 3) == [1.0, 1.0, 0.01]
    assert factors(MultiStep(), 5) == [1.0, 1.0, 1.0, 1.0, 0.01]
    assert factors(MultiStep(), 10) == [1.0] * 8 + [0.01, 0.0001]
    assert factors(Cosine(warmup=0.4), 1) == [1.0]


def test_cosine_begins_where_the_warm_up_ends() -> None:
    assert factors(Cosine(warmup=0.2), 10) == [0.5, 1.0, *factors(Cosine(), 8)]


def test_steps_scale_with_the_stage() -> None:
    """LDAM-DRW's descendants hard-code epochs 160 and 180, whatever --epochs says."""
    for epochs in (20, 100, 400):
        values = factors(MultiStep(), epochs)
        assert values.index(0.01) == 0.8 * epochs and values.index(0.0001) == 0.9 * epochs


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: MultiStep(epochs=0), "epochs"),
        (lambda: MultiStep(factors=[0.1]), "factors"),
        (lambda: MultiStep(factors=[0.1, -0.1]), "factors"),
        (lambda: MultiStep(milestones=[160, 180]), "milestones"),
        (lambda: MultiStep(milestones=[0.9, 0.8]), "milestones"),
        (lambda: MultiStep(warmup=5), "warmup"),
        (lambda: Cosine(epochs=0), "epochs"),
        (lambda: Cosine(warmup_start=2.0), "warmup_start"),
        (lambda: SGD(lr=0.0), "lr"),
        (lambda: SGD(momentum=1.0), "momentum"),
        (lambda: SGD(weight_decay=-1e-4), "weight_decay"),
        (lambda: SGD(momentum=0.0, nesterov=True), "nesterov"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} "):
        make()


def test_sgd_has_the_numbers_it_was_given() -> None:
    parameter = nn.Parameter(torch.ones(3))
    made = SGD(0.05, 0.8, 1e-3, True).build({"weight": parameter})
    assert (made.momentum, made.weight_decay, made.nesterov) == (0.8, 1e-3, True)
    assert made.param_groups[0]["lr"].item() == pytest.approx(0.05) and made.param_groups[0]["params"] == [parameter]


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "nesterov"), [(0.9, 2e-4, False), (0.9, 5e-4, True), (0.0, 0.0, False), (0.9, 0.0, False)]
)
def test_sgd_is_torchs_bit_for_bit(momentum: float, weight_decay: float, nesterov: bool) -> None:
    """Over a rate that changes and a state that was saved and loaded; a parameter without a gradient is left alone."""
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

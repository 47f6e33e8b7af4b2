"""Fused optimizers: groups with rates of their own, clipping by the total norm, scaled gradients and skipped steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.precision import FIRST, Scaler
from ltrun.engine.stage import set_rates
from ltrun.engine.step import leaves
from ltrun.optimizer import SGD, AdamW
from ltrun.optimizer.fused import Fused

SHAPES = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 5)}
RATES = {"a.bias": 0.5, "b*": 0.1}
Make = Callable[[dict[str, nn.Parameter], float | None], Fused]
MAKES: dict[str, Make] = {
    "sgd": lambda named, clip: SGD(0.1, 0.9, 1e-3, True, clip, RATES).build(named),
    "adamw": lambda named, clip: AdamW(0.1, weight_decay=0.1, clip=clip, rates=RATES, decay_norms=False).build(named),
}


def parameters() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.full(shape, 0.7)) for name, shape in SHAPES.items()}


def reference(kind: str, named: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    groups = [{"params": [p], "lr": 0.1 * RATES.get("b*" if name == "b.weight" else name, 1.0)} for name, p in named.items()]
    if kind == "sgd":
        return torch.optim.SGD(groups, 0.1, 0.9, weight_decay=1e-3, nesterov=True)
    for group, parameter in zip(groups, named.values(), strict=True):
        group["weight_decay"] = 0.1 if parameter.dim() > 1 else 0.0
    return torch.optim.AdamW(groups, 0.1)


def give(named: dict[str, nn.Parameter], gradients: list[Tensor], scale: float = 1.0) -> None:
    for parameter, gradient in zip(named.values(), gradients, strict=True):
        parameter.grad = scale * gradient


def draw() -> list[Tensor]:
    return [torch.randn(shape) for shape in SHAPES.values()]


@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_groups_and_clipping_match_torch_with_and_without_a_scaled_loss(kind: str, clip: float | None, scaled: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = parameters(), parameters()
    made, other = MAKES[kind](ours, clip), reference(kind, theirs)
    made.scaling = Scaler() if scaled else None
    for step in range(5):
        base, factor = [group["initial_lr"] for group in made.param_groups], 1 / (step + 1)
        set_rates(made, [rate * factor for rate in base])
        set_rates(other, [group.setdefault("initial_lr", group["lr"]) * factor for group in other.param_groups])
        gradients = draw()
        give(ours, gradients, FIRST if scaled else 1.0)
        give(theirs, gradients)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip)
        made.step()
        other.step()
        for name in SHAPES:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_step_with_gradients_that_are_not_finite_changes_nothing_but_the_scale(kind: str, bad: float) -> None:
    torch.manual_seed(0)
    named = parameters()
    made, scaler = MAKES[kind](named, 0.5), Scaler()
    made.scaling = scaler
    give(named, draw(), FIRST)
    made.step()
    before = [tensor.clone() for tensor in (*named.values(), *leaves(made.state_dict()))]
    gradients = draw()
    gradients[1][2] = bad
    give(named, gradients)
    made.step()
    after = [*named.values(), *leaves(made.state_dict())]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert scaler.scale.item() == FIRST / 2
    give(named, draw(), FIRST / 2)
    made.step()
    assert not torch.equal(before[0], named["a.weight"]) and scaler.scale.item() == FIRST / 2


def test_a_state_of_other_parameters_is_refused() -> None:
    named = {"weight": nn.Parameter(torch.ones(2)), "bias": nn.Parameter(torch.ones(2))}
    with pytest.raises(ValueError, match="zip"):
        SGD().build(named).load_state_dict(SGD().build({"weight": named["weight"]}).state_dict())

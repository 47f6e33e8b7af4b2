"""AdamW: updates that match torch.optim.AdamW bit for bit, and refusals."""

from typing import Any

import pytest
import torch
from torch import nn

from ltrun.engine.stage import set_rates
from ltrun.errors import ConfigError
from ltrun.optimizer import AdamW

SHAPES = [(4, 3, 3, 3), (7,), (5, 4)]


def parameters() -> dict[str, nn.Parameter]:
    return {str(index): nn.Parameter(torch.full(shape, 0.7)) for index, shape in enumerate(SHAPES)}


@pytest.mark.parametrize(("betas", "weight_decay"), [((0.9, 0.999), 0.05), ((0.8, 0.95), 0.0)])
def test_adamw_matches_torch_bit_for_bit(betas: tuple[float, float], weight_decay: float) -> None:
    """The rate changes, the state is saved and loaded on the way, and some steps lack a gradient, which do not count."""
    torch.manual_seed(0)
    ours, theirs = parameters(), parameters()
    option = AdamW(1e-2, betas, 1e-8, weight_decay)
    made = option.build(ours)
    reference = torch.optim.AdamW(theirs.values(), 1e-2, betas, weight_decay=weight_decay, fused=True)
    for step in range(8):
        rate = 1e-2 / (step + 1)
        set_rates(made, [rate])
        set_rates(reference, [rate])
        made.zero_grad()
        reference.zero_grad()
        for name in ours:
            if not (name == "1" and step % 3 == 1):
                ours[name].grad = torch.randn(ours[name].shape)
                theirs[name].grad = ours[name].grad.clone()  # type: ignore[union-attr]
        if step == 3:
            saved, made = made.state_dict(), option.build(ours)
            made.load_state_dict(saved)
            set_rates(made, [rate])
        made.step()
        reference.step()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), step


def test_norms_and_biases_do_not_decay_unless_asked() -> None:
    named = {"block.weight": nn.Parameter(torch.ones(2, 2)), "block.bias": nn.Parameter(torch.ones(2))}
    named |= {"pos_embed": nn.Parameter(torch.ones(1, 2, 2)), "norm.weight": nn.Parameter(torch.ones(2))}
    for decays, moved in ((True, set(named)), (False, {"block.weight"})):
        for parameter in named.values():
            parameter.data.fill_(1)
            parameter.grad = torch.zeros_like(parameter)
        AdamW(0.1, weight_decay=0.5, decay_norms=decays).build(named).step()
        assert {name for name, parameter in named.items() if (parameter != 1).any()} == moved


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 0.0}, "lr must be above 0"),
        ({"betas": [0.9]}, "betas must be two numbers"),
        ({"betas": [0.9, 1.0]}, "betas must be two numbers"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"layer_decay": 0.0}, "layer_decay must be above 0"),
        ({"rates": {"head*": 0.0}}, "rates must be above 0"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AdamW(**changes)

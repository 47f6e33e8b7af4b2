"""Knowledge correction: a step along two gradients of which one is corrected, and its refusals."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from ltrun.classifier import Linear
from ltrun.engine.objective import Objective
from ltrun.engine.precision import Scaler
from ltrun.engine.update import KnowledgeCorrection, Plain
from ltrun.errors import ConfigError
from ltrun.network import Plain as PlainNetwork
from ltrun.network import ResNetCIFAR
from ltrun.parts import Prepare, Term
from ltrun.types import Batch, Labels, Outputs, Streams
from tests.support.cases import FP32


class Pull(Term):
    """The mean logit of one class, times a factor."""

    def __init__(self, column: int, factor: float):
        super().__init__()
        self.column, self.factor = column, factor

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return self.factor * outputs["main"].need("logits")[:, self.column].mean()


class Scale(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / 255


def objective(terms: dict[str, Term]) -> Objective:
    torch.manual_seed(0)
    backbone = ResNetCIFAR(8, width=4, in_channels=1)
    network = PlainNetwork(backbone=backbone, make_head=lambda n: Linear(features=n, num_classes=5))
    weights = dict.fromkeys(terms, 1.0)
    return Objective(network, Scale(), {"main": []}, {}, terms, weights, FP32)


STREAMS = {
    "main": Batch(torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), Labels.hard(torch.arange(8) % 5), torch.arange(8))
}


def stepped(update: KnowledgeCorrection | Plain, terms: dict[str, Term]) -> dict[str, Tensor]:
    """Returns the change of each parameter by a step of rate 1."""
    goal = objective(terms)
    before = {name: parameter.detach().clone() for name, parameter in goal.network.named_parameters()}
    values, _, _ = update(goal, torch.optim.SGD(goal.network.parameters(), 1.0), STREAMS)
    assert {*terms, "total"} == values.keys()
    return {name: parameter.detach() - before[name] for name, parameter in goal.network.named_parameters()}


def test_gradients_that_agree_are_added() -> None:
    terms: dict[str, Term] = {"base": Pull(0, 1.0), "review": Pull(0, 0.5)}
    found, plain = stepped(KnowledgeCorrection(), terms), stepped(Plain(), terms)
    for name in plain:
        torch.testing.assert_close(found[name], plain[name], rtol=1e-4, atol=1e-6)


def test_a_gradient_against_the_others_has_no_effect() -> None:
    opposed = stepped(KnowledgeCorrection(), {"base": Pull(0, 1.0), "review": Pull(0, -3.0)})
    alone = stepped(Plain(), {"base": Pull(0, 1.0)})
    for name in alone:
        torch.testing.assert_close(opposed[name], alone[name], rtol=1e-4, atol=1e-6)


def test_the_base_is_the_sum_of_all_other_terms() -> None:
    """The second term alone opposes the review; together with the first it does not."""
    terms: dict[str, Term] = {"base": Pull(0, 2.0), "more": Pull(0, -1.0), "review": Pull(0, 0.5)}
    found, plain = stepped(KnowledgeCorrection(), terms), stepped(Plain(), terms)
    torch.testing.assert_close(found["head.weight"], plain["head.weight"])


def test_a_term_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"update\.term must be one of several terms, base, total, got review"):
        stepped(KnowledgeCorrection(), {"base": Pull(0, 1.0)})


def test_scaled_gradients_are_refused() -> None:
    goal = objective({"base": Pull(0, 1.0), "review": Pull(1, 1.0)})
    goal.scaler = Scaler()
    with pytest.raises(ConfigError, match="KnowledgeCorrection needs its true gradient"):
        KnowledgeCorrection()(goal, torch.optim.SGD(goal.network.parameters(), 1.0), STREAMS)

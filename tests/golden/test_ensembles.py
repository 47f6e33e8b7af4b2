"""Losses of experts (RIDE, SADE) and of the two branches of BBN against the original authors' numbers.

Class weights, LDAM and balanced softmax are small local parts here; other files test the parts of ltrun.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble import BBN, RIDE, SADE
from ltrun.ensemble.ride import class_temperature, ride
from ltrun.ensemble.sade import inverse_prior, sade, shifts
from ltrun.loss import Classification
from ltrun.network.bilateral import alpha, mix
from ltrun.parts import Adjust, Weigh
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import blind_view
from tests.support.golden import Golden, close, every_case
from tests.support.narrow import present

DTYPES = [torch.float64, torch.float32]
RIDE_CASES = [
    "epoch 160 (last un-weighted), factor -0.45",
    "epoch 161 (first re-weighted), factor -0.45",
    "base temperature 2, epoch 161",
    "reweight_factor 0.2, epoch 161",
]
BALANCED = "BSCE for RIDE-style experts: sum_e CE(z^e+log n)"
SADE_CASES = ["tau=2", "tau=1", "tau=3", "tau=2, classes not sorted by count"]
BBN_CASES = ["alpha schedule", *(f"bbn_mix epoch {epoch} of 200" for epoch in (1, 150, 200))]
LEFT_OUT = {
    "ride": {"RIDELossWithDistill, epoch 161, T_distill=1.5": "test_transfer_values.py has it"},
    "bbn": {
        "reverse-sampler weights": "the samplers have tests of their own",
        "class index drawn for a given uniform number (cumulative search, <=)": "the samplers have tests of their own",
    },
}
EXPERTS = ("expert1_logits", "expert2_logits", "expert3_logits")


def agree(value: Tensor, expected: object) -> None:
    close(value, expected, {torch.float64: 1e-9, torch.float32: 2e-5}[value.dtype])


def view(epoch: int, epochs: int, stats: ClassStats) -> View:
    return blind_view(Clock("joint", epoch, epochs), stats)


def batch(labels: list[int]) -> Batch:
    return Batch(torch.empty(len(labels), 0), Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


class Margin(Adjust):
    """LDAM's margin: subtracts scale * 0.5 * (smallest count / count)^(1/4) from the logit of the label."""

    margin: Tensor

    def __init__(self, counts: Tensor, scale: float):
        super().__init__()
        self.register_buffer("margin", scale * 0.5 * (counts.min() / counts) ** 0.25)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits - self.margin[labels][:, None] * F.one_hot(labels, logits.shape[1])


class Shift(Adjust):
    values: Tensor

    def __init__(self, values: Tensor):
        super().__init__()
        self.register_buffer("values", values)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.values


class Weights(Weigh):
    weights: Tensor

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]


class Reference:
    """A golden case and the inputs of a term for it."""

    def __init__(self, reference: dict[str, Any], case: dict[str, Any], dtype: torch.dtype):
        self.inputs, self.outputs, self.dtype = reference["inputs"], case["outputs"], dtype
        self.hyper = case["hyperparameters"]
        self.counts = torch.tensor(self.inputs[case["inputs"].get("cls_num_list", "cls_num_list")])
        self.stats = ClassStats(self.counts)
        self.labels = self.inputs["labels"]
        self.streams = {"main": batch(self.labels)}
        self.leaves = [torch.tensor(self.inputs[name], dtype=dtype, requires_grad=True) for name in EXPERTS]
        self.experts = torch.stack(self.leaves)

    def base(self, classify: Classification) -> Callable[..., Tensor]:
        return partial(classify.loss, targets=self.streams["main"].targets, outputs=Outputs(experts=self.experts))

    def compare(self, loss: Tensor) -> None:
        assert loss.dtype == self.dtype
        agree(loss, self.outputs["loss"])
        for name, gradient in zip(EXPERTS, torch.autograd.grad(loss, self.leaves, retain_graph=True), strict=True):
            agree(gradient, self.outputs[f"grad_{name}"])


def case_of(golden: Golden, file: str, name: str, dtype: torch.dtype) -> Reference:
    reference = golden(file)
    case = next(case for case in reference["cases"] if case["name"] == name)
    return Reference(reference, case, dtype)


@pytest.mark.parametrize("file", ["ride", "sade_diverse_expert", "bbn"])
def test_every_case_is_covered_or_left_out(golden: Golden, file: str) -> None:
    with every_case(golden(file), LEFT_OUT.get(file, {})) as take:
        for name in {"ride": [*RIDE_CASES, BALANCED], "sade_diverse_expert": SADE_CASES, "bbn": BBN_CASES}[file]:
            take(name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RIDE_CASES)
def test_ride(golden: Golden, name: str, dtype: torch.dtype) -> None:
    case = case_of(golden, "ride", name, dtype)
    later = case.hyper["epoch"] > case.hyper["reweight_epoch"]
    diversity = case.hyper.get("additional_diversity_factor", -0.2)
    base_temperature = case.hyper.get("base_diversity_temperature", 1.0)
    factor = case.hyper.get("reweight_factor", 0.05)
    temperature = class_temperature(case.stats, base_temperature, factor)
    if later:
        agree(temperature, case.outputs["class_temperature"])
    else:
        temperature = torch.full_like(temperature, base_temperature)
    weighs = [Weights(torch.tensor(case.outputs["class_weights"], dtype=torch.float64))] if later else []
    classify = Classification(adjusts=[Margin(case.counts.double(), case.hyper["s"])], weighs=weighs).to(dtype)
    case.compare(ride(case.experts, case.base(classify), temperature.to(dtype), diversity))

    if dtype == torch.float32:  # the part on the run's clock: the original's epoch 161 of 200 is index 160
        term = RIDE(diversity, base_temperature, factor, start=0.8, stats=case.stats, classify=classify)
        term.adapt(view(case.hyper["epoch"] - 1, 200, case.stats))
        case.compare(term({"main": Outputs(experts=case.experts)}, case.streams))


@pytest.mark.parametrize("dtype", DTYPES)
def test_experts_with_balanced_softmax(golden: Golden, dtype: torch.dtype) -> None:
    case = case_of(golden, "ride", BALANCED, dtype)
    classify = Classification(adjusts=[Shift(case.counts.double().log())]).to(dtype)
    case.compare(ride(case.experts, case.base(classify), torch.ones(10, dtype=dtype), diversity=0.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SADE_CASES)
def test_sade(golden: Golden, name: str, dtype: torch.dtype) -> None:
    case = case_of(golden, "sade_diverse_expert", name, dtype)
    prior = case.counts.double() / case.counts.sum()
    agree(prior, case.outputs.get("prior", prior.tolist()))
    agree(inverse_prior(prior), case.outputs["inverse_prior"])
    tau, classify = float(case.hyper["tau"]), Classification()
    case.compare(sade(case.experts, shifts(prior, tau).to(dtype), case.base(classify)))

    if dtype == torch.float32:
        term = SADE(tau, stats=case.stats, classify=classify)
        case.compare(term({"main": Outputs(experts=case.experts)}, case.streams))


def test_the_share_of_the_conventional_branch_falls_as_in_bbn(golden: Golden) -> None:
    """The original rounds 90 epochs to 100 and 180 to 200, and counts from 1."""
    case = next(case for case in golden("bbn")["cases"] if case["name"] == BBN_CASES[0])
    for key, expected in case["outputs"]["alpha"].items():
        epochs, epoch = (int(part.partition("=")[2]) for part in key.split(", "))
        assert alpha(epoch - 1, {90: 100, 180: 200}.get(epochs, epochs)) == pytest.approx(expected, rel=1e-12)
    assert len(case["outputs"]["alpha"]) > 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BBN_CASES[1:])
def test_bbn(golden: Golden, name: str, dtype: torch.dtype) -> None:
    reference = golden("bbn")
    case = next(case for case in reference["cases"] if case["name"] == name)
    inputs, epoch = reference["inputs"], case["hyperparameters"]["epoch"]
    features, rebalancing, weight, bias = (
        torch.tensor(inputs[name], dtype=dtype, requires_grad=True)
        for name in ("features", "features_view2", "classifier_weight", "fc_bias")
    )
    stats = ClassStats(torch.tensor(inputs["cls_num_list"]))
    term = BBN(classify=Classification()).to(dtype)
    term.adapt(view(epoch - 1, 200, stats))
    logits = F.linear(mix(features, rebalancing, term.alpha), weight, bias)
    agree(logits, case["outputs"]["mixed_logits"])
    outputs = Outputs(logits=logits)
    streams = {"main": batch(inputs["labels"]), "reversed": batch(inputs["labels_b"])}
    loss = term({"main": outputs, "reversed": outputs}, streams)
    agree(loss, case["outputs"]["loss"])
    loss.backward()
    agree(present(features.grad), case["outputs"]["grad_features"])
    agree(present(rebalancing.grad), case["outputs"]["grad_features_view2"])

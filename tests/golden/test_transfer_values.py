"""Losses of teachers (DiVE, LFME, RIDE's distillation) against the original authors' numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble.ride import class_temperature, ride
from ltrun.logit_adjustment import BalancedSoftmax
from ltrun.loss import Classification
from ltrun.metrics import GROUPS
from ltrun.transfer import LFME, DiVE, RIDEDistillation
from ltrun.transfer.dive import dive
from ltrun.transfer.lfme import expert_weights, image_weights, initial_weights, lfme
from ltrun.transfer.ride_distillation import distilled
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import STATS, Golden, agree, close, every_case, read

DTYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]
DIVE = {
    "T=2.0 power 0.5 alpha 0.5, balanced softmax": True,
    "T=1.0 power 0.5 alpha 0.9, cross-entropy": False,
    "T=6.0 power 0.25 alpha 0.25, balanced softmax": True,
}
INITIAL = "initial instance weights; class 0 many, 1 median, 2 low"
DISTILLED = "RIDELossWithDistill, epoch 161, T_distill=1.5"
THEIRS = dict(zip(GROUPS, ("many_shot", "median_shot", "low_shot"), strict=True))


def batch(labels: Tensor) -> Batch:
    return Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))


def test_dive(golden: Golden) -> None:
    data, inputs, labels = read(golden, "dive")
    targets = Labels.hard(labels)
    with every_case(data, {}) as take:
        for name, balanced in DIVE.items():
            case = take(name)
            hyper = case["hyperparameters"]
            temperature, power, alpha = float(hyper["T"]), hyper["power"], hyper["alpha"]
            classify = Classification(adjusts=[BalancedSoftmax(stats=STATS)] if balanced else [])
            term = DiVE(temperature, power, alpha, classify=classify)

            def pure(x: Tensor, balanced: bool = balanced, values: tuple[float, ...] = (temperature, power, alpha)) -> Tensor:
                shift = STATS.counts.double().log() if balanced else torch.zeros(10, dtype=torch.float64)
                teacher = torch.tensor(inputs["teacher"], dtype=x.dtype)
                return dive(x, teacher, F.cross_entropy(x + shift.to(x.dtype), labels), *values)

            def composed(x: Tensor, term: DiVE = term) -> Tensor:
                outputs = {"main": Outputs(logits=x), "teacher": Outputs(logits=torch.tensor(inputs["teacher"]))}
                return term(outputs, {"main": Batch(torch.empty(len(labels), 0), targets, labels)})

            agree(case["outputs"], inputs["student"], pure, composed)


def test_lfme(golden: Golden) -> None:
    """The definition multiplies the student's logits by the weights of the images; a test below shows equal confidences."""
    data = golden("lfme")
    with every_case(data, {}) as take:
        for case in data["cases"]:
            if case["name"] != INITIAL:
                for dtype, rtol in DTYPES:
                    lfme_case(data["inputs"], take(case["name"]), dtype, rtol)
        initial = take(INITIAL)
    confidence = torch.tensor(data["inputs"]["confidence"], dtype=torch.float64)
    floors = torch.tensor([12 / 230, 12 / 53, 1.0], dtype=torch.float64)
    found = initial_weights(confidence, torch.tensor(data["inputs"]["image_labels"]), floors)
    close(found, initial["outputs"]["weight"], 1e-9)


def lfme_case(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    hyper, expected = case["hyperparameters"], case["outputs"]
    logits = torch.tensor(inputs["logits"], dtype=dtype, requires_grad=True)
    labels = torch.tensor(inputs["labels"])
    student, expert = (
        torch.tensor([float(hyper[key][name]) for name in THEIRS.values()], dtype=dtype)
        for key in ("student_accuracy", "expert_accuracy")
    )
    weights = expert_weights(student, expert, hyper["decay_thresh"])
    close(weights, [expected["expert_weight"][name] for name in THEIRS.values()], rtol)
    images = image_weights(torch.tensor(inputs["initial_weight"], dtype=dtype), hyper["epoch"] / hyper["epochs"])
    close(images, expected["instance_weight"], rtol)
    experts = [torch.tensor(inputs[f"expert_{name}"], dtype=dtype) for name in ("many", "median", "low")]
    groups = [torch.tensor(hyper["groups"][name]) for name in THEIRS.values()]

    def base(scaled: Tensor) -> Tensor:
        return F.cross_entropy(scaled, labels)

    loss = lfme(logits * images[:, None], base, experts, groups, weights, hyper["temperature"])
    close(loss, expected["loss"], rtol)
    close(torch.autograd.grad(loss, logits)[0], expected["grad_logits"], rtol)
    if dtype == torch.float32:
        gradient = gradient_of_the_part(inputs, hyper, weights, labels, experts, groups)
        close(gradient, expected["grad_logits"], rtol)


def gradient_of_the_part(
    inputs: dict[str, Any], hyper: dict[str, Any], weights: Tensor, labels: Tensor, experts: list[Tensor], groups: list[Tensor]
) -> Tensor:
    """Returns the gradient of the logits by the part, on a data set with the same groups."""
    stats = ClassStats(torch.tensor([200] * 4 + [50] * 3 + [5] * 3))
    term = LFME(hyper["temperature"], hyper["decay_thresh"], stats=stats, classify=Classification())
    term.weights.copy_(weights)
    term.initial[: len(labels)] = torch.tensor(inputs["initial_weight"])
    term.progress.fill_(hyper["epoch"] / hyper["epochs"])
    logits = torch.tensor(inputs["logits"], requires_grad=True)
    outputs = {"main": Outputs(logits=logits)}
    for name, expert, group in zip(GROUPS, experts, groups, strict=True):
        outputs[name] = Outputs(logits=torch.randn(len(labels), 10).index_copy(1, group, expert))
    return torch.autograd.grad(term(outputs, {"main": batch(labels)}), logits)[0]


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_the_distillation_of_ride(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """The original adds the RIDE loss and the distillation of the mean once per expert: its objective is three times ours."""
    reference = golden("ride")
    inputs = reference["inputs"]
    case = next(case for case in reference["cases"] if case["name"] == DISTILLED)
    weighted = next(case for case in reference["cases"] if case["name"].startswith("epoch 161"))
    hyper, labels = case["hyperparameters"], torch.tensor(inputs["labels"])
    leaves = [torch.tensor(inputs[f"expert{n}_logits"], dtype=dtype, requires_grad=True) for n in (1, 2, 3)]
    experts, teacher = torch.stack(leaves), torch.tensor(inputs["logits"], dtype=dtype)
    counts = torch.tensor(inputs["cls_num_list"])
    margin = (30 * 0.5 * (counts.min() / counts.double()) ** 0.25).to(dtype)
    class_weights = torch.tensor(weighted["outputs"]["class_weights"], dtype=dtype)

    def base(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits - margin * F.one_hot(labels, 10), labels, weight=class_weights)

    temperature = class_temperature(ClassStats(counts), 1.0, 0.05).to(dtype)
    own = ride(experts, base, temperature, hyper["additional_diversity_factor"])
    loss = 3 * (own + distilled(experts.mean(dim=0), teacher, hyper["distill_temperature"]))
    term = RIDEDistillation(hyper["distill_temperature"])
    outputs = {"main": Outputs(logits=experts.mean(dim=0)), "teacher": Outputs(logits=teacher)}
    composed = 3 * (own + term(outputs, {"main": batch(labels)}))
    for value in (loss, composed):
        close(value, case["outputs"]["loss"], rtol)
        for n, gradient in enumerate(torch.autograd.grad(value, leaves, retain_graph=True), 1):
            close(gradient, case["outputs"][f"grad_expert{n}_logits"], rtol)

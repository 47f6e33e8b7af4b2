"""Re-weighting against the original authors' numbers: cases that test_losses.py leaves out, losses of several inputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.loss import Classification
from ltrun.parts import Weigh
from ltrun.reweighting import (
    ClassDifficultyBalanced,
    Deferred,
    EffectiveNumber,
    Focal,
    InfluenceBalanced,
    InverseFrequency,
    LabelAwareSmoothing,
    SigmoidFocal,
)
from ltrun.reweighting.class_difficulty_balanced import difficulty_weights
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.reweighting.focal import focal_weights
from ltrun.reweighting.influence_balanced import influence
from ltrun.reweighting.inverse_frequency import inverse_frequency_weights
from ltrun.reweighting.label_aware_smoothing import smoothed_cross_entropy, smoothing_factors
from ltrun.reweighting.sigmoid import sigmoid_focal
from ltrun.types import Batch, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.golden import COUNTS, STATS, Golden, agree, at_epoch, close, compose, every_case, read, sigmoid, weighted

ELSEWHERE = "test_losses.py"
AS_IT_IS = 0.5  # an initial probability that adds nothing to the logits, as in the recorded losses


def test_class_balanced_over_the_batch(golden: Golden) -> None:
    data, inputs, y = read(golden, "class_balanced")
    left_out = {
        'QUIRK vandit15 "softmax": binary CE on softmax probabilities, beta=0.999': "a mistake of a port, recorded as such",
        **{f"weights beta={beta}": ELSEWHERE for beta in (0.9, 0.99, 0.9999)},
        **{f"CB-softmax, PyTorch weighted mean, beta={beta}": ELSEWHERE for beta in (0.9999, 0.999)},
    }
    with every_case(data, left_out) as take:

        def check(name: str, beta: float, gamma: float) -> None:
            weights = effective_number_weights(COUNTS, beta)[y]
            criterion = SigmoidFocal(gamma, AS_IT_IS, num_classes=10)
            agree(
                take(name)["outputs"],
                inputs["logits"],
                lambda x: weighted(sigmoid_focal(x, y, gamma), weights, "batch"),
                compose(y, weighs=[EffectiveNumber(beta, "batch", stats=STATS)], criterion=criterion),
            )

        for beta in (0.9999, 0.999):
            check(f"TF original: CB-sigmoid beta={beta}", beta, 0.0)
        for beta, gamma in ((0.9999, 1.0), (0.9999, 2.0), (0.999, 0.5), (0.999, 2.0)):
            check(f"CB-focal beta={beta} gamma={gamma}", beta, gamma)
            check(f"TF original: CB-focal beta={beta} gamma={gamma}", beta, gamma)

        softmax = take("TF original: CB-softmax beta=0.9999")["outputs"]
        weights = effective_number_weights(COUNTS, 0.9999)[y]
        agree(
            softmax,
            inputs["logits"],
            lambda x: weighted(F.cross_entropy(x, y, reduction="none"), weights, "batch"),
            compose(y, weighs=[EffectiveNumber(0.9999, "batch", stats=STATS)]),
        )


def test_focal_with_class_weights_in_the_probability(golden: Golden) -> None:
    data, inputs, y = read(golden, "focal")
    inside = "focal gamma=1.0 with CB weights beta=0.9999 (weight inside the exponent)"
    with every_case(data, {case["name"]: ELSEWHERE for case in data["cases"] if case["name"] != inside}) as take:
        outputs = take(inside)["outputs"]
        weights = effective_number_weights(COUNTS, 0.9999)
        close(weights, outputs["class_weights"], 1e-9)

        def pure(x: Tensor) -> Tensor:
            losses = F.cross_entropy(x, y, reduction="none")
            return weighted(losses, focal_weights(x, y, 1.0, weights[y].to(x.dtype)), "batch")

        agree(outputs, inputs["logits"], pure, compose(y, weighs=[Focal(class_weights=EffectiveNumber(stats=STATS))]))


def test_label_aware_smoothing(golden: Golden) -> None:
    data, inputs, y = read(golden, "label_aware_smoothing")
    with every_case(data, {}) as take:
        cases: list[tuple[str, float, float, Any, float | None]] = [
            ("concave head=0.4 tail=0.1", 0.4, 0.1, "concave", None),
            ("concave head=0.3 tail=0.0", 0.3, 0.0, "concave", None),
            ("convex head=0.4 tail=0.1", 0.4, 0.1, "convex", None),
            ("exp head=0.4 tail=0.1 power=2.0", 0.4, 0.1, "power", 2.0),
        ]
        for name, head, tail, shape, power in cases:
            outputs = take(name)["outputs"]
            factors = smoothing_factors(COUNTS, head, tail, shape, power)
            close(factors, outputs["smooth"], 1e-9)

            def pure(x: Tensor, factors: Tensor = factors) -> Tensor:
                return smoothed_cross_entropy(x, y, factors[y].to(x.dtype)).mean()

            agree(
                outputs,
                inputs["logits"],
                pure,
                compose(y, criterion=LabelAwareSmoothing(head, tail, shape, power, stats=STATS)),
            )


def test_linear_smoothing_is_a_straight_line() -> None:
    """Not among the recorded cases: eps_tail + (eps_head - eps_tail) (n - n_min) / (n_max - n_min), by hand."""
    expected = [0.1 + 0.3 * (n - 5) / 495 for n in COUNTS.tolist()]
    close(smoothing_factors(COUNTS, 0.4, 0.1, "linear"), expected, 1e-12)


def test_influence_balanced(golden: Golden) -> None:
    data, inputs, y = read(golden, "influence_balanced")
    features = torch.tensor(inputs["features"])
    plain, inverse = InverseFrequency(0.0, stats=STATS), InverseFrequency(stats=STATS)
    cases: dict[str, tuple[float, float | None, Weigh]] = {
        "IB alpha=1000 no class weight": (0.0, None, plain),
        "IB alpha=1000 class weights": (1.0, None, inverse),
        "IB-focal alpha=1000 gamma=1 class weights": (1.0, 1.0, Focal(class_weights=inverse)),
    }
    with every_case(data, {}) as take:
        close(inverse_frequency_weights(COUNTS, 1.0), inputs["class_weights"], 1e-9)
        close(features.abs().sum(dim=1), inputs["feat_l1"], 2e-5)
        for name, (exponent, gamma, class_weights) in cases.items():
            outputs = take(name)["outputs"]

            def pure(x: Tensor, norms: Tensor, exponent: float = exponent, gamma: float | None = gamma) -> Tensor:
                weights = inverse_frequency_weights(COUNTS, exponent)[y].to(x.dtype)
                if gamma is not None:
                    weights = focal_weights(x, y, gamma, weights)
                weights = weights * 1000 / (influence(x, y, norms) + 1e-3)
                return weighted(F.cross_entropy(x, y, reduction="none"), weights, "batch")

            def of_logits(x: Tensor, pure: Callable = pure) -> Tensor:
                return pure(x, torch.tensor(inputs["feat_l1"], dtype=x.dtype))

            def of_norms(norms: Tensor, pure: Callable = pure) -> Tensor:
                return pure(torch.tensor(inputs["logits"], dtype=norms.dtype), norms)

            active = at_epoch(Deferred(InfluenceBalanced(class_weights), 0.5), 100)
            classification = Classification(weighs=[active])

            def composed(x: Tensor, h: Tensor, classification: Classification = classification) -> Tensor:
                return classification.loss(x, Labels.hard(y), Outputs(features=h, logits=x))

            agree(outputs, inputs["logits"], of_logits, partial(composed, h=features), gradient="grad_logits")
            agree(outputs, inputs["feat_l1"], of_norms, gradient="grad_feat_l1")
            h = features.clone().requires_grad_()
            (slope,) = torch.autograd.grad(composed(torch.tensor(inputs["logits"]), h), h)
            close(slope * h.sign(), [[g] * 8 for g in outputs["grad_feat_l1"]], 2e-5)  # the derivative of |h|_1 is sign(h)


def test_generalized_reweighting(golden: Golden) -> None:
    data, inputs, y = read(golden, "disalign")
    left_out = {"DisAlignLinear + GRW 1.2, initial (scale 1, bias 0)": "the calibration: test_lade_and_disalign.py"}
    with every_case(data, left_out) as take:
        for exponent in (1.0, 1.2, 0.0):
            outputs = take(f"GRW exp_scale={exponent}")["outputs"]
            weights = inverse_frequency_weights(COUNTS, exponent)
            close(weights, outputs["class_weights"], 1e-9)

            def pure(x: Tensor, weights: Tensor = weights) -> Tensor:
                return weighted(F.cross_entropy(x, y, reduction="none"), weights[y])

            agree(
                outputs,
                inputs["logits"],
                pure,
                compose(y, weighs=[InverseFrequency(exponent, stats=STATS)]),
            )


@pytest.mark.parametrize("tau", [None, 1.5])
def test_class_difficulty_balanced(golden: Golden, tau: float | None) -> None:
    """No recorded values: w_c = (1 - a_c) ** tau, with sum C, as in the authors' cdb_loss.py for CIFAR, in plain Python."""
    _, inputs, y = read(golden, "class_balanced")
    accuracy = [0.95, 0.9, 0.8, 0.75, 0.6, 0.5, 0.4, 0.2, 0.1, 0.05]
    exponent = sigmoid(0.95 / (0.05 + 0.01)) if tau is None else tau
    raw = [(1 - a) ** exponent for a in accuracy]
    weights = [10 * w / sum(raw) for w in raw]
    found = difficulty_weights(torch.tensor(accuracy, dtype=torch.float64), tau)
    close(found / found.sum() * 10, weights, 1e-9)

    part = ClassDifficultyBalanced(tau, stats=STATS)
    for c, a in enumerate(accuracy):  # an epoch of 20 images a class
        predicted = torch.tensor([c] * round(20 * a) + [(c + 1) % 10] * round(20 * (1 - a)))
        logits, labels = F.one_hot(predicted, 10).float(), torch.full((20,), c)
        part.after_step({"main": Outputs(logits=logits)}, {"main": Batch(logits, Labels.hard(labels), torch.arange(20))})
    part.adapt(blind_view(Clock("train", 1, 200), STATS))
    close(part.weights, weights, 2e-5)
    exact = torch.tensor(weights, dtype=torch.float64)
    x = torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
    value = (exact[y] * (x.logsumexp(1) - x.gather(1, y[:, None])[:, 0])).sum() / 16
    reference = {"loss": value.item(), "grad_logits": torch.autograd.grad(value, x)[0].tolist()}
    agree(
        reference,
        inputs["logits"],
        lambda z: weighted(F.cross_entropy(z, y, reduction="none"), (found / found.sum() * 10)[y], "batch"),
        compose(y, weighs=[part]),
    )

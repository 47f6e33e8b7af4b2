"""Re-weighting against the original authors' numbers: what test_losses.py leaves out, and the losses of more than one input."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.loss import Classification
from ltrun.parts import Adjust, Criterion, Weigh
from ltrun.reweighting import (
    AdaptiveClassSuppression,
    ClassDifficultyBalanced,
    Deferred,
    EffectiveNumber,
    EqualizationV2,
    Focal,
    InfluenceBalanced,
    InverseFrequency,
    LabelAwareSmoothing,
    SigmoidEqualization,
    SigmoidFocal,
    SoftmaxEqualization,
)
from ltrun.reweighting.adaptive_class_suppression import adaptive_class_suppression
from ltrun.reweighting.class_difficulty_balanced import difficulty_weights
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.reweighting.equalization import rare_classes, sigmoid_equalization, softmax_equalization
from ltrun.reweighting.equalization_v2 import equalization_v2, equalization_weights, gradient_sizes
from ltrun.reweighting.focal import focal_weights
from ltrun.reweighting.influence_balanced import influence
from ltrun.reweighting.inverse_frequency import inverse_frequency_weights
from ltrun.reweighting.label_aware_smoothing import smoothed_cross_entropy, smoothing_factors
from ltrun.reweighting.sigmoid import sigmoid_focal
from ltrun.types import Batch, Clock, Labels, Outputs
from tests.golden.test_losses import COUNTS, STATS, agree, at_epoch, read, weighted
from tests.golden.test_schedules import REPOSITORIES, SPANS, factors, option, spread
from tests.support.cases import blind_view
from tests.support.golden import Golden, close, every_case

ELSEWHERE = "test_losses.py"
AS_IT_IS = 0.5  # an initial probability that adds nothing to the logits, as the recorded losses


def compose(
    labels: Tensor, weighs: Sequence[Weigh] = (), criterion: Criterion | None = None, adjusts: Sequence[Adjust] = ()
) -> Callable[[Tensor], Tensor]:
    """The run's loss from options, as the trainer composes it."""
    classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
    return lambda x: classification.loss(x, Labels.hard(labels), Outputs(logits=x))


def test_class_balanced_over_the_batch(golden: Golden) -> None:
    data, inputs, y = read(golden, "class_balanced")
    left_out = {
        'QUIRK vandit15 "softmax": binary CE on softmax probabilities, beta=0.999': "a port's mistake, recorded as such",
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
                compose(y, [EffectiveNumber(beta, "batch", stats=STATS)], criterion),
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
            compose(y, [EffectiveNumber(0.9999, "batch", stats=STATS)]),
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

        agree(outputs, inputs["logits"], pure, compose(y, [Focal(class_weights=EffectiveNumber(stats=STATS))]))


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
            close(slope * h.sign(), [[g] * 8 for g in outputs["grad_feat_l1"]], 2e-5)  # |h|_1 has the slope sign(h)


def test_the_rate_falls_when_influence_is_balanced(golden: Golden) -> None:
    """The authors change the loss and the rate together, at epoch 100 of 200."""
    data = golden("drw_and_lr_schedules")
    (recorded,) = [case["outputs"] for case in data["cases"] if case["name"] == REPOSITORIES["ib"]]
    found = factors(option("influence_balanced"))
    assert found == pytest.approx(spread(recorded[SPANS]), rel=1e-12)
    switch = next(e for e in range(200) if at_epoch(Deferred(InverseFrequency(stats=STATS), 0.5), e).active)
    assert found[switch - 1 : switch + 1] == [1.0, 0.01]


def test_equalization(golden: Golden) -> None:
    data, inputs, y = read(golden, "eql")
    rare = {name: rare_classes(COUNTS, threshold) for name, threshold in (("0.05", 0.05), ("0.02", 0.02))}
    close(COUNTS / COUNTS.sum(), inputs["class_freq"], 1e-6)
    draws = torch.tensor(inputs["uniform_draws"])
    with every_case(data, {}) as take:
        for gamma, threshold in ((1.0, "0.05"), (0.95, "0.02"), (0.0, "0.05")):
            ignored = (draws < gamma) & rare[threshold]

            def softmax(x: Tensor, ignored: Tensor = ignored) -> Tensor:
                return F.cross_entropy(softmax_equalization(x, y, ignored), y)

            agree(
                take(f"softmax EQL gamma={gamma} lambda={threshold}")["outputs"],
                inputs["logits"],
                softmax,
                compose(y, adjusts=[SoftmaxEqualization(gamma, float(threshold), stats=STATS)]) if gamma in (0, 1) else None,
            )

        sigmoid = SigmoidEqualization(1.0, 0.05, AS_IT_IS, stats=STATS)
        agree(
            take("sigmoid EQL lambda=0.05, no background")["outputs"],
            inputs["logits"],
            lambda x: sigmoid_equalization(x, y, rare["0.05"].expand(16, -1)).mean(),
            compose(y, criterion=sigmoid),
        )
        with_background = torch.tensor(inputs["labels_with_bg"])
        foreground = (with_background < 10)[:, None]  # background, label C, is no class and discourages them all
        for name, threshold in (("0.05, 3 background samples (label 10)", "0.05"), ("0.02, lambda 0.02", "0.02")):
            ignored = rare[threshold] & foreground

            def one_of_many(x: Tensor, ignored: Tensor = ignored) -> Tensor:
                return sigmoid_equalization(x, with_background, ignored).mean()

            agree(
                take(f"sigmoid EQL lambda={name}")["outputs"],
                inputs["logits"],
                one_of_many,
            )


NUMBERS = ((4.0, 12, 0.8), (2.0, 6, 0.5))


def test_equalization_v2(golden: Golden) -> None:
    """Two batches, one after the other: the weights of each come from the gradients before it."""
    data, inputs, _ = read(golden, "eqlv2")

    def original(alpha: float, gamma: float, mu: float) -> None:
        """With the detector's last column, whose weights are 1 and whose gradients are not accumulated."""
        ratio = torch.full((10,), 100.0, dtype=torch.float64)
        positive_sum, negative_sum = torch.zeros_like(ratio), torch.zeros_like(ratio)
        one = torch.ones(1, dtype=torch.float64)
        for batch in (1, 2):
            outputs = take(f"alpha={alpha} gamma={gamma} mu={mu}, batch {batch} of 3 (state carried over)")["outputs"]
            y, weights = torch.tensor(inputs[f"batch{batch}_label"]), equalization_weights(ratio, alpha, gamma, mu)
            positive, negative = (torch.cat([w, one]) for w in weights)
            close(positive, outputs["pos_weight_used"], 1e-9)
            close(negative, outputs["neg_weight_used"], 1e-9)

            def pure(x: Tensor, y: Tensor = y, positive: Tensor = positive, negative: Tensor = negative) -> Tensor:
                return equalization_v2(x, y, positive.to(x.dtype), negative.to(x.dtype)).mean()

            agree(outputs, inputs[f"batch{batch}_score"], pure)
            score = torch.tensor(inputs[f"batch{batch}_score"], dtype=torch.float64)
            sizes = gradient_sizes(score, y, positive, negative)
            positive_sum, negative_sum = (
                total + size.sum(0)[:10] for total, size in zip((positive_sum, negative_sum), sizes, strict=True)
            )
            close(positive_sum, outputs["pos_grad_after"], 1e-9)
            close(negative_sum, outputs["neg_grad_after"], 1e-9)
            ratio = positive_sum / (negative_sum + 1e-10)
            close(ratio, outputs["pos_neg_after"], 1e-9)

    with every_case(data, {}) as take:
        for numbers in NUMBERS:
            original(*numbers)
        part = EqualizationV2(initial_probability=AS_IT_IS, num_classes=10)
        for batch, suffix in ((1, ""), (2, "_b")):
            outputs = take(f"plain classification variant (no background column), batch {batch} of 3")["outputs"]
            y = torch.tensor(inputs[f"labels{suffix}"])
            positive, negative = part.weights()
            close(positive, outputs["pos_weight_used"], 2e-5)
            close(negative, outputs["neg_weight_used"], 2e-5)
            exact = [torch.tensor(outputs[key], dtype=torch.float64) for key in ("pos_weight_used", "neg_weight_used")]

            def pure(x: Tensor, y: Tensor = y, exact: Sequence[Tensor] = exact) -> Tensor:
                return equalization_v2(x, y, exact[0].to(x.dtype), exact[1].to(x.dtype)).mean()

            agree(outputs, inputs[f"logits{suffix}"], pure, compose(y, criterion=part))
            logits = torch.tensor(inputs[f"logits{suffix}"])
            part.after_step({"main": Outputs(logits=logits)}, {"main": Batch(logits, Labels.hard(y), torch.arange(16))})
            close(part.ratio, outputs["pos_neg_after"], 2e-5)


def test_generalized_reweighting(golden: Golden) -> None:
    data, inputs, y = read(golden, "disalign")
    left_out = {"DisAlignLinear + GRW 1.2, initial (scale 1, bias 0)": "the calibration, a part of its own"}
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
                compose(y, [InverseFrequency(exponent, stats=STATS)]),
            )


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_adaptive_class_suppression(golden: Golden) -> None:
    """No recorded values: the rule of the authors' acsl.py for foreground samples, term by term, in plain Python.

    w_i is 1 for the label and for every class of probability 0.7 or more; the loss is the sum of w_i BCE_i, over N.
    """
    _, inputs, y = read(golden, "class_balanced")
    total, slopes, suppressed = 0.0, [], 0
    for row, label in zip(inputs["logits"], y.tolist(), strict=True):
        slopes.append([0.0] * 10)
        for c, z in enumerate(row):
            p, t = sigmoid(z), float(c == label)
            if c == label or p >= 0.7:
                suppressed += c != label
                total -= t * math.log(p) + (1 - t) * math.log(1 - p)
                slopes[-1][c] = (p - t) / 16
    assert 0 < suppressed < 16 * 9
    agree(
        {"loss": total / 16, "grad_logits": slopes},
        inputs["logits"],
        lambda x: adaptive_class_suppression(x, y, 0.7).mean(),
        compose(y, criterion=AdaptiveClassSuppression(0.7, AS_IT_IS, num_classes=10)),
    )


@pytest.mark.parametrize("tau", [None, 1.5])
def test_class_difficulty_balanced(golden: Golden, tau: float | None) -> None:
    """No recorded values: w_c = (1 - a_c) ** tau, of sum C, as in the authors' cdb_loss.py for CIFAR, in plain Python."""
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
        compose(y, [part]),
    )

"""Equalization losses against the original authors' numbers, adaptive class suppression against the authors' rule."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.reweighting import AdaptiveClassSuppression, EqualizationV2, SigmoidEqualization, SoftmaxEqualization
from ltrun.reweighting.adaptive_class_suppression import adaptive_class_suppression
from ltrun.reweighting.equalization import rare_classes, sigmoid_equalization, softmax_equalization
from ltrun.reweighting.equalization_v2 import equalization_v2, equalization_weights, gradient_sizes
from ltrun.types import Batch, Labels, Outputs
from tests.support.golden import COUNTS, STATS, Golden, agree, close, compose, every_case, read, sigmoid

AS_IT_IS = 0.5  # an initial probability that adds nothing to the logits, as in the recorded losses


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
        foreground = (with_background < 10)[:, None]  # background, label C, is no class: its rows discourage every class
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
    """Two batches, one after the other: the weights of a batch come from the gradients of the batches before it."""
    data, inputs, _ = read(golden, "eqlv2")

    def original(alpha: float, gamma: float, mu: float) -> None:
        """The detector's loss: its last column has weight 1 and accumulates no gradients."""
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

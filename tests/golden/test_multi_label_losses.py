"""Losses of several labels per row against the original authors' numbers: values, weights and gradients of every case."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.logit_adjustment import NegativeTolerant, NegativeTolerantWeights
from ltrun.logit_adjustment.negative_tolerant import negatives_scaled, prior_shift
from ltrun.loss import Classification
from ltrun.parts import Adjust, Criterion, Weigh
from ltrun.reweighting import (
    Asymmetric,
    AsymmetricSoftmax,
    EffectiveNumber,
    EqualizationV2,
    Focal,
    InverseFrequency,
    Rebalanced,
    SigmoidEqualization,
    SigmoidFocal,
)
from ltrun.reweighting.asymmetric import asymmetric, asymmetric_softmax
from ltrun.reweighting.effective_number import effective_number_weights, weights_of_several
from ltrun.reweighting.equalization import equalization_of_several, rare_classes
from ltrun.reweighting.equalization_v2 import equalization_v2_of_several
from ltrun.reweighting.inverse_frequency import inverse_share_weights
from ltrun.reweighting.rebalanced import rebalanced_weights
from ltrun.reweighting.sigmoid import binary_cross_entropies, focal_factors
from ltrun.types import Batch, ClassStats, MultiHot, Outputs
from tests.support.golden import COUNTS, STATS, Golden, agree, close, compose, every_case, read

DETACHED = {
    "AsymmetricLoss defaults (4,1,0.05), focusing weight detached": (1.0, True),
    "AsymmetricLoss (4,0,0.05) (paper setting), detached": (0.0, True),
    "AsymmetricLossOptimized defaults (4,1,0.05), gradient kept": (1.0, False),
}


def composed(
    hot: Tensor,
    adjusts: Sequence[Adjust] = (),
    weighs: Sequence[Weigh] = (),
    criterion: Criterion | None = None,
    times: float = 1.0,
) -> Callable[[Tensor], Tensor]:
    """Returns the loss of a run with the options, as the trainer composes it, times a constant."""
    classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
    return lambda x: times * classification.loss(x, MultiHot(hot), Outputs(logits=x))


def test_asymmetric(golden: Golden) -> None:
    """The originals sum over rows and classes; ltrun divides by the rows."""
    data = golden("asl")
    inputs = data["inputs"]
    hot, labels = torch.tensor(inputs["ml_targets"], dtype=torch.float64), torch.tensor(inputs["labels"])
    with every_case(data, {}) as take:
        for name, (positive, detach) in DETACHED.items():

            def pure(x: Tensor, positive: float = positive, detach: bool = detach) -> Tensor:
                return asymmetric(x, hot.to(x.dtype), 4.0, positive, 0.05, detach).sum()

            part = Asymmetric(4.0, positive, 0.05, detach)
            agree(take(name)["outputs"], inputs["ml_logits"], pure, composed(hot.float(), criterion=part, times=len(hot)))
        agree(
            take("ASLSingleLabel gamma_pos=0 gamma_neg=4 eps=0.1")["outputs"],
            inputs["logits"],
            lambda x: asymmetric_softmax(x, labels, 4.0, 0.0, 0.1).mean(),
            compose(labels, criterion=AsymmetricSoftmax()),
        )


class Wu:
    """The inputs of the distribution-balanced loss, and its factors in the precision of the logits."""

    def __init__(self, golden: Golden):
        self.data = golden("distribution_balanced")
        self.inputs: dict[str, Any] = self.data["inputs"]
        self.logits = self.inputs["ml_logits"]
        self.hot = torch.tensor(self.inputs["ml_targets"], dtype=torch.float64)
        self.counts = torch.tensor(self.inputs["ml_class_freq"])
        self.images = self.inputs["ml_train_num"]
        self.stats = ClassStats(self.counts, rows=self.images)

    def balanced(self, x: Tensor, mu: float) -> Tensor:
        return rebalanced_weights(self.hot.to(x.dtype), self.counts.to(x.dtype), 0.1, 10.0, mu)

    def loss(self, x: Tensor, mu: float, kappa: float, scale: float, gamma: float, balance: float) -> Tensor:
        """The whole loss in one formula of ltrun's pure functions."""
        hot = self.hot.to(x.dtype)
        z = (x + prior_shift(self.counts, self.images, kappa, scale).to(x.dtype)) * negatives_scaled(hot, scale)
        losses = binary_cross_entropies(z, hot)
        weights = self.balanced(x, mu) * negatives_scaled(hot, 1 / scale)
        return (balance * focal_factors(losses, gamma) * weights * losses).mean()


@pytest.fixture
def wu(golden: Golden) -> Wu:
    return Wu(golden)


CASES = {
    "VOC-LT config (DB-focal)": (0.3, 0.05, 5.0, 2.0, 2.0),
    "COCO-LT config (DB-focal)": (0.2, 0.05, 2.0, 2.0, 2.0),
    "NTR lambda only, init_bias 0": (0.3, 0.0, 5.0, 0.0, 1.0),
    "R-BCE only: rebalance, no NTR, no focal": (0.3, 0.0, 1.0, 0.0, 1.0),
}
WEIGHTED = ("plain BCE", "inverse frequency", "CB average_w beta 0.9", "CB by_class beta 0.99")


@pytest.mark.parametrize("as_weights", [True, False])
def test_distribution_balanced(wu: Wu, as_weights: bool) -> None:
    """Re-balanced weights, negative tolerance and the focal loss, as criterion or as further weights, are separate parts."""
    with every_case(wu.data, dict.fromkeys(WEIGHTED, "test_weights_of_several_labels")) as take:
        for name, numbers in CASES.items():
            mu, kappa, scale, gamma, balance = numbers
            outputs = take(name)["outputs"]
            x = torch.tensor(wu.logits, dtype=torch.float64)
            close(wu.balanced(x, mu), outputs["rebalance_weight_before_NTR"], 1e-9)
            if "init_bias" in outputs:
                close(prior_shift(wu.counts, wu.images, kappa, scale), outputs["init_bias"], 1e-9)
            weighs: list[Weigh] = [Rebalanced(mu=mu, stats=wu.stats), NegativeTolerantWeights(scale)]
            criterion = None
            if as_weights:
                weighs.append(Focal(gamma, balance=balance))
            else:
                criterion = SigmoidFocal(gamma, balance=balance, num_classes=20)
            adjusts = [NegativeTolerant(kappa, scale, stats=wu.stats)]

            def pure(x: Tensor, numbers: tuple[float, ...] = numbers) -> Tensor:
                return wu.loss(x, *numbers)

            agree(outputs, wu.logits, pure, composed(wu.hot.float(), adjusts, weighs, criterion))


def test_weights_of_several_labels(wu: Wu) -> None:
    """The authors' class-balanced weights do not sum to the number of classes: scaled=false; by class, a factor apart."""

    def mean(weights: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: (weights.to(x.dtype) * binary_cross_entropies(x, wu.hot.to(x.dtype))).mean()

    counts = wu.counts.double()
    weights = {
        "plain BCE": torch.ones_like(wu.hot),
        "inverse frequency": inverse_share_weights(wu.counts, wu.images, 1.0).expand_as(wu.hot),
        "CB average_w beta 0.9": weights_of_several(wu.hot, counts, 0.9, "average_w"),
        "CB by_class beta 0.99": weights_of_several(wu.hot, counts, 0.99, "by_class"),
    }
    parts: dict[str, list[Weigh]] = {
        "plain BCE": [],
        "inverse frequency": [InverseFrequency(stats=wu.stats)],
        "CB average_w beta 0.9": [EffectiveNumber(0.9, scaled=False, stats=wu.stats)],
        "CB by_class beta 0.99": [EffectiveNumber(0.99, mode="by_class", scaled=False, stats=wu.stats)],
    }
    with every_case(wu.data, dict.fromkeys(CASES, "test_distribution_balanced")) as take:
        for name in WEIGHTED:
            outputs = take(name)["outputs"]
            if name != "plain BCE":
                recorded = torch.tensor(outputs["rebalance_weight_before_NTR"], dtype=torch.float64)
                close(weights[name], recorded.reshape(-1, recorded.shape[-1]).expand_as(wu.hot).tolist(), 1e-9)
            agree(outputs, wu.logits, mean(weights[name]), composed(wu.hot.float(), weighs=parts[name]))


def test_the_other_averages_of_the_class_balanced_loss(wu: Wu) -> None:
    """No recorded values: average_n and min_n of the authors' CB_weight, row by row in plain Python."""
    counts = wu.counts.tolist()
    for mode in ("average_n", "min_n"):
        expected = []
        for row in wu.hot.tolist():
            images = [n for n, y in zip(counts, row, strict=True) if y]
            n = sum(images) / len(images) if mode == "average_n" else min(images)
            expected.append([(1 - 0.9) / (1 - 0.9**n)] * 20)
        close(weights_of_several(wu.hot, wu.counts.double(), 0.9, mode), expected, 1e-9)


ONE_LABEL = "one label per row: test_equalization_values.py"


def one_hot(labels: Any, classes: int = 10) -> Tensor:
    """(B, C) float32; a row without labels where the label is the background's, C."""
    return F.one_hot(torch.tensor(labels), classes + 1)[:, :classes].float()


def test_equalization_with_background(golden: Golden) -> None:
    """A background proposal is a row without labels, which keeps all its terms. Means over entries are sums over C, a C-th."""
    data, inputs, _ = read(golden, "eql")
    cases = {
        "sigmoid EQL lambda=0.05, no background": (0.05, "labels"),
        "sigmoid EQL lambda=0.05, 3 background samples (label 10)": (0.05, "labels_with_bg"),
        "sigmoid EQL lambda=0.02, lambda 0.02": (0.02, "labels_with_bg"),
    }
    with every_case(data, {case["name"]: ONE_LABEL for case in data["cases"] if "softmax" in case["name"]}) as take:
        for name, (threshold, labels) in cases.items():
            hot, rare = one_hot(inputs[labels]), rare_classes(COUNTS, threshold).expand(16, -1)

            def pure(x: Tensor, hot: Tensor = hot, rare: Tensor = rare) -> Tensor:
                return equalization_of_several(x, hot.to(x.dtype), rare).sum() / 16

            part = SigmoidEqualization(1.0, threshold, stats=STATS)
            agree(take(name)["outputs"], inputs["logits"], pure, composed(hot, criterion=part, times=10))


def test_equalization_v2(golden: Golden) -> None:
    """The variant without background, whose second batch is weighted by the gradients of the first."""
    data, inputs, _ = read(golden, "eqlv2")
    plain = "plain classification variant (no background column), batch {} of 3"
    names = [plain.format(1), plain.format(2)]
    part = EqualizationV2(num_classes=10)
    left_out = {case["name"]: ONE_LABEL for case in data["cases"] if case["name"] not in names}
    with every_case(data, left_out) as take:
        for name, suffix in zip(names, ("", "_b"), strict=True):
            outputs, hot = take(name)["outputs"], one_hot(inputs[f"labels{suffix}"])
            exact = [torch.tensor(outputs[key], dtype=torch.float64) for key in ("pos_weight_used", "neg_weight_used")]

            def pure(x: Tensor, hot: Tensor = hot, exact: Sequence[Tensor] = exact) -> Tensor:
                return equalization_v2_of_several(x, hot.to(x.dtype), exact[0].to(x.dtype), exact[1].to(x.dtype)).sum() / 16

            agree(outputs, inputs[f"logits{suffix}"], pure, composed(hot, criterion=part, times=10))
            logits = torch.tensor(inputs[f"logits{suffix}"])
            part.after_step({"main": Outputs(logits=logits)}, {"main": Batch(logits, MultiHot(hot), torch.arange(16))})
            close(part.ratio, outputs["pos_neg_after"], 2e-5)


def test_focal_of_sigmoids(golden: Golden) -> None:
    """CB-focal of one label per row: its weights are the row's, so the mean of weights of its labels."""
    data, inputs, y = read(golden, "class_balanced")
    cases = {(case["hyperparameters"]["beta"], case["hyperparameters"]["gamma"]): case["outputs"]
             for case in data["cases"] if case["name"].startswith("CB-focal")}  # fmt: skip
    assert len(cases) == 4
    for (beta, gamma), outputs in cases.items():
        hot, weights = one_hot(y.tolist()), effective_number_weights(COUNTS, beta)[y][:, None]

        def pure(x: Tensor, hot: Tensor = hot, weights: Tensor = weights, gamma: float = gamma) -> Tensor:
            losses = binary_cross_entropies(x, hot.to(x.dtype))
            return (weights.to(x.dtype) * focal_factors(losses, gamma) * losses).sum() / 16

        weighs: list[Weigh] = [EffectiveNumber(beta, stats=STATS)]
        agree(outputs, inputs["logits"], pure, composed(hot, (), weighs, SigmoidFocal(gamma, num_classes=10), times=10))

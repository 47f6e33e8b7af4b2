"""Mixup, Remix and UniMix with Bayias, as mixed images and as losses of weighted label columns, against recorded values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.mixup import mixup
from ltrun.augmentation.remix import label_share
from ltrun.augmentation.unimix import mixing_factor, partner_weights
from ltrun.logit_adjustment import Bayias
from ltrun.logit_adjustment.bayias import bayias
from ltrun.loss import Classification
from ltrun.parts import Adjust, Weigh
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import COUNTS, STATS, Golden, agree, close, every_case

TYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]


class Weights(Weigh):
    """Class weights of a PyTorch weighted mean."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weights = weights

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]


@pytest.mark.parametrize(("dtype", "rtol"), TYPES)
def test_mixup_with_and_without_class_weights(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("mixup_forms")
    given = data["inputs"]
    labels, partner = torch.tensor(given["labels"]), torch.tensor(given["permutation"])
    batch = Batch(torch.tensor(given["x"], dtype=dtype), Labels.hard(labels), torch.arange(len(labels)))
    with every_case(data, {}) as take:
        for name in ("mixup lambda 0.3", "mixup lambda 0.5, class weights", "mixup lambda 1.0"):
            case = take(name)
            keep = torch.tensor(case["hyperparameters"]["lam"], dtype=dtype)
            weighs = [Weights(torch.tensor(given["class_weight"], dtype=dtype))] if case["hyperparameters"]["weighted"] else []
            mixed = mixup(batch, partner, keep)
            weight = torch.tensor(given["weight"], dtype=dtype, requires_grad=True)
            logits = mixed.inputs.flatten(1) @ weight
            loss = Classification(weighs=weighs).loss(logits, mixed.targets, Outputs(logits=logits))
            close(mixed.inputs, case["outputs"]["mixed"], rtol)
            close(loss, case["outputs"]["loss"], rtol)
            close(torch.autograd.grad(loss, weight)[0], case["outputs"]["grad_weight"], rtol)


QUIRK = {
    "QUIRK BagofTricks remix: batch-mean CE used per sample, lambda_x=0.3": "combines the shares of the rows with a loss "
    "averaged over the batch, and so loses the pairing of both"
}


def test_remix(golden: Golden) -> None:
    data = golden("remix")
    given = data["inputs"]
    with every_case(data, QUIRK) as take:
        for name in ("truth table kappa=3 tau=0.5", "truth table kappa=2 tau=0.3"):
            case = take(name)
            own, other = torch.tensor(case["inputs"]["pairs (n_i,n_j)"]).unbind(1)
            rule = case["hyperparameters"]
            for keep, row in zip(case["inputs"]["lambda_x"], case["outputs"]["lambda_y[lambda][pair]"], strict=True):
                share = torch.tensor(keep, dtype=torch.float64)
                close(label_share(share, own, other, rule["kappa"], rule["tau"]), row, 1e-15)
        case = take("remix loss, lambda_x=0.8")
        first, second = torch.tensor(given["labels"]), torch.tensor(given["labels_b"])
        share = label_share(torch.tensor(0.8, dtype=torch.float64), COUNTS[first], COUNTS[second], 3, 0.5)
        close(share, case["outputs"]["lambda_y"], 1e-15)
        _agree_of_columns(case, given["logits"], Labels.hard(first).mix(Labels.hard(second), share))


def test_unimix_and_bayias(golden: Golden) -> None:
    data = golden("unimix_bayias")
    given = {name: torch.tensor(values) for name, values in data["inputs"].items()}
    assert torch.equal(given["cls_num_list"], COUNTS)
    first, second = given["labels"], given["labels2"]
    draws = torch.tensor(data["inputs"]["beta_draws"], dtype=torch.float64)
    factor = mixing_factor(draws, COUNTS[first], COUNTS[second])
    with every_case(data, {}) as take:
        for tau in ("-0.1", "0", "1.5"):
            weights = partner_weights(COUNTS, float(tau))[first]
            close(weights / weights.sum(), take(f"partner probabilities, tau={tau}")["outputs"]["probability"], 1e-9)
        close(factor, take("mixing factor from given Beta draws")["outputs"]["factor"], 1e-9)

        case = take("UniMix with Bayias, test distribution skewed")
        targets = Labels.hard(first).mix(Labels.hard(second), factor)
        _agree_of_columns(case, data["inputs"]["logits"], targets, data["inputs"]["skewed"])
        logits = torch.tensor(data["inputs"]["logits"], dtype=torch.float64) + bayias(COUNTS, given["skewed"].double())
        rows = torch.nn.functional.cross_entropy(logits, first, reduction="none")
        close(rows, case["outputs"]["per_sample_first_label"], 1e-9)

        case = take("Bayias without mixing (equals balanced softmax when the test distribution is uniform)")
        _agree_of_columns(case, data["inputs"]["logits"], Labels.hard(first), data["inputs"]["uniform"])


def _agree_of_columns(case: dict[str, Any], logits: Any, targets: Labels, test: list[float] | None = None) -> None:
    """Compares loss and gradient of the label columns: of the pure function, and of the option composed into the loss."""

    def loss(x: Tensor, adjusts: list[Adjust]) -> Tensor:
        return Classification(adjusts=adjusts).loss(x, targets, Outputs(logits=x))

    offset = 0 if test is None else bayias(COUNTS, torch.tensor(test, dtype=torch.float64))
    part: list[Adjust] = [] if test is None else [Bayias(test, stats=STATS)]
    agree(case["outputs"], logits, lambda x: loss(x + offset, []), lambda x: loss(x, part))


def test_bayias_of_a_uniform_test_set_is_the_default() -> None:
    logits, none = torch.randn(3, 2), torch.zeros(3, dtype=torch.long)
    stats = ClassStats(torch.tensor([9, 0]))
    uniform = Bayias([2.0, 2.0], stats=stats)(logits, none, Outputs())
    torch.testing.assert_close(Bayias(stats=stats)(logits, none, Outputs()), uniform)
    assert uniform.isfinite().all()

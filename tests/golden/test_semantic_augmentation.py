"""ISDA and MetaSAug against the original authors' numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.augmentation import ISDA, MetaSAug
from ltrun.augmentation.isda import isda_logits
from ltrun.augmentation.moments import Moments, joined
from ltrun.loss import Classification
from ltrun.margin.ldam import ldam_margins
from ltrun.reweighting import EffectiveNumber
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.types import Batch, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.golden import COUNTS, STATS, Golden, close, every_case

BATCHES = {"batch 1": ("features", "labels"), "batch 2": ("features_view2", "labels_b")}
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 2e-5)]


def tensors(data: dict[str, Any], dtype: torch.dtype, *names: str) -> list[Tensor]:
    """Returns inputs of a file: labels as integers, all else in `dtype` and with a gradient."""
    made = [torch.from_numpy(np.array(data["inputs"][name])) for name in names]
    return [x if x.dtype == torch.int64 else x.to(dtype).requires_grad_() for x in made]


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
def test_isda(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("isda")
    with every_case(data, {}) as take:
        for ratio, last in ((0.5, 1), (0.5, 2), (0.1, 2), (0.0, 1)):
            outputs = take(f"ratio={ratio}, batch {last} of 2 (statistics carried over)")["outputs"]
            moments = Moments(torch.zeros(10, dtype=dtype), torch.zeros(10, 8, dtype=dtype), torch.zeros(10, 8, 8, dtype=dtype))
            for features_name, labels_name in list(BATCHES.values())[:last]:
                features, labels, weight, bias = tensors(data, dtype, features_name, labels_name, "fc_weight", "fc_bias")
                moments = joined(moments, features.detach(), labels, torch.ones(16, dtype=dtype))
            logits = isda_logits(F.linear(features, weight, bias), labels, weight, moments.covariances, ratio)
            loss = F.cross_entropy(logits, labels)
            assert loss.item() == pytest.approx(outputs["loss"], rel=rtol)
            loss.backward()
            for x, name in ((features, features_name), (weight, "fc_weight"), (bias, "fc_bias")):
                assert x.grad is not None
                close(x.grad, outputs[f"grad_{name}"], rtol)
            for found, name in zip(moments, ("Amount", "Ave", "CoVariance"), strict=True):
                if name in outputs:
                    close(found, outputs[name], rtol)


def test_isda_as_a_part_of_the_loss(golden: Golden) -> None:
    """Two steps of the part, whose ratio is 0.5 at half of the stage: the batch counts before it is stored, and only once."""
    data, part = golden("isda"), ISDA(strength=1.0, num_classes=10, features=8)
    part.adapt(blind_view(Clock("train", 100, 200), STATS))
    classification = Classification(adjusts=[part])
    for number, (features_name, labels_name) in enumerate(BATCHES.values(), 1):
        expected = next(c for c in data["cases"] if c["name"].startswith(f"ratio=0.5, batch {number}"))["outputs"]
        features, labels, weight, bias = tensors(data, torch.float32, features_name, labels_name, "fc_weight", "fc_bias")
        outputs = Outputs(features=features, logits=F.linear(features, weight, bias), head=weight)
        main = Batch(torch.zeros(16), Labels.hard(labels), torch.arange(16))
        for _ in range(2):  # an ensemble calls the loss several times in a step
            loss = classification({"main": outputs}, {"main": main})
        assert loss.item() == pytest.approx(expected["loss"], rel=2e-5)
        close(torch.autograd.grad(loss, features)[0], expected[f"grad_{features_name}"], 2e-5)
        part.after_step({"main": outputs.detach()}, {"main": main})
        close(part.moments.covariances, expected["CoVariance"], 2e-5)
        assert part.moments.counts.tolist() == expected["Amount"]


@pytest.mark.parametrize("ratio", [0.2, 0.0])
def test_metasaug(golden: Golden, ratio: float) -> None:
    """The loss under given covariances, as the part and the class weights of the run make it up."""
    data = golden("metasaug")
    assert data["inputs"]["cls_num_list"] == COUNTS.tolist()
    left_out = {f"LDAM_meta ratio={other}": "the other parameter of this test" for other in {0.2, 0.0} - {ratio}}
    with every_case(data, left_out) as take:
        outputs = take(f"LDAM_meta ratio={ratio}")["outputs"]
        for dtype, rtol in PRECISIONS:
            features, labels, weight, bias, cov = tensors(data, dtype, "features", "labels", "fc_weight", "fc_bias", "cov")
            part = MetaSAug(strength=ratio, initial=1.0, stats=STATS, features=8).to(dtype)
            part.margins.copy_(ldam_margins(COUNTS, 0.5))
            weights = EffectiveNumber(stats=STATS).to(dtype)
            weights.weights.copy_(effective_number_weights(COUNTS, 0.9999))
            part.ratio.fill_(ratio)  # exactly, in double precision
            part.moments.covariances.copy_(cov.detach())
            made = Outputs(features=features, logits=F.linear(features, weight, bias), head=weight)
            main = Batch(torch.zeros(16), Labels.hard(labels), torch.arange(16))
            loss = Classification(adjusts=[part], weighs=[weights])({"main": made}, {"main": main})
            assert loss.item() == pytest.approx(outputs["loss"], rel=rtol)
            for x, name in ((features, "grad_features"), (part.change, "grad_cov")):
                close(torch.autograd.grad(loss, x, retain_graph=True)[0], outputs[name], rtol)

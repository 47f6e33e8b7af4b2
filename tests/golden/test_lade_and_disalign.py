"""LADE and DisAlign against the original authors' numbers: as pure functions, and as parts that a user composes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.classifier import DisAlign, Linear
from ltrun.classifier.disalign import aligned
from ltrun.logit_adjustment import LADE, LogitAdjustment
from ltrun.logit_adjustment.lade import lade, shares
from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.loss import Classification
from ltrun.reweighting import InverseFrequency
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import Golden, close, every_case

COUNTS = torch.tensor([500, 299, 179, 107, 64, 38, 23, 13, 8, 5])
STATS = ClassStats(COUNTS)
PRIOR = COUNTS.double() / COUNTS.sum()
DTYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]


def read(golden: Golden, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    data = golden(name)
    assert data["inputs"]["cls_num_list"] == COUNTS.tolist()
    return data, data["inputs"]


def agree(function: Callable[[Tensor], Tensor], inputs: Any, outputs: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    gradient = next(key for key in outputs if key.startswith("grad_"))
    x = torch.tensor(inputs, dtype=dtype, requires_grad=True)
    value = function(x)
    assert value.item() == pytest.approx(outputs["loss"], rel=rtol)
    close(torch.autograd.grad(value, x)[0], outputs[gradient], rtol)


def test_lade(golden: Golden) -> None:
    data, inputs = read(golden, "lade")
    labels = {"logits": torch.tensor(inputs["labels"]), "logits_c": torch.tensor(inputs["labels_c"])}
    regularisers = {
        "remine_lambda=0.1, all classes present": ("logits", 0.1),
        "remine_lambda=0.5, all classes present": ("logits", 0.5),
        "remine_lambda=0.1, some classes absent from the batch": ("logits_c", 0.1),
    }

    def term(remine_lambda: float, y: Tensor) -> Callable[[Tensor], Tensor]:
        part = LADE(remine_lambda, stats=STATS)
        streams = {"main": Batch(torch.empty(len(y), 0), Labels.hard(y), torch.arange(len(y)))}
        return lambda x: part({"main": Outputs(logits=x)}, streams)

    with every_case(data, {}) as take:
        for name, (key, remine_lambda) in regularisers.items():
            outputs, y = take(name)["outputs"], labels[key]
            assert (len(y.unique()) < 10) == ("absent" in name)
            for dtype, rtol in DTYPES:
                hot = shares(Labels.hard(y), 10).to(dtype)

                def pure(x: Tensor, hot: Tensor = hot, remine_lambda: float = remine_lambda) -> Tensor:
                    return lade(x, hot, PRIOR.to(x.dtype), remine_lambda)

                agree(pure, inputs[key], outputs, dtype, rtol)
            agree(term(remine_lambda, y), inputs[key], outputs, torch.float32, 2e-5)

        both, y = take("full objective PriorCE + 0.1*LADE")["outputs"], labels["logits"]
        hot, shift = shares(Labels.hard(y), 10).double(), log_prior(COUNTS, 1.0, eps=1e-9)
        agree(lambda x: F.cross_entropy(x + shift, y) + 0.1 * lade(x, hot, PRIOR), inputs["logits"], both, torch.float64, 1e-9)
        classification, regulariser = Classification(adjusts=[LogitAdjustment(stats=STATS)]), term(0.1, y)
        agree(
            lambda x: classification.loss(x, Labels.hard(y), Outputs(logits=x)) + 0.1 * regulariser(x),
            inputs["logits"],
            both,
            torch.float32,
            2e-5,
        )


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_disalign(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data, inputs = read(golden, "disalign")
    left_out = {f"GRW exp_scale={rho}": "class weights: test_reweighting.py" for rho in ("1.0", "1.2", "0.0")}
    y = torch.tensor(inputs["labels"])
    with every_case(data, left_out) as take:
        outputs = take("DisAlignLinear + GRW 1.2, initial (scale 1, bias 0)")["outputs"]
        head = DisAlign(head=Linear(features=8, num_classes=10)).to(dtype)
        assert torch.equal(head.confidence.weight.float(), torch.full((1, 8), 0.1))  # as in the original
        assert torch.equal(head.scales, torch.ones(10, dtype=dtype)) and not head.biases.any()
        names = {"head.weight": "fc_weight", "head.bias": "fc_bias", "confidence.weight": "conf_w", "confidence.bias": "conf_b"}
        head.load_state_dict({k: torch.tensor(inputs[v], dtype=dtype) for k, v in names.items()}, strict=False)
        features = torch.tensor(inputs["features"], dtype=dtype, requires_grad=True)
        logits = head(features)
        close(logits, outputs["logits_after"], rtol)
        loss = F.cross_entropy(logits, y, (1 / PRIOR**1.2).to(dtype))
        assert loss.item() == pytest.approx(outputs["loss"], rel=rtol)
        composed = Classification(weighs=[InverseFrequency(1.2, stats=STATS)])  # the weights of decoupling=disalign, in float32
        assert composed.loss(logits.float(), Labels.hard(y), Outputs()).item() == pytest.approx(outputs["loss"], rel=2e-5)
        wanted = {
            "grad_logit_scale": head.scales,
            "grad_logit_bias": head.biases,
            "grad_confidence_weight": head.confidence.weight,
            "grad_confidence_bias": head.confidence.bias,
            "grad_features": features,
        }
        for (key, tensor), gradient in zip(wanted.items(), torch.autograd.grad(loss, list(wanted.values())), strict=True):
            expected = torch.tensor(outputs[key], dtype=torch.float64).reshape(tensor.shape)
            close(gradient, expected.tolist(), rtol)


def test_disalign_with_scales_and_offsets_other_than_the_initial_ones(golden: Golden) -> None:
    """The file has these scales and offsets but no outputs for them: the equation, image by image, class by class."""
    _, inputs = read(golden, "disalign")
    h, w, b, v, c, s, t = (
        torch.tensor(inputs[key], dtype=torch.float64)
        for key in ("features", "fc_weight", "fc_bias", "conf_w", "conf_b", "scale", "bias")
    )
    logits = h @ w.T + b
    found = aligned(logits, (h @ v.T + c).sigmoid(), s, t)
    for i in range(len(h)):
        sigma = 1 / (1 + torch.exp(-(sum(v[0, d] * h[i, d] for d in range(8)) + c[0])))
        for k in range(10):
            torch.testing.assert_close(found[i, k], (1 + sigma * s[k]) * logits[i, k] + sigma * t[k], rtol=1e-12, atol=1e-12)

"""Post-hoc predictions against the original authors' numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.parts import PostHoc
from ltrun.posthoc import UNOIC, LogitAdjustment, PCSoftmax, SADEAggregation, TauNorm
from ltrun.posthoc.sade_aggregation import aggregate, improve
from ltrun.posthoc.tau_norm import tau_normalised
from ltrun.types import ClassStats, Outputs
from tests.support.golden import Golden, close, every_case


def doubles(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_logit_adjustment(golden: Golden) -> None:
    data = golden("logit_adjustment")
    logits, counts = doubles(data["inputs"]["logits"]), torch.tensor(data["inputs"]["cls_num_list"])
    left_out = {case["name"]: "test_losses.py" for case in data["cases"] if not case["name"].startswith("post-hoc")}
    with every_case(data, left_out) as take:
        for tau in (1, 0.5):
            outputs = take(f"post-hoc tau={tau}")["outputs"]
            close(logits - log_prior(counts, tau), outputs["adjusted_logits"], 1e-9)
            scores = LogitAdjustment(tau, stats=ClassStats(counts))(Outputs(logits=logits.float()))
            close(scores, outputs["adjusted_logits"], 2e-5)
            assert scores.argmax(1).tolist() == outputs["argmax"]
            # Two other papers' corrections to a uniform prior, as posteriors, because a constant in all logits changes none.
            posterior = doubles(outputs["adjusted_logits"]).softmax(1).tolist()
            others: list[PostHoc] = [UNOIC(float(tau), stats=ClassStats(counts))]
            others += [PCSoftmax(stats=ClassStats(counts))] if tau == 1 else []
            for other in others:
                close(other(Outputs(logits=logits.float())).softmax(1), posterior, 2e-5)


def test_tau_norm(golden: Golden) -> None:
    data = golden("tau_norm_lws")
    features, weight = doubles(data["inputs"]["features"]), doubles(data["inputs"]["fc_weight"])
    lws = "LWS is a head: test_network_values.py"
    with every_case(data, {"LWS initial scales 1": lws, "LWS scales 0.6..1.5": lws}) as take:
        for tau in (0.0, 0.5, 1.0, 1.5):
            outputs = take(f"tau={tau}")["outputs"]
            close(tau_normalised(weight, tau), outputs["normalised_weight"], 1e-9)
            for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
                scores = TauNorm(tau)(Outputs(features=features.to(dtype), head=weight.to(dtype)))
                close(scores, outputs["logits"], rtol)
                assert scores.argmax(1).tolist() == outputs["argmax"]


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_sade_aggregation(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("sade_test_time")
    first, second = (
        torch.stack([doubles(data["inputs"][f"expert{k}_logits{view}"]) for k in (1, 2, 3)]).to(dtype)
        for view in ("", "_view2")
    )
    trust = torch.full((3,), 1 / 3, dtype=dtype, requires_grad=True)
    optimizer = SADEAggregation().optimizer(trust)
    with every_case(data, {}) as take:
        outputs = take("2 batches of 8, 5 epochs, no early stop applied")["outputs"]
        weights, agreements, rounded = [], [], []
        for _ in range(5):
            for rows in (slice(0, 8), slice(8, 16)):
                agreements.append(improve(trust, optimizer, first[:, rows], second[:, rows]))
                weights.append(trust.detach().softmax(0))
            rounded.append(trust.detach().softmax(0).round(decimals=2))
        close(torch.stack(weights), outputs["weights_after_each_step (softmax)"], rtol)
        close(torch.stack(agreements), outputs["similarity_before_each_step"], rtol)
        close(torch.stack(rounded), outputs["rounded_weights_after_each_epoch"], rtol)
        close(trust, outputs["raw_a_after_5_epochs"], rtol)
        close(aggregate(first, trust), sum(w * z for w, z in zip(weights[-1], first, strict=True)).tolist(), rtol)

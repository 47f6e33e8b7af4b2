"""Weight balancing's bound and projection of class weights against the original authors' numbers."""

import pytest
import torch

from ltrun.posthoc.tau_norm import tau_normalised
from ltrun.regularization.max_norm import bound_of, projected
from tests.support.golden import Golden, close, every_case


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_max_norm(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("weight_balancing")
    weight, after = (torch.tensor(data["inputs"][name], dtype=dtype) for name in ("weight", "weight_after_step"))
    with every_case(data, {}) as take:
        for threshold in (0.0, 0.5, 0.9):
            outputs = take(f"MaxNorm thresh {threshold}")["outputs"]
            bound = bound_of(weight, threshold)
            close(bound, outputs["bound"], rtol)
            close(projected(weight, bound), outputs["projected"], rtol)
            close(projected(after, bound), outputs["projected_after_step"], rtol)  # the bound stays, the bias too
            assert outputs["bias"] == data["inputs"]["bias"]
        case = take("Normalizer tau 1.5")
        close(tau_normalised(weight, 1.5), case["outputs"]["weight"], rtol)  # tau-norm, which reads no bias
        assert case["outputs"]["bias"] == data["inputs"]["bias"]

"""OPeN's noise probabilities and DAR-BN, forward, backward and in its running statistics, against recorded values."""

import pytest
import torch
from torch import nn

from ltrun.augmentation.pure_noise import noise_probability
from ltrun.network import dar_norm
from tests.support.golden import COUNTS, Golden, close, every_case

MASKS = ([0, 1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_open_and_dar_bn(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("open_dar_bn")
    given = data["inputs"]
    assert given["cls_num_list"] == COUNTS.tolist()
    with every_case(data, {}) as take:
        close(noise_probability(COUNTS, 1.0), take("noise probability per class, delta 1.0000")["outputs"]["probability"], 1e-9)
        for mask in MASKS:
            case = take(f"noise mask {mask}")
            rule, expected = case["hyperparameters"], case["outputs"]
            norm = nn.BatchNorm2d(3, eps=rule["eps"], momentum=rule["momentum"], dtype=dtype)
            with torch.no_grad():
                norm.weight.copy_(torch.tensor(given["bn_weight"], dtype=dtype))
                norm.bias.copy_(torch.tensor(given["bn_bias"], dtype=dtype))
            dar_norm.use(norm)
            dar_norm.route(norm, torch.tensor(mask, dtype=torch.bool))
            x = torch.tensor(given["x"], dtype=dtype, requires_grad=True)
            output = norm(x)
            output.pow(3).sum().backward()
            close(output, expected["output"], rtol)
            for name, gradient in (("x", x.grad), ("weight", norm.weight.grad), ("bias", norm.bias.grad)):
                assert gradient is not None
                close(gradient, expected[f"grad_{name}"], rtol)
            assert norm.running_mean is not None and norm.running_var is not None
            close(norm.running_mean, expected["running_mean"], rtol)
            close(norm.running_var, expected["running_var"], rtol)

"""Linear and cosine heads, alone and inside LWS: shapes, values, initialisation."""

import pytest
import torch

from ltrun.classifier import LWS, Cosine, Linear
from tests.support.narrow import present

CLASSES = 5


@pytest.mark.parametrize("head", [Linear, Cosine])
@pytest.mark.parametrize("features", [3, 64])
def test_heads_compute_their_logits_and_lws_starts_with_the_same(head: type[Linear | Cosine], features: int) -> None:
    part = head(features=features, num_classes=CLASSES)
    assert part.classes.shape == (CLASSES, features)
    x = torch.randn(4, features)
    torch.testing.assert_close(LWS(head=part)(x), part(x))
    if head is Cosine:
        torch.testing.assert_close(part.classes.norm(dim=1), torch.ones(CLASSES))
        torch.testing.assert_close(part(7 * x), part(x))
        assert part(x).abs().max() <= part.scale == 30.0
    else:
        torch.testing.assert_close(part(x), x @ part.classes.T + part.get_parameter("bias"))


def test_linear_starts_from_kaiming_normal_weights_and_pytorchs_bias() -> None:
    head = Linear(features=64, num_classes=2000)
    assert head.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)
    assert present(head.bias).abs().max().item() == pytest.approx(64**-0.5, rel=0.01)
    assert Linear(bias=False, features=4, num_classes=2).bias is None

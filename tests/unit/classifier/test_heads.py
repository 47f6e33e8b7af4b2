"""Linear and cosine heads, alone and inside LWS: shapes, values, initialisation."""

import pytest
import torch

from ltrun.classifier import LWS, Cosine, LearntCosine, Linear
from ltrun.errors import ConfigError
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


def test_a_learnt_scale_starts_where_it_is_told_and_learns() -> None:
    head, x = LearntCosine(start=4.0, features=8, num_classes=CLASSES), torch.randn(6, 8)
    cosines = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(head.classes, dim=1).T
    torch.testing.assert_close(head(x), 4 * cosines)
    torch.testing.assert_close(head(7 * x), head(x))
    head(x)[:, 0].sum().backward()
    assert present(head.raw_scale.grad) != 0 and present(head.bias.grad)[0] == 6
    with pytest.raises(ConfigError, match="start must"):
        LearntCosine(start=0.0, features=8, num_classes=CLASSES)

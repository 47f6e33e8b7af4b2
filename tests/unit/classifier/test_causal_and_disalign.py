"""Causal and DisAlign heads: shapes, values, precision, and the parameters that the stage of DisAlign trains."""

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from ltrun.classifier import LWS, Causal, Cosine, DisAlign, Linear
from ltrun.classifier.causal import unit_per_head
from ltrun.errors import ConfigError
from ltrun.parts import Head

CONF = Path(__file__).parents[3] / "conf"
HEADS: dict[str, Callable[[int], Head]] = {
    "causal": lambda classes: Causal(features=8, num_classes=classes),
    "disalign": lambda classes: DisAlign(head=Linear(features=8, num_classes=classes)),
    "disalign on cosines": lambda classes: DisAlign(head=Cosine(features=8, num_classes=classes)),
    "disalign on causal": lambda classes: DisAlign(head=Causal(features=8, num_classes=classes)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", HEADS)
def test_logits_and_gradients_are_finite(name: str, rows: int, dtype: torch.dtype) -> None:
    head = HEADS[name](5).to(dtype)
    features = 10 * torch.randn(rows, 8).to(dtype)
    features[0] = 0  # the last ReLU is dead for this image
    features.requires_grad_()
    logits = head(features)
    logits.square().sum().backward()
    assert logits.shape == (rows, 5) and head.classes.shape == (5, 8) and logits.isfinite().all()
    gradients = [features.grad, *(parameter.grad for parameter in head.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_of_8142_classes_treats_each_row_on_its_own(name: str) -> None:
    head, features = HEADS[name](8142), torch.randn(3, 8)
    whole = head(features)
    assert whole.isfinite().all()
    torch.testing.assert_close(whole, torch.cat([head(row[None]) for row in features]))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_compiles_to_one_graph(name: str) -> None:
    head, features = HEADS[name](5), torch.randn(3, 8)
    torch.testing.assert_close(torch.compile(head, fullgraph=True, backend="eager")(features), head(features))


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_causal_logits_are_sums_of_damped_cosines(num_heads: int) -> None:
    head, features = Causal(num_heads, tau=16.0, gamma=0.5, features=8, num_classes=5), torch.randn(6, 8)
    logits = head(features)
    torch.testing.assert_close(logits, head.scale * unit_per_head(features, num_heads) @ head.classes.T)
    torch.testing.assert_close(logits, head(7 * features))  # the norm of a feature does not count
    assert logits.abs().max() < 16 and head.scale == 16 / num_heads
    with torch.no_grad():
        head.weight[0] *= 0.01  # the norm of a class weight does, unlike with classifier=cosine
    assert (head(features)[:, 0].abs() < 0.1 * logits[:, 0].abs()).all()


@pytest.mark.parametrize("scales", [1.0, 0.0])
def test_disalign_starts_with_the_ranking_of_the_wrapped_head(scales: float) -> None:
    linear, features = Linear(features=8, num_classes=5), torch.randn(6, 8)
    head = DisAlign(head=linear)
    with torch.no_grad():
        head.scales.fill_(scales)
    sigma = head.confidence(features).sigmoid()
    torch.testing.assert_close(head(features), (1 + scales * sigma) * linear(features))
    assert head.classes is linear.weight and head.scale == linear.scale


def test_the_stage_of_disalign_trains_the_calibration_only() -> None:
    network = nn.Module()
    network.backbone, network.head = nn.Linear(3, 8), DisAlign(head=Linear(features=8, num_classes=5))
    network.heads = nn.ModuleList([DisAlign(head=LWS(head=Linear(features=8, num_classes=5)))])
    patterns = yaml.safe_load((CONF / "decoupling" / "disalign.yaml").read_text())["stages"]["classifier"]["trainable"]
    trained = {name for name, _ in network.named_parameters() if any(fnmatch(name, pattern) for pattern in patterns)}
    own = ("scales", "biases", "confidence.weight", "confidence.bias")
    inner = {"heads.0.head.scales"}  # the scales of an earlier LWS stage have the same name
    assert trained - inner == {f"{place}.{name}" for place in ("head", "heads.0") for name in own}


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Causal(3, features=8, num_classes=5), "num_heads"),
        (lambda: Causal(0, features=8, num_classes=5), "num_heads"),
        (lambda: Causal(tau=0.0, features=8, num_classes=5), "tau"),
        (lambda: Causal(gamma=-1.0, features=8, num_classes=5), "tau .* gamma"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument}"):
        make()

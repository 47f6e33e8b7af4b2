"""RIDE's routing stage: what it trains, and what a routed network computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ltrun.contracts.trial import trainer
from ltrun.errors import ConfigError
from ltrun.network import Experts, RoutedExperts
from ltrun.network.fold import folded
from ltrun.types import Clock
from tests.support.cases import bound, composed, small
from tests.support.networks import CLASSES, backbone, make_head
from tests.support.recipes import refused

IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(num_experts: int = 3, routes: bool = True) -> RoutedExperts:
    torch.manual_seed(0)
    made = RoutedExperts(Experts(num_experts, backbone=backbone(), make_head=make_head), num_classes=CLASSES).eval()
    made.routes.fill_(routes)
    return made


def always(made: RoutedExperts, asks: bool) -> RoutedExperts:
    for parameter in made.router.output.parameters():
        parameter.data.zero_()
    made.router.output.bias.data.fill_(1.0 if asks else -1.0)
    return made


def flops(made: RoutedExperts) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.predict(IMAGES)
    return counter.get_total_flops()


@pytest.mark.parametrize("num_experts", [2, 3, 6])
@torch.no_grad()
def test_skipped_experts_change_no_prediction(num_experts: int) -> None:
    made = network(num_experts)
    made.router.output.bias.data.sub_(made.asks(*_whole(made)).mean())  # about half of the images go on
    skipping, masked = made.predict(IMAGES), made._masked(IMAGES)
    for name in ("logits", "experts"):
        torch.testing.assert_close(skipping.need(name), masked.need(name), rtol=1e-4, atol=1e-5)
    assert skipping.features is None and not torch.allclose(
        skipping.need("logits"), made.decide(made.encode(IMAGES)).need("logits")
    )
    torch.testing.assert_close(folded(made).predict(IMAGES).need("logits"), skipping.need("logits"), rtol=1e-3, atol=1e-4)


def _whole(made: RoutedExperts) -> tuple[Tensor, Tensor]:
    outputs = made.decide(made.encode(IMAGES))
    return outputs.need("features"), outputs.need("experts")


def test_operations_are_saved() -> None:
    every, first, whole = flops(always(network(), True)), flops(always(network(), False)), flops(network(routes=False))
    branch = (whole - first) / 2
    assert every == pytest.approx(whole, rel=0.01) and 0 < first < 0.6 * whole and branch > 0
    made = network()
    with torch.no_grad():
        used = made.asks(*_whole(made)) > 0
    runs = used.long().cumprod(dim=0).sum().item() / len(IMAGES)
    assert flops(made) == pytest.approx(first + runs * branch, rel=0.02)


@torch.no_grad()
def test_always_asking_is_the_mean_of_all_experts_and_never_asking_the_first_expert() -> None:
    _, experts = _whole(network())
    every, first = always(network(), True).predict(IMAGES), always(network(), False).predict(IMAGES)
    torch.testing.assert_close(every.need("logits"), experts.mean(dim=0))
    torch.testing.assert_close(first.need("logits"), experts[0])
    torch.testing.assert_close(every.need("experts")[1], experts[:2].mean(dim=0))


def test_an_exported_graph_routes_with_any_number_of_images() -> None:
    made = network()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = made

        def forward(self, images: Tensor) -> Tensor:
            return self.network.predict(images).need("logits")

    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    graph = torch.export.export(Logits().eval(), (IMAGES,), dynamic_shapes=shapes).module()
    with torch.no_grad():
        torch.testing.assert_close(graph(IMAGES[:5]), made.predict(IMAGES[:5]).need("logits"), rtol=1e-4, atol=1e-5)


def test_the_stage_trains_the_router_alone_with_norms_in_evaluation_mode(tmp_path: Path) -> None:
    recipe = bound(small(composed("method=ride_routing"), epochs=4))
    made = trainer(recipe, tmp_path)
    net = made.network()
    assert isinstance(net, RoutedExperts)
    first = made.begin(net, recipe.stages[0], 0)
    before = {name: tensor.clone() for name, tensor in net.router.state_dict().items()}
    first.epoch(Clock("train", 0, 4))
    assert not net.routes and all(torch.equal(tensor, before[name]) for name, tensor in net.router.state_dict().items())
    second = made.begin(net, recipe.stages[1], 1)
    kept = {name: tensor.clone() for name, tensor in net.network.state_dict().items()}
    second.epoch(Clock("router", 0, 4))
    assert net.routes and all(torch.equal(tensor, kept[name]) for name, tensor in net.network.state_dict().items())
    assert not any(torch.equal(tensor, before[name]) for name, tensor in net.router.state_dict().items())
    assert net.router.training and not any(
        module.training for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)
    )


def test_what_makes_no_sense_is_refused() -> None:
    said = refused(composed("ensemble=ride", "decoupling=ride_routing", "classifier=cosine"))
    assert "reads router" in said and "ensemble 'ride_routing'" in said
    assert "reads features" in refused(composed("method=ride_routing", "augmentation=isda"))
    with pytest.raises(ConfigError, match="top must be at least 1"):
        RoutedExperts(Experts(backbone=backbone(), make_head=make_head), top=0, num_classes=CLASSES)

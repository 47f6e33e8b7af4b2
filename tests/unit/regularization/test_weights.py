"""Bounds and averages of weights: MaxNorm, Lookahead and SWA."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltrun.classifier import LWS, Linear
from ltrun.engine.average import OfEpochs
from ltrun.engine.objective import Objective
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Plain, ResNetCIFAR
from ltrun.parts import Network, Prepare
from ltrun.regularization import SWA, Lookahead, MaxNorm
from ltrun.types import Batch, Clock, Labels
from tests.support.cases import FP32, accuracies, bound, composed, differing, small, snapshot, trainer
from tests.support.interrupted import comparable, stopped_at_every_epoch, trained
from tests.support.narrow import of_type, present
from tests.support.recipes import refused


class Scale(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / 255


def plain() -> Plain:
    torch.manual_seed(0)
    backbone = ResNetCIFAR(8, width=4, in_channels=1)
    return Plain(backbone=backbone, make_head=lambda n: Linear(features=n, num_classes=5))


def objective(network: Network) -> Objective:
    return Objective(network, Scale(), {"main": []}, {}, {"classification": Classification()}, {"classification": 1.0}, FP32)


IMAGES = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
STREAMS = {"main": Batch(IMAGES, Labels.hard(torch.arange(8) % 5), torch.arange(8))}


def test_max_norm_shortens_class_weights_to_the_bound_of_the_first_ones_and_leaves_biases() -> None:
    network = plain()
    head = network.head
    assert isinstance(head, Linear) and head.bias is not None
    norms = head.weight.detach().norm(dim=1)
    limit = norms.min() + 0.1 * (norms.max() - norms.min())
    update, optimizer = MaxNorm(0.1, network=network), torch.optim.SGD(network.parameters(), 0.5)
    before = head.bias.detach().clone()
    for _ in range(3):
        update(objective(network), optimizer, STREAMS)
        lengths = head.weight.detach().norm(dim=1)
        assert bool((lengths <= limit * (1 + 1e-6)).all()) and float(lengths.max()) == pytest.approx(float(limit), rel=1e-6)
    assert not torch.equal(head.bias, before)


def test_max_norm_refuses_class_weights_that_a_head_makes() -> None:
    network = plain()
    network.set_submodule("head", LWS(head=network.head))
    with pytest.raises(ConfigError, match="regularization=max_norm: LWS makes its class weights; drop one of them"):
        MaxNorm(network=network)
    assert "regularization=max_norm reads products" in refused(composed("regularization=max_norm", "classifier=cosine"))


def test_slow_weights_follow_every_few_steps_and_fast_ones_start_from_them() -> None:
    network, reference = plain().double(), plain().double()
    update = Lookahead(3, 0.5, network=network)
    slow = [parameter.detach().clone() for parameter in reference.parameters()]
    torch.manual_seed(1)
    for step in range(1, 10):
        changes = [torch.randn_like(parameter) for parameter in network.parameters()]
        with torch.no_grad():
            for module in (network, reference):
                torch._foreach_add_(list(module.parameters()), changes)
            update.meet(list(network.parameters()))
            if step % 3 == 0:
                for place, parameter in enumerate(reference.parameters()):
                    slow[place] += 0.5 * (parameter - slow[place])
                    parameter.copy_(slow[place])
        for one, other in zip(network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_lookahead_trains_and_counts_steps() -> None:
    network = plain()
    update, optimizer = Lookahead(network=network), torch.optim.SGD(network.parameters(), 0.1)
    before = snapshot(network)
    for _ in range(5):
        update(objective(network), optimizer, STREAMS)
    assert update.steps == 5 and differing(before, snapshot(network))
    fast = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert all(torch.equal(update.get_buffer(f"slow_{place}"), weight) for place, weight in enumerate(fast))


@pytest.mark.parametrize("start", [0.0, 0.5, 0.75])
def test_swa_is_the_mean_of_the_weights_after_the_last_epochs(start: float) -> None:
    network = plain()
    average = OfEpochs(network, SWA(start))
    kept: list[Tensor] = []
    for epoch in range(8):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        clock = Clock("train", epoch, 8)
        average.take(clock)
        kept += [nn.utils.parameters_to_vector(network.parameters()).detach()] if clock.passed(start) else []
        assert average.begun == bool(kept)
    assert len(kept) == 8 - 8 * start
    mean = torch.stack(kept).double().mean(dim=0)
    found = nn.utils.parameters_to_vector(average.network.parameters()).double()
    torch.testing.assert_close(found, mean, rtol=1e-5, atol=1e-5)


def test_statistics_are_the_means_over_batches_and_frozen_ones_stay() -> None:
    network = plain()
    network.train()
    network.get_submodule("backbone.layer3").eval()
    average = OfEpochs(network, SWA(0.0))
    average.take(Clock("train", 0, 1))
    frozen = deepcopy(snapshot(average.network.get_submodule("backbone.layer3")))
    batches = [torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8) + 1]
    average.renew(network, [partial(_predicted, x) for x in batches])
    maps = [network.get_submodule("backbone.conv1")(x).transpose(0, 1).flatten(1) for x in batches]
    norm, own = (of_type(nn.BatchNorm2d, made.get_submodule("backbone.bn1")) for made in (average.network, network))
    mean, variance = present(norm.running_mean), present(norm.running_var)
    torch.testing.assert_close(mean, torch.stack([m.mean(1) for m in maps]).mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(variance, torch.stack([m.var(1) for m in maps]).mean(0), rtol=1e-4, atol=1e-6)
    assert norm.momentum == own.momentum
    assert not differing(frozen, snapshot(average.network.get_submodule("backbone.layer3")))


def _predicted(inputs: Tensor, network: Network) -> object:
    return network.predict(inputs)


def test_the_averaged_network_is_evaluated_kept_and_resumes(tmp_path: Path) -> None:
    evaluated: list[dict[str, Tensor]] = []

    def evaluate(network: Network) -> dict[str, dict[str, float]]:
        evaluated.append(snapshot(network))
        return accuracies(network)

    composition = small(composed("method=swa"), epochs=4)
    network = trainer(bound(composition), tmp_path / "seen", evaluate=evaluate, every=1).run()
    assert len(evaluated) == 4 and not differing(snapshot(network), evaluated[-1])
    whole, rows = trained(composition, tmp_path / "whole")
    broken, again = stopped_at_every_epoch(composition, tmp_path / "broken", False)
    assert not differing(snapshot(whole), snapshot(broken)) and comparable(rows) == comparable(again)


def test_two_averages_are_refused() -> None:
    sentence = refused(composed("regularization=swa", "runtime.ema=0.99"))
    assert sentence.startswith("runtime.ema and regularization=swa both average the network's weights")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MaxNorm(1.5, network=plain()), "threshold must lie between 0 and 1"),
        (lambda: Lookahead(1, network=plain()), "every must be at least 2 steps"),
        (lambda: Lookahead(share=1.0, network=plain()), "share must lie between 0 and 1"),
        (lambda: SWA(1.0), "start must be at least 0 and below 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=sentence):
        make()

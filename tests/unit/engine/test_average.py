"""Averaged weights: the decay, what is averaged, what is evaluated and kept, resumption, captured steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltrun.contracts.device import on_device, on_host
from ltrun.contracts.imagined import imagined_cuda
from ltrun.engine.average import OfSteps
from ltrun.engine.checkpoint import Checkpoints
from ltrun.parts import Network
from ltrun.types import Outputs
from tests.support.cases import CPU, accuracies, bound, composed, differing, small, snapshot, trainer
from tests.support.interrupted import comparable, stopped_at_every_epoch, trained


class Small(Network):
    """A weight, batch normalisation, and a buffer that is no statistic."""

    other: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.register_buffer("other", torch.zeros(()))

    def encode(self, inputs: Tensor) -> Tensor:
        return self.norm(self.layer(inputs))

    def decide(self, features: Tensor) -> Outputs:
        return Outputs(logits=features)


def test_weights_and_statistics_are_averaged_with_a_decay_that_warms_up() -> None:
    network = Small()
    average = OfSteps(network, 0.9)
    names = ("layer.weight", "layer.bias", "norm.weight", "norm.running_mean", "norm.running_var")
    expected = {name: network.state_dict()[name].double().clone() for name in names}
    for step in range(120):
        decay = min(0.9, (1 + step) / (10 + step))
        for name in names:
            tensor = network.state_dict()[name]
            tensor.add_(torch.randn(tensor.shape))
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
        network.other.add_(1)
        average.follow()
    for name in names:
        torch.testing.assert_close(average.network.state_dict()[name].double(), expected[name], rtol=1e-5, atol=1e-5)
    assert average.network.state_dict()["other"] == 120, "other buffers are the network's own"
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    average.settle(network)
    assert not differing(snapshot(network), snapshot(average.network))


def test_an_average_of_weights_that_stay_has_their_bits() -> None:
    network = Small()
    before, average = snapshot(network), OfSteps(network, 0.99)
    for _ in range(20):
        average.follow()
    assert not differing(snapshot(average.network), before) and not differing(snapshot(network), before)


@pytest.mark.parametrize("method", ["crt", "paco"])
def test_the_averaged_network_is_evaluated_kept_and_the_start_of_the_next_stage(method: str, tmp_path: Path) -> None:
    evaluated: list[dict[str, Tensor]] = []

    def evaluate(network: Network) -> dict[str, dict[str, float]]:
        evaluated.append(snapshot(network))
        return accuracies(network)

    recipe = bound(small(composed(f"method={method}"), epochs=2))
    made = trainer(recipe, tmp_path, evaluate=evaluate, ema=0.9)
    network = made.run()
    assert not differing(snapshot(network), evaluated[-1])
    state = Checkpoints(tmp_path).load(CPU, lambda sentence: None)
    assert state is not None
    raw = {
        name.removeprefix("objective.network."): t
        for name, t in state["module"].items()
        if name.startswith("objective.network.")
    }
    kept = {
        name.removeprefix("average.network."): t for name, t in state["module"].items() if name.startswith("average.network.")
    }
    assert not differing(kept, evaluated[-1]) and differing(raw, kept)
    if method == "crt":  # the second stage trains the head alone, on the backbone that the first stage left
        backbone = [name for name in kept if name.startswith("backbone.") and "running" not in name]
        assert backbone and all(torch.equal(raw[name], evaluated[0][name]) for name in backbone)


def test_the_best_epoch_is_chosen_among_averaged_networks(tmp_path: Path) -> None:
    evaluated: list[dict[str, Tensor]] = []
    scores = iter([0.1, 0.9, 0.5])

    def evaluate(network: Network) -> dict[str, dict[str, float]]:
        evaluated.append(snapshot(network))
        return {"val": {"accuracy": next(scores)}}

    recipe = bound(small(composed("method=erm"), epochs=3))
    network = trainer(recipe, tmp_path, evaluate=evaluate, ema=0.9, every=1, selection="best_val").run()
    assert not differing(snapshot(network), evaluated[1]) and differing(snapshot(network), evaluated[2])


def test_a_run_with_every_option_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Averaged weights, parts, AdamW with groups, clipping, and a stage that trains the head alone."""
    words = ("method=crt", "optimizer=adamw", "optimizer.clip=0.5", "optimizer.rates={backbone.*:0.1}")
    composition = small(composed(*words), epochs=2)
    whole, rows = trained(composition, tmp_path / "whole", ema=0.9, accumulate=3)
    broken, again = stopped_at_every_epoch(composition, tmp_path / "broken", False, ema=0.9, accumulate=3)
    assert not differing(snapshot(whole), snapshot(broken)) and comparable(rows) == comparable(again)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")
@pytest.mark.parametrize("words", [("optimizer=adamw",), ("optimizer.clip=0.5", "optimizer.rates={backbone.*:0.1}")])
def test_captured_steps_have_the_bits_of_eager_ones(words: tuple[str, ...], tmp_path: Path) -> None:
    recipe = bound(small(composed(*words), epochs=6))
    with imagined_cuda():
        found = on_device(recipe, tmp_path / "device", ema=0.9)
    assert not differing(found, on_host(recipe, tmp_path / "host", ema=0.9))

"""Momentum twin of a network: averaged weights, no gradient, batch statistics of its own stream."""

import torch

from tests.support.narrow import present
from tests.support.networks import momentum, streams_of


def test_momentum_twin_averages_the_weights_without_gradient() -> None:
    network = momentum(3).train()
    twin_weight = network.get_buffer("twin.backbone.conv1.weight")
    start = twin_weight.clone()
    parameter = network.get_parameter("network.backbone.conv1.weight")
    assert torch.equal(parameter, start) and twin_weight.data_ptr() != parameter.data_ptr()
    assert [name for name, _ in network.named_parameters() if "twin" in name] == []
    assert "twin.backbone.conv1.weight" in network.state_dict()

    outputs = network(streams_of(), ("main", "key"))
    assert outputs["key"].logits is None and not present(outputs["key"].embedding).requires_grad
    assert present(outputs["main"].embedding).requires_grad
    with torch.no_grad():
        parameter.add_(1.0)
    network.after_step(outputs, {})
    torch.testing.assert_close(twin_weight, start + 0.001)  # 0.999 of the old, 0.001 of the new
    assert network.get_buffer("twin.backbone.conv1.weight") is twin_weight  # written in place


def test_momentum_twin_has_batch_statistics_of_its_own_stream() -> None:
    network, streams = momentum(3).train(), streams_of()
    statistics = network.get_buffer("network.backbone.bn1.running_mean")
    before = statistics.clone()
    network(streams, ("key",))
    assert torch.equal(statistics, before)
    moved = network.get_buffer("twin.backbone.bn1.running_mean")
    assert not torch.equal(moved, before)
    after = moved.clone()
    network.after_step({}, streams)
    assert torch.equal(moved, after)  # weights are averaged, statistics are not


def test_momentum_twin_agrees_with_the_network_at_the_start() -> None:
    network, streams = momentum(3).train(), streams_of()
    streams["key"] = streams["main"]
    outputs = network(streams, ("main", "key"))
    torch.testing.assert_close(outputs["main"].embedding, outputs["key"].embedding)

"""BBN's bilateral network: the mixing weight alpha over the epochs, and predictions without it."""

import pytest
import torch

from tests.support.networks import bilateral, logits_of, streams_of, view


def test_bilateral_shifts_from_the_main_to_the_reversed_stream_over_the_epochs() -> None:
    network = bilateral(3).train()
    streams = streams_of()
    other = streams | {"reversed": streams_of()["reversed"]}
    network.adapt(view(0, 10))
    first, same = (network(batches, ("main", "reversed")) for batches in (streams, other))
    assert torch.equal(first["main"].logits, first["reversed"].logits)
    assert torch.equal(first["main"].logits, same["main"].logits)  # alpha is 1: the reversed stream does not count
    network.adapt(view(9, 10))
    assert network.get_buffer("alpha").item() == pytest.approx(1 - 0.81)
    assert not torch.equal(*(network(batches, ("main",))["main"].logits for batches in (streams, other)))


def test_bilateral_predictions_do_not_depend_on_the_epoch() -> None:
    network, images = bilateral(3).eval(), torch.randn(2, 3, 8, 8)
    expected = logits_of(network, images)
    network.adapt(view(9, 10))
    assert torch.equal(logits_of(network, images), expected)

"""The routed network: generated rows have statistics of their own, on ranks and in parts, and move no weight before them."""

import pytest
import torch
from torch import nn

from ltrun.classifier import Linear
from ltrun.engine.accumulation import InParts
from ltrun.errors import ConfigError
from ltrun.network import Plain, ResNetCIFAR, Routed, dar_norm
from ltrun.types import Batch, Labels


def _head(features: int) -> Linear:
    return Linear(features=features, num_classes=3)


def _networks() -> tuple[Routed, Plain]:
    torch.manual_seed(0)
    routed = Routed(backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=_head)
    plain = Plain(backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=_head)
    plain.load_state_dict(routed.state_dict())
    return routed, plain


def _batch(generated: list[bool] | None) -> Batch:
    torch.manual_seed(1)
    rows = 6 if generated is None else len(generated)
    images = torch.randn(rows, 1, 8, 8)
    flags = None if generated is None else torch.tensor(generated)
    return Batch(images, Labels.hard(torch.arange(rows) % 3), torch.arange(rows), flags)


@pytest.mark.parametrize("generated", [None, [False] * 6])
def test_a_batch_of_natural_images_passes_as_through_a_plain_network(generated: list[bool] | None) -> None:
    routed, plain = _networks()
    batch = _batch(generated)
    logits, expected = (network({"main": batch}, ["main"])["main"].need("logits") for network in (routed, plain))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    for own, other in zip(routed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    logits, expected = (network.eval().predict(batch.inputs).need("logits") for network in (routed, plain))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_generated_images_train_the_classifier_alone_and_move_no_statistics() -> None:
    routed, _ = _networks()
    before = [buffer.clone() for buffer in routed.buffers() if buffer.is_floating_point()]
    outputs = routed({"main": _batch([True] * 6)}, ["main"])["main"]
    outputs.need("logits").square().sum().backward()
    assert routed.head.classes.grad is not None and routed.head.classes.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.any() for p in routed.backbone.parameters())
    after = [buffer for buffer in routed.buffers() if buffer.is_floating_point()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_natural_rows_do_not_see_the_generated_ones() -> None:
    mixed, (routed, plain) = _batch([False, True, False, True, False, False]), _networks()
    assert mixed.generated is not None
    natural = mixed.inputs[~mixed.generated]
    found = routed({"main": mixed}, ["main"])["main"].need("logits")[~mixed.generated]
    torch.testing.assert_close(found, plain.predict(natural).need("logits"), rtol=1e-4, atol=1e-5)
    for own, other in zip(routed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_parts_of_an_accumulated_batch_carry_their_flags() -> None:
    batch, (routed, _) = _batch([True, True, True, False, False, False]), _networks()
    InParts(routed, 3)({"main": batch}, ["main"])["main"].need("logits")[:3].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in routed.backbone.parameters())
    copy = batch.clone()
    assert copy.generated is not None and copy.generated is not batch.generated
    assert [tensor.shape for tensor in copy.tensors()] == [(6, 1, 8, 8), (6, 1), (6, 1), (6,), (6,)]


def test_a_network_with_other_normalisation_is_refused() -> None:
    for norm in (nn.BatchNorm3d(2), nn.BatchNorm2d(2, momentum=None)):
        with pytest.raises(ConfigError, match=r"^network: its BatchNorm.* augmentation=open"):
            dar_norm.use(nn.Sequential(norm))

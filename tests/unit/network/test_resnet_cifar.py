"""Forks of the CIFAR ResNet: a shared trunk, and branches with weights of their own."""

import pytest
import torch

from ltrun.network import ResNetCIFAR
from tests.support.networks import backbone


@pytest.mark.parametrize("depth", [8, 20])
@pytest.mark.parametrize(("after", "width"), [("layer1", 0.75), ("layer2", 1.0), ("penultimate_block", 1.0)])
def test_a_fork_has_a_trunk_and_branches_of_the_given_width(depth: int, after: str, width: float) -> None:
    trunk, branches = backbone(depth=depth).fork(after, 2, width)
    assert [name for name, _ in trunk.named_children()][:4] == list("0123")  # names in checkpoints
    shared = trunk(torch.randn(2, 3, 16, 16))
    for branch in branches:
        assert branch.features == 64 * width and branch(shared).shape == (2, 64 * width)
    first, second = (list(branch.parameters()) for branch in branches)
    assert not torch.equal(first[0], second[0])


def test_a_fork_of_full_width_computes_the_same_as_the_backbone() -> None:
    """A trunk and one branch with the backbone's own weights compute the backbone's features."""
    for after in ("layer1", "layer2", "penultimate_block"):
        body, images = backbone(depth=20).eval(), torch.randn(2, 3, 32, 32)
        expected, tensors = body(images), [tensor.clone() for tensor in body.state_dict().values()]
        trunk, (branch,) = body.fork(after, 1)
        own = [*trunk.state_dict().values(), *branch.state_dict().values()]
        for target, value in zip(own, tensors, strict=True):
            target.copy_(value)
        torch.testing.assert_close(branch.eval()(trunk.eval()(images)), expected)


def test_branches_differ_in_width_and_depth() -> None:
    trunk, branches = backbone(depth=32).fork("layer1", 3, [1.0, 0.75, 2.0], [1.0, 0.6, 0.1])
    shared = trunk(torch.randn(2, 3, 16, 16))
    assert [branch(shared).shape[1] for branch in branches] == [64, 48, 128]
    assert [len(list(branch.blocks)) for branch in branches] == [10, 6, 2]  # type: ignore[arg-type]


def test_whole_networks_share_nothing_and_begin_apart() -> None:
    trunk, branches = backbone(depth=20).fork("inputs", 2, [1.0, 0.5], [1.0, 1 / 3])
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(trunk(images), images)
    assert [branch(trunk(images)).shape[1] for branch in branches] == [64, 32]
    sizes = [sum(p.numel() for p in branch.parameters()) for branch in branches]
    assert sizes == [sum(p.numel() for p in ResNetCIFAR(d, w, in_channels=3).parameters()) for d, w in ((20, 16), (8, 8))]

"""Joint conversion of weights to bfloat16: autocast's numbers, bit for bit, with two kernels a step."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltrun.kernels import casts, convolution, norm_relu
from ltrun.network.fold import folded
from ltrun.parts import Network
from tests.support.cases import differing
from tests.support.levers import Calls, both, step, switched_on, trained
from tests.support.networks import bilateral, experts, logits_of, momentum, plain, streams_of

MAKES: list[Callable[[int], Network]] = [plain, experts, bilateral, momentum]


def levers(network: nn.Module) -> None:
    casts.use(network)
    convolution.use(network)


def every(network: nn.Module) -> None:
    levers(network)
    norm_relu.use(network)


@pytest.mark.parametrize("use", [casts.use, levers])
@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("make", MAKES)
def test_a_training_step_has_the_same_bits(
    make: Callable[[int], Network], bf16: bool, use: Callable[[nn.Module], None]
) -> None:
    """With streams that share weights, a momentum twin without gradient, and branches that see one stream each."""
    torch.manual_seed(0)
    network, altered = both(make(3), use)
    assert network.state_dict().keys() == altered.state_dict().keys()
    for _ in range(2):  # gradients accumulate, statistics move
        assert not differing(step(altered, bf16=bf16), step(network, bf16=bf16))


def test_frozen_weights_have_no_gradient() -> None:
    torch.manual_seed(0)
    network = plain(3)
    network.get_submodule("backbone.layer2").requires_grad_(False)
    network, altered = both(network, casts.use)
    with Calls(torch.ops.aten.convolution_backward.default) as ours:
        found = step(altered, bf16=True)
    with Calls(torch.ops.aten.convolution_backward.default) as theirs:
        assert not differing(found, step(network, bf16=True))
    assert [call[-1] for call in ours.seen] == [call[-1] for call in theirs.seen], "a gradient that nobody reads"
    assert "gradient of backbone.layer2.0.conv1.weight" not in found and "gradient of backbone.conv1.weight" in found


def test_a_weight_that_is_not_used_has_no_gradient() -> None:
    """Zeros would let momentum and weight decay move it."""
    torch.manual_seed(0)
    network = experts(3)
    casts.use(network)
    branch = network.get_submodule("branches.2")
    features = network.encode
    network.encode = lambda inputs: features(inputs)[:2]  # type: ignore[method-assign]
    network.heads = network.heads[:2]  # type: ignore[index]
    network.lengths = network.lengths[:2]  # type: ignore[index]
    branch.forward = lambda maps: maps.mean(dim=(2, 3))[:, :1].expand(-1, 48)
    step(network, bf16=True)
    assert all(parameter.grad is None for parameter in branch.parameters())


def counted(network: Network) -> tuple[int, int]:
    """Returns the numbers of conversions of one tensor, and of many."""
    with Calls(torch.ops.aten._to_copy.default) as single, Calls(torch.ops.aten._foreach_copy_.default) as joint:
        step(network, bf16=True)
    return len(single.seen), len(joint.seen)


def test_a_pass_converts_weights_and_gradients_once() -> None:
    """ResNet-8 has 7 convolutions; a step of three streams is three passes."""
    torch.manual_seed(0)
    network, altered = both(plain(3), casts.use)
    (single, joint), (left, together) = counted(network), counted(altered)
    assert joint == 0 and together == 2 * 3 and left == single - 2 * 3 * 7


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_outlives_a_call_of_the_network(fails: bool) -> None:
    """A replayed graph changes weights without a trace. The first branch of a bilateral network is converted once too often."""
    torch.manual_seed(0)
    network, altered = both(bilateral(3), casts.use)
    network.eval()
    altered.eval()
    streams, images = streams_of(), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        if fails:
            with pytest.raises(AttributeError):
                altered({"main": streams["main"], "reversed": None}, ["main"])
        else:
            altered(streams, ["main"])
        for model in (network, altered):
            for parameter in model.get_submodule("branches").parameters():
                parameter.data.mul_(-1.5)
        assert torch.equal(logits_of(altered, images), logits_of(network, images))


def test_a_copy_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    network = plain(3)
    casts.use(network)
    copy = deepcopy(network)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    expected = both(plain(3), casts.use)[0]
    expected.load_state_dict(network.state_dict())
    assert not differing(step(network, bf16=True), step(expected, bf16=True))
    assert not any(logits.any() for name, logits in step(copy, bf16=True).items() if "logits" in name)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(logits_of(folded(network), images), logits_of(network.eval(), images))


def test_second_derivatives_are_autocast_s() -> None:
    found: list[tuple[Tensor, ...]] = []
    for use in (lambda network: None, casts.use):
        torch.manual_seed(0)
        network = plain(3)
        use(network)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            outputs = network(streams_of(), ["main"])["main"]
        assert outputs.logits is not None
        parameters = list(network.parameters())
        slopes = torch.autograd.grad(outputs.logits.square().mean(), parameters, create_graph=True)
        found.append(torch.autograd.grad(torch.stack([slope.square().sum() for slope in slopes]).sum(), parameters))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_a_compiled_network_is_one_graph() -> None:
    """Inductor casts, fuses and orders kernels by itself, so that the levers step aside."""
    torch.manual_seed(0)
    network, altered = both(plain(3), every)
    expected = step(network, bf16=True)
    altered.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    found = step(altered, bf16=True)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0.05, atol=0.02, msg=name)


@pytest.mark.parametrize("method", ["meta_weight_net", "bbn", "paco"])
def test_a_preset_trains_to_the_same_bits(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.engine.precision.has_bf16", lambda device: True)  # without instructions for it, torch is slow
    usual = trained(method, tmp_path / "usual", "bf16")
    with switched_on(levers):
        assert not differing(trained(method, tmp_path / "joint", "bf16"), usual)

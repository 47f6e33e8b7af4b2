"""The split backward pass of convolutions: torch's gradients, bit for bit, and the order of the two streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltrun.contracts.device import EPOCHS, device_has_the_bits_of_the_host
from ltrun.contracts.imagined import DEVICE, imagined_cuda
from ltrun.kernels import convolution
from ltrun.network.fold import folded
from ltrun.parts import Network
from tests.support.cases import bound, composed, differing, small
from tests.support.levers import both, step, switched_on, trained
from tests.support.networks import bilateral, experts, logits_of, momentum, plain, streams_of

SHAPES = {
    "3x3": nn.Conv2d(6, 8, 3, padding=1, bias=False),
    "stride": nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    "groups": nn.Conv2d(6, 8, (1, 3), groups=2, dilation=2, bias=False),
    "bias": nn.Conv2d(6, 8, 3),
    "same": nn.Conv2d(6, 8, 3, padding="same", bias=False),
    "circular": nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular", bias=False),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_all_gradients_are_torch_s(shape: str, bf16: bool, layout: torch.memory_format) -> None:
    found: list[list[Tensor]] = []
    for use in (lambda network: None, convolution.use):
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Conv2d(6, 6, 1), SHAPES[shape])
        network = nn.Sequential(*(type(module)(**_made(module)) for module in layer)).to(memory_format=layout)
        use(network)
        inputs = torch.randn(3, 6, 7, 9).contiguous(memory_format=layout).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
            outputs = network(inputs)
        wanted = [inputs, *network.parameters()]
        first = torch.autograd.grad(outputs.float().pow(3).mean(), wanted, create_graph=True)
        second = torch.autograd.grad(torch.stack([slope.square().sum() for slope in first]).sum(), wanted)
        plain = torch.autograd.grad(network(inputs).pow(3).mean(), wanted)
        found.append([outputs, *first, *second, *plain])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def _made(module: nn.Module) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {name: getattr(module, name) for name in names} | {"bias": getattr(module, "bias", None) is not None}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("make", [plain, experts, bilateral, momentum])
def test_a_training_step_has_the_same_bits(make: Callable[[int], Network], bf16: bool) -> None:
    torch.manual_seed(0)
    network, altered = both(make(3), convolution.use)
    assert network.state_dict().keys() == altered.state_dict().keys()
    assert not differing(step(altered, bf16=bf16), step(network, bf16=bf16))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(logits_of(folded(altered), images), logits_of(folded(network), images))


def test_a_step_splits_every_convolution_with_two_gradients() -> None:
    """ResNet-8 has 7. Frozen weights and the first convolution, whose images have no gradient, have one gradient each."""
    counts = {}
    for frozen in (False, True):
        torch.manual_seed(0)
        network = plain(3)
        convolution.use(network)
        network.get_submodule("backbone.layer3").requires_grad_(not frozen)
        with Watched() as watched:
            step(network, streams_of(), bf16=False)
        masks = [mask for _, mask in watched.seen if mask is not None]
        counts[frozen] = {mask: masks.count(mask) / 3 for mask in set(masks)}  # three streams
    assert counts[False] == {(True, False, False): 6, (False, True, False): 7}
    assert counts[True] == {(True, False, False): 6, (False, True, False): 5}


class Watched(TorchDispatchMode):
    """Notes the stream and the output mask of each backward pass of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[bool, ...] | None]] = []
        self.stream = "main"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append((self.stream, tuple(args[-1])))
        return func(*args, **(kwargs or {}))


def test_the_side_stream_starts_after_the_slope_and_ends_before_the_gradients_are_read() -> None:
    watched = Watched()

    class Stream:
        cuda_stream = 1

        def __init__(self, name: object) -> None:
            self.name = name if name == "main" else "side"

        def wait_stream(self, other: Stream) -> None:
            watched.seen.append((f"{self.name} waits for {other.name}", None))

    @contextmanager
    def current(stream: Stream) -> Iterator[None]:
        watched.stream = stream.name
        yield
        watched.stream = "main"

    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(2, 2, 3, bias=False))
    convolution.use(network)
    convolution._beside.cache_clear()
    with imagined_cuda(), patch.multiple(torch.cuda, Stream=Stream, current_stream=lambda _: Stream("main"), stream=current):
        images = torch.randn(2, 1, 8, 8, device=DEVICE).requires_grad_()
        network.to(DEVICE)
        loss = network(images).sum()
        with watched:
            torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
            differentiable = watched.seen
            watched.seen = []
            loss.backward()
    convolution._beside.cache_clear()
    one = [
        ("side waits for main", None),
        ("side", (False, True, False)),
        ("main", (True, False, False)),
        ("main waits for side", None),
    ]
    assert watched.seen == one * 2
    assert differentiable == [("main", (True, True, False))] * 2


@pytest.mark.parametrize("method", ["erm", "meta_weight_net", "paco"])
def test_a_captured_step_gives_the_bits_of_the_host(method: str, tmp_path: Path) -> None:
    with switched_on(convolution.use):
        device_has_the_bits_of_the_host(bound(small(composed(f"method={method}"), epochs=EPOCHS)), tmp_path)


@pytest.mark.parametrize("method", ["meta_weight_net", "crt", "ride"])
def test_a_preset_trains_to_the_same_bits(method: str, tmp_path: Path) -> None:
    usual = trained(method, tmp_path / "usual", "fp32")
    with switched_on(convolution.use):
        assert not differing(trained(method, tmp_path / "split", "fp32"), usual)

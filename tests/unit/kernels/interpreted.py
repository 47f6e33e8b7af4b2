"""Triton kernels in Triton's interpreter, on a CPU. pytest runs this file in a process of its own: see interpreted_here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.classifier import Linear
from ltrun.engine.objective import Objective
from ltrun.engine.update import Bilevel
from ltrun.kernels import casts, convolution, norm_relu, norm_relu_triton
from ltrun.loss import Classification
from ltrun.network import Bilateral, Experts, Plain, ResNetCIFAR
from ltrun.network.fold import folded
from ltrun.parts import Backbone, Head, Network
from ltrun.reweighting import MetaWeightNet
from tests.support.cases import FP32
from tests.support.levers import both, step
from tests.support.walks import drawn
from tests.unit.engine.test_update import STREAMS, Scale

SHAPES = [(4, 5, 3, 7), (4, 17, 17, 17), (2, 1, 3, 3), (2, 16, 16, 16)]
LAYOUTS = [torch.channels_last, torch.contiguous_format]
CLOSE = {torch.float32: (1e-5, 2e-5), torch.bfloat16: (8e-3, 2e-2)}  # relative, absolute
Case = tuple[tuple[int, ...], torch.dtype, torch.memory_format, bool]
CASES: list[Case] = [
    *drawn([*product(SHAPES, CLOSE, LAYOUTS, [True, False])], 12),
    ((3, 70, 5, 5), torch.float32, LAYOUTS[0], True),
]


def norms(channels: int, dtype: torch.dtype = torch.float64) -> tuple[nn.BatchNorm2d, norm_relu.NormReLU]:
    """Returns torch's batch normalisation, and one with the lever, of the same values."""
    torch.manual_seed(0)
    altered = nn.Sequential(nn.BatchNorm2d(channels, momentum=0.3))
    for tensor in altered.parameters():
        nn.init.normal_(tensor)
    usual = nn.BatchNorm2d(channels, momentum=0.3).to(dtype)
    usual.load_state_dict(altered[0].state_dict())
    norm_relu.use(altered)
    assert isinstance(altered[0], norm_relu.NormReLU)
    return usual, altered[0]


def compare(
    case: Case, made: Callable[[tuple[int, ...]], Tensor] = torch.randn, reduce: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Compares the outputs, gradients and statistics of the kernels with torch's in float64, from the same values."""
    shape, dtype, layout, adds = case
    usual, altered = norms(shape[1])
    given = [tensor.to(dtype).contiguous(memory_format=layout) for tensor in (made(shape), torch.randn(shape))]
    slope = torch.randn(shape).to(dtype)
    found: list[list[Tensor]] = []
    for norm, wide in ((usual, torch.float64), (altered, dtype)):
        maps, shortcut = (tensor.to(wide).requires_grad_() for tensor in given)
        out = norm_relu.norm_relu(norm, maps * 1, shortcut * 1 if adds else None)
        wanted = [maps, norm.weight, norm.bias, *([shortcut] if adds else [])]
        if reduce is not None:
            gradients = torch.autograd.grad(reduce(out), wanted)
        else:
            gradients = torch.autograd.grad(out, wanted, slope.to(wide))
        found.append([out.detach(), *gradients, norm.running_mean, norm.running_var])  # type: ignore[list-item]
    assert altered.num_batches_tracked == 1
    assert found[1][0].dtype == found[1][1].dtype == dtype
    assert found[1][0].is_contiguous(memory_format=layout) and found[1][1].is_contiguous(memory_format=layout)
    rtol, atol = CLOSE[dtype]
    sums = (2, 3)  # gradients of weight and bias are sums over all values of a channel
    for index, (theirs, ours) in enumerate(zip(*found, strict=True)):
        size = len(slope[:, 0].flatten()) ** 0.5 if index in sums else 1.0
        torch.testing.assert_close(ours.double(), theirs, rtol=rtol, atol=atol * size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_gradients_and_statistics_are_torch_s(case: Case) -> None:
    compare(case)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("tile", "splits", "programs"), [(64, 3, 2), (256, 8, 5), (128, 1, 1)])
def test_many_tiles_a_program(
    layout: torch.memory_format, tile: int, splits: int, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits with several tiles, the last of them partial or empty."""
    for name, value in {"TILE": tile, "SPLITS": splits, "PROGRAMS": programs, "COLUMNS": 8}.items():
        monkeypatch.setattr(norm_relu_triton, name, value)
    for channels in (3, 11):
        compare(((3, channels, 9, 7), torch.float32, layout, channels == 3))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_maps_far_from_zero(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, the mean of squares less the square of the mean of 4096 +- 1 has no digit right."""
    monkeypatch.setattr(norm_relu_triton, "TILE", 256)
    far = torch.randn(4, 5, 12, 12) + 4096
    usual, altered = norms(5)
    maps = far.contiguous(memory_format=layout)
    norm_relu.norm_relu(usual, maps.double())
    norm_relu.norm_relu(altered, maps)
    torch.testing.assert_close(altered.running_var, usual.running_var, rtol=2e-4, atol=0, check_dtype=False)
    torch.testing.assert_close(altered.running_mean, usual.running_mean, rtol=1e-6, atol=0, check_dtype=False)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_slopes_of_another_layout(layout: torch.memory_format) -> None:
    """The gradient of a mean over pixels is one number, expanded; a transposed gradient has the other layout."""
    weights = torch.randn(4, 6, 5, 3).contiguous(memory_format=LAYOUTS[layout == LAYOUTS[0]])
    for reduce in (lambda out: out.mean(dim=(2, 3)).square().sum(), lambda out: (out * weights).sum()):
        compare(((4, 6, 5, 3), torch.float32, layout, True), reduce=reduce)


def test_maps_that_are_not_dense() -> None:
    usual, altered = norms(6, torch.float32)
    maps = torch.randn(4, 12, 5, 10)[:, ::2, :, ::2]
    found = [norm_relu.norm_relu(norm, maps.clone() if norm is usual else maps, maps.clone()) for norm in (usual, altered)]
    torch.testing.assert_close(found[1], found[0])


def test_nan_stays_nan() -> None:
    _, altered = norms(3)
    maps = torch.randn(2, 3, 4, 4)
    maps[0, 1, 2, 2] = torch.nan
    out = norm_relu.norm_relu(altered, maps)
    assert out[:, 1].isnan().all() and not out[:, 0].isnan().any()


@pytest.mark.parametrize("adds", [True, False])
def test_second_derivatives_are_torch_s(adds: bool) -> None:
    found: list[list[Tensor]] = []
    for norm in norms(3):
        torch.manual_seed(1)
        maps, shortcut = (torch.randn(4, 3, 5, 5).to(norm.weight).requires_grad_() for _ in range(2))
        wanted = [maps, norm.weight, norm.bias, *([shortcut] if adds else [])]
        out = norm_relu.norm_relu(norm, maps * 1, shortcut * 1 if adds else None)
        first = torch.autograd.grad(out.pow(3).mean(), wanted, create_graph=True)
        second = torch.autograd.grad(torch.stack([slope.square().sum() for slope in first]).sum(), wanted)
        found.append([*first, *second])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, check_dtype=False, rtol=1e-4, atol=1e-6)


def small(kind: Callable[..., Network], in_channels: int = 3) -> Network:
    torch.manual_seed(0)
    head: Callable[[int], Head] = lambda features: Linear(features=features, num_classes=5)  # noqa: E731
    body: Backbone = ResNetCIFAR(8, width=4, in_channels=in_channels)
    return kind(backbone=body, make_head=head).to(memory_format=torch.channels_last)


def every(network: nn.Module) -> None:
    for use in (norm_relu.use, convolution.use, casts.use):
        use(network)


@pytest.mark.parametrize("use", [norm_relu.use, every])
@pytest.mark.parametrize("kind", [Plain, Experts, Bilateral])
def test_a_training_step_of_a_network(kind: Callable[..., Network], use: Callable[[nn.Module], None]) -> None:
    network, altered = both(small(kind), use)
    assert network.state_dict().keys() == altered.state_dict().keys()
    with Launches() as launches:
        ours = step(altered)
    theirs = step(network)
    assert ours.keys() == theirs.keys() and launches.count == 4 * launches.norms > 0
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():  # evaluation is torch's own, bit for bit, of the same statistics
        network.load_state_dict(altered.state_dict())
        for one, other in ((altered.eval(), network.eval()), (folded(altered), folded(network))):
            assert torch.equal(one.encode(images), other.encode(images))


def test_a_training_step_in_bf16() -> None:
    """The gradients are no further from float32 than torch's. Triton's interpreter truncates to bf16, where a GPU rounds."""
    network, altered = both(small(Plain), every)
    ours, theirs, exact = step(altered, bf16=True), step(network, bf16=True), step(small(Plain))

    def apart(found: dict[str, Tensor]) -> float:
        return float(torch.cat([(found[name] - exact[name]).flatten() for name in exact if "gradient" in name]).norm())

    assert 0 < apart(ours) <= 1.2 * apart(theirs)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(ours[name], buffer, rtol=1e-2, atol=1e-2, msg=name)


def test_frozen_parameters_and_frozen_statistics() -> None:
    network = small(Plain)
    network.get_submodule("backbone.layer1").requires_grad_(False)
    network.get_submodule("backbone.layer2.0.bn2").eval()
    network, altered = both(network, norm_relu.use)
    ours, theirs = step(altered), step(network)
    assert ours.keys() == theirs.keys() and "gradient of backbone.layer1.0.bn1.weight" not in ours
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_bilevel_step() -> None:
    """Meta-weight-net differentiates through a gradient, by functional_call."""
    found = []
    for use in (lambda network: None, every):
        weigh = MetaWeightNet()
        torch.manual_seed(3)
        for tensor in weigh.parameters():
            nn.init.normal_(tensor, std=0.3)
        network = small(Plain, 1)
        use(network)
        goal = Objective(
            network, Scale(), {name: [] for name in STREAMS}, {}, {"classification": Classification(weighs=[weigh])},
            {"classification": 1.0}, FP32,
        )  # fmt: skip
        update = Bilevel(outer=list(weigh.parameters()))
        values, outputs, streams = goal(STREAMS)
        gradient = update.outer_gradient(goal, values["total"], streams["meta"], dict.fromkeys(network.parameters(), 0.1))
        goal.values(outputs, streams)["total"].backward()
        found.append([gradient, *(p.grad for p in network.parameters() if p.grad is not None), *network.buffers()])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-6)
    assert found[0][0].norm() > 1e-5


class Launches:
    """Counts launches of kernels, and passes through fused normalisations."""

    def __enter__(self) -> Launches:
        self.count = self.norms = 0
        self.patch = pytest.MonkeyPatch()
        for name in ("_moments", "_normalise", "_slopes", "_inner"):
            self.patch.setattr(norm_relu_triton, name, _Counted(getattr(norm_relu_triton, name), self, name == "_moments"))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


class _Counted:
    def __init__(self, kernel: object, launches: Launches, first: bool):
        self.kernel, self.launches, self.first = kernel, launches, first

    def __getitem__(self, grid: object) -> object:
        self.launches.count += 1
        self.launches.norms += self.first
        return self.kernel[grid]  # type: ignore[index]


def test_the_default_is_torch_s_operations() -> None:
    """Where the kernels do not fit: one row, other types, no momentum, evaluation."""
    _, norm = norms(3)
    maps = torch.randn(2, 3, 4, 4)
    assert norm.fits(maps, None) and norm.fits(maps, maps)
    assert not norm.fits(maps.double(), None) and not norm.fits(maps, maps.bfloat16()) and not norm.fits(maps, maps[:1])
    assert not norm.fits(maps[:1, :, :1, :1], None)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu.norm_relu(norm, maps[:1, :, :1, :1])
    plain = F.relu(F.batch_norm(maps, None, None, norm.weight, norm.bias, training=True))
    torch.testing.assert_close(norm_relu.norm_relu(norm, maps), plain)
    norm.momentum = None
    assert not norm.fits(maps, None)

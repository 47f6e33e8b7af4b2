"""What every backbone, network and head keeps to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.classifier import LWS, Cosine, Linear
from ltrun.ensemble import BBN, RIDE, SADE
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Bilateral, Experts, Momentum, Plain, Projected, Projector, ResNetCIFAR
from ltrun.parts import Backbone, Head, Network
from ltrun.representation import PaCo
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import blind_view
from tests.support.narrow import of_type, present

CLASSES = 5
STREAMS = ("main", "reversed", "key")
FIELDS = ("features", "logits", "head", "experts", "embedding")


def make_head(features: int) -> Head:
    return Linear(features=features, num_classes=CLASSES)


def backbone(in_channels: int = 3, depth: int = 8) -> Backbone:
    return ResNetCIFAR(depth, in_channels=in_channels)


def plain(in_channels: int) -> Network:
    return Plain(backbone=backbone(in_channels), make_head=make_head)


def projected(in_channels: int) -> Projected:
    body = backbone(in_channels)
    return Projected(Projector(out=16, backbone=body), backbone=body, make_head=make_head)


def experts(in_channels: int) -> Network:
    return Experts(backbone=backbone(in_channels), make_head=make_head)


def bilateral(in_channels: int) -> Network:
    return Bilateral(backbone=backbone(in_channels), make_head=make_head)


def momentum(in_channels: int) -> Network:
    return Momentum(projected(in_channels))


Make = Callable[[int], Network]
NETWORKS: list[Make] = [plain, projected, experts, bilateral, momentum]
each = pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def streams_of(size: int = 4, channels: int = 3, pixels: int = 8) -> dict[str, Batch]:
    def batch() -> Batch:
        labels = torch.arange(size) % CLASSES
        return Batch(torch.randn(size, channels, pixels, pixels), Labels.hard(labels), torch.arange(size))

    return {name: batch() for name in STREAMS}


def logits_of(network: Network, images: Tensor) -> Tensor:
    return present(network.predict(images).logits)


def loss_of(outputs: dict[str, Outputs]) -> Tensor:
    """Touches every output that has a gradient, each coordinate with another weight."""
    tensors = [getattr(output, field) for output in outputs.values() for field in ("logits", "experts", "embedding")]
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack([(tensor * torch.linspace(-1, 1, tensor.numel()).view(tensor.shape)).sum() for tensor in present]).sum()


def view(epoch: int, epochs: int) -> View:
    stats = ClassStats(torch.ones(CLASSES, dtype=torch.int64))
    return blind_view(Clock("joint", epoch, epochs), stats)


@each
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [8, 28, 32])
@pytest.mark.parametrize("size", [1, 4])
def test_predict_fills_what_is_promised(make: Make, channels: int, pixels: int, size: int) -> None:
    network = make(channels).eval()
    outputs = network.predict(torch.randn(size, channels, pixels, pixels))
    assert {field for field in FIELDS if getattr(outputs, field) is not None} == network.provides
    features = present(outputs.features)
    assert present(outputs.logits).shape == (size, CLASSES) and features.shape[0] == size
    assert all(getattr(outputs, field).isfinite().all() for field in network.provides)
    if outputs.head is not None:
        assert outputs.head.shape == (CLASSES, features.shape[1])
    if outputs.experts is not None:
        torch.testing.assert_close(outputs.experts.mean(0), outputs.logits)
    if outputs.embedding is not None:
        torch.testing.assert_close(outputs.embedding.norm(dim=1), torch.ones(size))


@each
def test_the_head_reads_the_features(make: Make) -> None:
    network = make(3).eval()
    outputs = network.predict(torch.randn(4, 3, 8, 8))
    heads = [network.get_submodule(name) for name in network.head_names()]
    features = present(outputs.features).chunk(len(heads), dim=1)
    logits = torch.stack([head(x) for head, x in zip(heads, features, strict=True)]).mean(dim=0)
    torch.testing.assert_close(logits, outputs.logits)


@each
def test_prediction_is_a_function_of_the_image_alone(make: Make) -> None:
    network, images = make(3).eval(), torch.randn(4, 3, 8, 8)
    together = logits_of(network, images)
    apart = torch.cat([logits_of(network, image[None]) for image in images])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@each
def test_state_dict_round_trip(make: Make) -> None:
    first, second = make(3), make(3)
    first.adapt(view(3, 10))
    first.train()(streams_of(), ("main", "key") if make is momentum else ("main",))  # moves batch statistics
    second.load_state_dict(first.state_dict())
    images, first, second = torch.randn(2, 3, 8, 8), first.eval(), second.eval()
    assert torch.equal(logits_of(first, images), logits_of(second, images))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    assert not torch.equal(logits_of(first, images), logits_of(make(3).eval(), images))


@each
def test_the_gradient_reaches_every_parameter(make: Make) -> None:
    network = make(3).train()
    network.adapt(view(5, 10))
    need = {"bilateral": ("main", "reversed"), "momentum": ("main", "key")}.get(make.__name__, ("main",))
    outputs = network(streams_of(), need)
    assert tuple(outputs) == need
    loss_of(outputs).backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []
    assert all(present(parameter.grad).isfinite().all() for parameter in network.parameters())


@each
def test_outputs_and_gradients_are_finite_in_bf16(make: Make) -> None:
    network = make(3).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(streams_of(size=8, pixels=32), ("main",))["main"]
    assert present(outputs.logits).isfinite().all()
    loss_of({"main": outputs}).float().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


@each
def test_channels_last_gives_the_same(make: Make) -> None:
    network, images = make(3).eval(), torch.randn(2, 3, 32, 32)
    expected = network.predict(images).logits
    found = network.to(memory_format=torch.channels_last).predict(images.to(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@each
@pytest.mark.parametrize("head", [Linear, Cosine])
def test_heads_can_be_wrapped_by_name(make: Make, head: type[Linear | Cosine]) -> None:
    """As a stage does for LWS: the network goes on with the wrapped heads, and only the scales learn."""
    network = make(3)
    for name in network.head_names():
        parent, _, child = name.rpartition(".")
        inner = head(features=of_type(Head, network.get_submodule(name)).classes.shape[1], num_classes=CLASSES)
        setattr(network.get_submodule(parent), child, LWS(head=inner))
    names = network.head_names()
    network.requires_grad_(False)
    for name in names:
        network.get_parameter(f"{name}.scales").requires_grad_(True)
    network.eval()
    outputs = network.predict(torch.randn(2, 3, 8, 8))
    assert outputs.scale == (30.0 if head is Cosine else 1.0)
    present(outputs.logits).square().sum().backward()
    assert all(present(network.get_parameter(f"{name}.scales").grad).any() for name in names)
    network.after_step({}, {})


@pytest.mark.parametrize("depth", [8, 20])
@pytest.mark.parametrize(("after", "width"), [("layer1", 0.75), ("layer2", 1.0), ("penultimate_block", 1.0)])
def test_fork(depth: int, after: str, width: float) -> None:
    trunk, branches = backbone(depth=depth).fork(after, 2, width)
    shared = trunk(torch.randn(2, 3, 16, 16))
    for branch in branches:
        assert branch.features == 64 * width and branch(shared).shape == (2, 64 * width)
    first, second = (list(branch.parameters()) for branch in branches)
    assert not torch.equal(first[0], second[0])


def test_a_fork_without_narrowing_is_the_backbone() -> None:
    """A trunk and one branch with the backbone's own weights compute what the backbone computes."""
    for after in ("layer1", "layer2", "penultimate_block"):
        body, images = backbone(depth=20).eval(), torch.randn(2, 3, 32, 32)
        expected, tensors = body(images), [tensor.clone() for tensor in body.state_dict().values()]
        trunk, (branch,) = body.fork(after, 1)
        own = [*trunk.state_dict().values(), *branch.state_dict().values()]
        for target, value in zip(own, tensors, strict=True):
            target.copy_(value)
        torch.testing.assert_close(branch.eval()(trunk.eval()(images)), expected)


def test_bilateral_mixes_by_the_clock() -> None:
    network = bilateral(3).train()
    streams = streams_of()
    other = streams | {"reversed": streams_of()["reversed"]}
    network.adapt(view(0, 10))
    first, same = (network(batches, ("main", "reversed")) for batches in (streams, other))
    assert torch.equal(first["main"].logits, first["reversed"].logits)
    assert torch.equal(first["main"].logits, same["main"].logits)  # alpha is 1: the reversed stream has no say
    network.adapt(view(9, 10))
    assert network.get_buffer("alpha").item() == pytest.approx(1 - 0.81)
    assert not torch.equal(*(network(batches, ("main",))["main"].logits for batches in (streams, other)))


def test_bilateral_predicts_without_weights() -> None:
    network, images = bilateral(3).eval(), torch.randn(2, 3, 8, 8)
    expected = logits_of(network, images)
    network.adapt(view(9, 10))
    assert torch.equal(logits_of(network, images), expected)


def test_momentum_twin_follows_without_gradient() -> None:
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


STATS = ClassStats(torch.tensor([50, 40, 30, 20, 10]))
TERMS = {
    "paco": (momentum, lambda: PaCo(queue=8, dim=16, stats=STATS)),
    "ride": (experts, lambda: RIDE(stats=STATS, classify=Classification())),
    "sade": (experts, lambda: SADE(stats=STATS, classify=Classification())),
    "bbn": (bilateral, lambda: BBN(classify=Classification())),
}


@pytest.mark.parametrize("name", TERMS)
def test_one_graph_serves_every_epoch(name: str) -> None:
    """No graph break in network and term, and no second graph when the clock or the queue moves on."""
    make, make_term = TERMS[name]
    network, term, streams = make(3).train(), make_term(), streams_of()
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    @torch.compile(backend=count, fullgraph=True)
    def step(streams: dict[str, Batch]) -> tuple[Tensor, dict[str, Outputs]]:
        outputs = network(streams, term.streams)
        return term(outputs, streams), outputs

    torch._dynamo.reset()
    losses = []
    for epoch in (0, 5, 9):
        for part in (network, term):
            part.adapt(view(epoch, 10))
        loss, outputs = step(streams)
        losses.append(loss.item())
        for part in (network, term):
            part.after_step({key: output.detach() for key, output in outputs.items()}, streams)
    assert len(graphs) == 1
    assert len(set(losses)) == {"paco": 3, "ride": 2, "sade": 1, "bbn": 3}[name]  # queue, temperature and alpha move the loss


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: backbone(depth=9), r"depth must be 6n \+ 2.*got 9"),
        (lambda: backbone(depth=2), r"depth must be 6n \+ 2.*got 2"),
        (lambda: ResNetCIFAR(8, 0, in_channels=3), "width must be at least 1, got 0"),
        (lambda: backbone().fork("layer9", 2), r"after must name a block.*'layer9'; did you mean 'layer"),
        (lambda: backbone().fork("layer1", 2, 0.25), "width must leave at least the 16 channels of layer1, got 0.25"),
        (lambda: Experts(1, backbone=backbone(), make_head=make_head), "num_experts must be at least 2, got 1"),
        (lambda: Momentum(projected(3), momentum=1.0), r"momentum must be at least 0 and below 1, got 1\.0"),
        (lambda: Projector(out=0, backbone=backbone()), "hidden and out must be at least 1, got None and 0"),
        (lambda: Cosine(0.0, features=4, num_classes=2), r"scale must be above 0, got 0\.0"),
    ],
)
def test_a_senseless_value_is_refused(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build()

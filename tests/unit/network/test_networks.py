"""Networks and heads: promised outputs, gradients, checkpoints, precision, one compiled graph for all epochs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.classifier import LWS, Cosine, DualHead, Linear
from ltrun.ensemble import BBN, RIDE, SADE
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network import Experts, Momentum, Projector, ResNetCIFAR
from ltrun.parts import Head
from ltrun.representation import PaCo
from ltrun.types import Batch, ClassStats, Outputs
from tests.support.narrow import of_type, present
from tests.support.networks import (
    CLASSES,
    Make,
    backbone,
    bilateral,
    experts,
    logits_of,
    make_head,
    momentum,
    plain,
    projected,
    streams_of,
    view,
)

FIELDS = ("features", "logits", "head", "experts", "embedding")


NETWORKS: list[Make] = [plain, projected, experts, bilateral, momentum]
each = pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)


def loss_of(outputs: dict[str, Outputs]) -> Tensor:
    """Sums every output that has a gradient, with a different weight for each coordinate."""
    tensors = [getattr(output, field) for output in outputs.values() for field in ("logits", "experts", "embedding")]
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack([(tensor * torch.linspace(-1, 1, tensor.numel()).view(tensor.shape)).sum() for tensor in present]).sum()


@each
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [8, 28, 32])
@pytest.mark.parametrize("size", [1, 4])
def test_predict_fills_the_promised_fields(make: Make, channels: int, pixels: int, size: int) -> None:
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
def test_channels_last_gives_the_same_logits(make: Make) -> None:
    network, images = make(3).eval(), torch.randn(2, 3, 32, 32)
    expected = network.predict(images).logits
    found = network.to(memory_format=torch.channels_last).predict(images.to(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@each
@pytest.mark.parametrize("head", [Linear, Cosine])
def test_heads_can_be_wrapped_by_name(make: Make, head: type[Linear | Cosine]) -> None:
    """A stage of LWS does this: the network uses the wrapped heads, and only the scales are trained."""
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


STATS = ClassStats(torch.tensor([50, 40, 30, 20, 10]))
TERMS = {
    "paco": (momentum, lambda: PaCo(queue=8, dim=16, stats=STATS)),
    "ride": (experts, lambda: RIDE(stats=STATS, classify=Classification())),
    "sade": (experts, lambda: SADE(stats=STATS, classify=Classification())),
    "bbn": (bilateral, lambda: BBN(classify=Classification())),
}


@pytest.mark.parametrize("name", TERMS)
def test_one_graph_serves_every_epoch(name: str) -> None:
    """Network and term compile without a graph break; a new epoch or a fuller queue compiles no second graph."""
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
    assert len(set(losses)) == {"paco": 3, "ride": 2, "sade": 1, "bbn": 3}[name]  # queue, temperature and alpha change the loss


@pytest.mark.parametrize("make", [plain, experts])
def test_a_head_that_a_head_wraps_is_no_head_of_the_network(make: Make) -> None:
    """Else a stage would replace both, and each would count among the features."""
    network = make(3)
    names, features = network.head_names(), network.features
    for name in names:
        head = of_type(Head, network.get_submodule(name))
        wrapped = DualHead(head=head, stats=ClassStats(torch.arange(CLASSES) + 1, tuple(map(str, range(CLASSES)))))
        network.set_submodule(name, wrapped)
    assert network.head_names() == names == (["head"] if make is plain else [f"heads.{n}" for n in range(3)])
    assert network.features == features


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: backbone(depth=9), r"depth must be 6n \+ 2.*got 9"),
        (lambda: backbone(depth=2), r"depth must be 6n \+ 2.*got 2"),
        (lambda: ResNetCIFAR(8, 0, in_channels=3), "width must be at least 1, got 0"),
        (lambda: backbone().fork("layer9", 2), r"after must name a block.*'layer9'; known: layer1, layer2"),
        (lambda: backbone().fork("layer1", 2, 0.25), "width must leave at least the 16 channels of layer1, got 0.25"),
        (lambda: Experts(1, backbone=backbone(), make_head=make_head), "num_experts must lie between 2 and 6, got 1"),
        (lambda: Momentum(projected(3), momentum=1.0), r"momentum must be at least 0 and below 1, got 1\.0"),
        (lambda: Projector(out=0, backbone=backbone()), "hidden and out must be at least 1, got None and 0"),
        (lambda: Cosine(0.0, features=4, num_classes=2), r"scale must be above 0, got 0\.0"),
    ],
)
def test_a_senseless_value_is_refused(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build()

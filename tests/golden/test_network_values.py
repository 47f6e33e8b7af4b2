"""Networks and heads against the original authors' numbers: forward values, gradients, sizes.

Gradients of deep networks are compared in float64 only: rounding in float32 switches ReLUs across 31 layers on and off and
changes the gradients by 4e-4.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.classifier import LWS, Cosine, Linear
from ltrun.classifier.cosine import cosine
from ltrun.network import Bilateral, Experts, Plain, ResNetCIFAR
from ltrun.parts import Head
from tests.support.golden import Golden, close, every_case
from tests.support.narrow import present

DTYPES = [torch.float64, torch.float32]
FORWARD: dict[str, tuple[type[Linear | Cosine], int]] = {
    "LDAM-DRW resnet32 num_classes=10 use_norm=False": (Linear, 10),
    "LDAM-DRW resnet32 num_classes=10 use_norm=True": (Cosine, 10),
    "LDAM-DRW resnet32 num_classes=100 use_norm=True": (Cosine, 100),
}
ACTIVATIONS = "LDAM-DRW resnet32 num_classes=10 use_norm=False: intermediate activations (eval)"
COSINE = "NormedLinear forward + gradient, CE(30*cos)"
EXPERTS = "RIDE 3 experts C=100, forward (mean of experts)"


@pytest.fixture(scope="module")
def resnet(golden: Golden) -> dict[str, Any]:
    return golden("resnet32")


def outputs_of(reference: dict[str, Any], name: str) -> dict[str, Any]:
    return next(case["outputs"] for case in reference["cases"] if case["name"] == name)


def test_every_case_is_covered_or_left_out(resnet: dict[str, Any]) -> None:
    left_out = {
        "ResLT resnet32 C=100": "another network: three more batch norms",
        'Google logit-adjustment "ResNet-32" (PyTorch port), C=10': "another network: blocks of three convolutions",
    }
    with every_case(resnet, left_out) as take:
        for name in [*FORWARD, *SIZES, ACTIVATIONS, COSINE, EXPERTS]:
            take(name)


def agree(value: Tensor, expected: object) -> None:
    close(value, expected, {torch.float64: 1e-9, torch.float32: 2e-5}[value.dtype])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module) -> list[int]:
    kinds = [(nn.Conv2d,), (Linear, Cosine)]
    return [sum(isinstance(part, kind) for part in module.modules()) for kind in kinds]


def make_head(head: type[Linear | Cosine], num_classes: int) -> Callable[..., Head]:
    return lambda features: head(features=features, num_classes=num_classes)


def plain(head: type[Linear | Cosine] = Linear, num_classes: int = 10, depth: int = 32) -> Plain:
    return Plain(backbone=ResNetCIFAR(depth, in_channels=3), make_head=make_head(head, num_classes)).double()


def experts(num_experts: int) -> Experts:
    backbone = ResNetCIFAR(in_channels=3)
    return Experts(num_experts, backbone=backbone, make_head=make_head(Cosine, 100)).double()


def bilateral(num_classes: int) -> Bilateral:
    return Bilateral(backbone=ResNetCIFAR(in_channels=3), make_head=make_head(Linear, num_classes))


def fill(tensors: list[tuple[str, Tensor]], features: int) -> None:
    """Fills the k-th tensor by the golden file's recipe. features: the number of features that a head reads."""
    for k, (name, tensor) in enumerate(tensors):
        i, kind = torch.arange(tensor.numel(), dtype=torch.float64), name.rpartition(".")[2]
        if tensor.dim() > 1:
            fan_in = tensor[0].numel() if tensor.dim() == 4 else features
            values = math.sqrt(2 / fan_in) * math.sqrt(2) * torch.sin(0.9 * i + 0.7 * k)
        elif name == "head.bias":
            values = 0.1 * torch.cos(0.3 * i + k)
        else:
            values = {
                "weight": 1 + 0.1 * torch.sin(0.5 * i + k),
                "bias": 0.1 * torch.cos(0.5 * i + k),
                "running_mean": 0.05 * torch.sin(0.3 * i + k),
                "running_var": 1 + 0.3 * torch.cos(0.2 * i + k),
            }[kind]
        tensor.copy_(values.view(tensor.shape))


def tensors_of(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")]


def images() -> Tensor:
    i = torch.arange(2 * 3 * 32 * 32, dtype=torch.float64)
    return (torch.cos(0.013 * i + 0.5) + 0.3 * torch.sin(0.37 * i)).view(2, 3, 32, 32)


@pytest.mark.parametrize("name", FORWARD)
def test_resnet32(resnet: dict[str, Any], name: str) -> None:
    expected, network = outputs_of(resnet, name), plain(*FORWARD[name])
    fill(tensors_of(network), 64)
    assert parameters(network) == expected["parameters"]
    assert layers(network) == expected["conv_layers, linear_layers"]

    outputs = network.eval().predict(images())
    agree(present(deepcopy(network).float().predict(images().float()).logits) / outputs.scale, expected["logits_eval"])
    logits = present(outputs.logits) / outputs.scale  # the original multiplies by the scale in its loss, not in its head
    agree(logits, expected["logits_eval"])
    loss = F.cross_entropy(logits, torch.tensor([3, 7]))
    loss.backward()
    agree(loss, expected["ce_eval (labels 3,7)"])
    norms = {"conv1.weight": network.get_parameter("backbone.conv1.weight")} | {
        f"linear.{name}": parameter for name, parameter in network.head.named_parameters()
    }
    assert norms.keys() == expected["grad_norm_eval"].keys()
    for name, norm in expected["grad_norm_eval"].items():
        agree(present(norms[name].grad).norm(), norm)
    agree(present(network.train().predict(images()).logits) / outputs.scale, expected["logits_train_mode"])


def test_tensors_have_the_originals_order_and_shapes(resnet: dict[str, Any]) -> None:
    expected = outputs_of(resnet, "LDAM-DRW resnet32 num_classes=10 use_norm=False")["tensors"]
    assert [list(tensor.shape) for _, tensor in tensors_of(plain())] == [shape for _, shape in expected]


def test_intermediate_activations(resnet: dict[str, Any]) -> None:
    expected = outputs_of(resnet, ACTIVATIONS)
    network = plain().eval()
    fill(tensors_of(network), 64)
    seen = {}
    for name in ("conv1", "bn1", "layer1", "layer2", "layer3"):
        module = network.backbone.get_submodule(name)
        module.register_forward_hook(lambda module, inputs, maps, name=name: seen.update({name: maps.clone()}))
    with torch.no_grad():
        agree(present(network.predict(images()).features), expected["pooled_feature (64-d)"])
    for name, maps in seen.items():
        reference = expected[name]
        assert list(maps.shape) == reference["shape"]
        found = torch.stack([maps.mean(), maps.std(), maps.abs().max()])
        agree(found, [reference[key] for key in ("mean", "std", "abs_max")])
        agree(maps.flatten()[:5], reference["first5"])
        agree(maps.flatten()[-5:], reference["last5"])
    assert len(seen) == 5


def sizes_of_the_family() -> dict[str, object]:
    return {f"resnet{depth}": parameters(plain(depth=depth)) for depth in (20, 32, 44, 56, 110)}


def sizes_with_a_linear_head() -> dict[str, object]:
    network = plain(num_classes=100)
    sizes = [parameters(module) for module in (network.backbone, network.head, network)]
    assert sizes[2] == 470_004
    return dict(zip(["parameters backbone", "parameters classifier", "total"], sizes, strict=True))


def sizes_of(network: nn.Module) -> dict[str, object]:
    return {"parameters": parameters(network), "conv_layers, linear_layers": layers(network)}


SIZES = {
    "parameter counts of the family (C=10)": sizes_of_the_family,
    "MiSLAS resnet32_fe + Classifier C=100": sizes_with_a_linear_head,
    "BBN two-branch resnet32, C=10": lambda: sizes_of(bilateral(10)),
    "BBN two-branch resnet32, C=100": lambda: sizes_of(bilateral(100)),
    "RIDE resnet32, 3 experts, reduce_dimension, use_norm, C=100": lambda: sizes_of(experts(3)),
    "RIDE resnet32, 4 experts, reduce_dimension, use_norm, C=100": lambda: sizes_of(experts(4)),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_numbers_of_parameters_and_layers_are_the_originals(resnet: dict[str, Any], name: str) -> None:
    assert SIZES[name]() == outputs_of(resnet, name)


def test_experts(resnet: dict[str, Any]) -> None:
    expected = outputs_of(resnet, EXPERTS)
    network = experts(3)
    tensors = tensors_of(network)

    def place(name: str) -> int:  # the original lists the second layers of all experts, then the third layers, then the heads
        kind, _, rest = name.partition(".")
        if kind != "branches":
            return 0 if kind == "trunk" else 3
        return 1 if int(rest.split(".")[2]) < 5 else 2

    ordered = sorted(tensors, key=lambda item: place(item[0]))
    assert [list(tensor.shape) for _, tensor in ordered] == [shape for _, shape in expected["tensors"]]
    fill(ordered, 48)

    logits = present(network.eval().predict(images()).logits)
    agree(logits, expected["logits_eval"])
    loss = F.cross_entropy(logits, torch.tensor([3, 7]))
    loss.backward()
    agree(loss, expected["ce_eval (labels 3,7)"])
    norms = expected["grad_norm_eval"]
    agree(present(network.get_parameter("trunk.0.weight").grad).norm(), norms["conv1.weight"])
    for expert, head in enumerate(network.heads):
        agree(present(head.get_parameter("weight").grad).norm(), norms[f"linears.{expert}.weight"])
    agree(present(network.train().predict(images()).logits), expected["logits_train_mode"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cosine_head(resnet: dict[str, Any], dtype: torch.dtype) -> None:
    expected = outputs_of(resnet, COSINE)
    features = torch.tensor(resnet["inputs"]["features"], dtype=dtype, requires_grad=True)
    head = Cosine(features=8, num_classes=10).to(dtype)
    head.weight.data = torch.tensor(resnet["inputs"]["fc_weight"], dtype=dtype).T.contiguous()
    agree(cosine(features, head.weight), expected["cosine"])
    loss = F.cross_entropy(head(features), torch.tensor(resnet["inputs"]["labels"]))
    loss.backward()
    agree(loss, expected["loss"])
    agree(present(features.grad), expected["grad_features"])
    agree(present(head.weight.grad).T, expected["grad_fc_weight"])


LWS_CASES = ["LWS initial scales 1", "LWS scales 0.6..1.5"]


def test_every_case_of_lws_is_covered(golden: Golden) -> None:
    left_out = {f"tau={tau}": "tau-normalisation is a post-hoc part" for tau in (0.0, 0.5, 1.0, 1.5)}
    with every_case(golden("tau_norm_lws"), left_out) as take:
        for name in LWS_CASES:
            take(name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LWS_CASES)
def test_lws(golden: Golden, name: str, dtype: torch.dtype) -> None:
    reference = golden("tau_norm_lws")
    expected, inputs = outputs_of(reference, name), reference["inputs"]
    linear = Linear(features=8, num_classes=10).to(dtype)
    linear.weight.data = torch.tensor(inputs["fc_weight"], dtype=dtype)
    present(linear.bias).data = torch.tensor(inputs["fc_bias"], dtype=dtype)
    head = LWS(head=linear)
    assert head.scales.tolist() == [1.0] * 10
    if "0.6" in name:
        head.scales.data = torch.tensor(inputs["lws_scales"], dtype=dtype)
    features = torch.tensor(inputs["features"], dtype=dtype, requires_grad=True)
    logits = head(features)
    agree(logits, expected["logits"])
    loss = F.cross_entropy(logits, torch.tensor(inputs["labels"]))
    loss.backward()
    agree(loss, expected["loss"])
    agree(present(head.scales.grad), expected["grad_scales"])
    agree(present(features.grad), expected["grad_features"])

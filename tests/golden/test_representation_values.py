"""Range loss, OLTR, NPE and Deep-RTC against the original authors' numbers and those of the papers' formulas."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.classifier import Linear, MetaEmbedding, PriorEstimator
from ltrun.classifier.realistic_taxonomic import class_logits, confident, node_loss, tree_loss
from ltrun.classifier.taxonomy import Tree, tree_of
from ltrun.network.modulated import ModulatedAttention
from ltrun.representation import NPE, DiscriminativeCentroids
from ltrun.representation.npe import sunk
from ltrun.representation.oltr import attraction, discriminative_centroids, repulsion
from ltrun.representation.range_loss import intra, nearest_centres, range_loss
from ltrun.types import Batch, Labels, Outputs
from tests.support.golden import Golden, agree, close, every_case

DTYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]


def leaf(values: Any, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return (scale * torch.tensor(values, dtype=torch.float64)).to(dtype).requires_grad_()


def set_to(module: nn.Module, values: dict[str, Any]) -> None:
    """Sets parameters by name."""
    with torch.no_grad():
        for name, value in values.items():
            parameter = module.get_parameter(name)
            parameter.copy_(torch.tensor(value, dtype=torch.float64).view_as(parameter))


class Holder(nn.Module):
    """Stands for a network with one head."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def head_names(self) -> list[str]:
        return ["head"]


def streams(labels: Tensor) -> dict[str, Batch]:
    return {"main": Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))}


# ------------------------------------------------------------------------------------------------------------- range loss


def test_range_loss(golden: Golden) -> None:
    data = golden("range_loss")
    labels = torch.tensor(data["inputs"]["range_labels"])
    with every_case(data, {}) as take:
        for case in data["cases"]:
            hyper, outputs = take(case["name"])["hyperparameters"], case["outputs"]
            agree(outputs, data["inputs"]["range_features"], partial(range_loss, labels=labels, **hyper))
            features = leaf(data["inputs"]["range_features"], torch.float64)
            assert intra(features, labels, hyper["k"]).item() == pytest.approx(outputs["intra"], rel=1e-9)
            nearest, several = nearest_centres(features, labels)
            assert several and nearest.item() == pytest.approx(outputs["min_center_distance"], rel=1e-9)


# ------------------------------------------------------------------------------------------------------------------- OLTR


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_oltr(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("oltr")
    inputs = data["inputs"]
    with every_case(data, {}) as take:
        for scale, weight in ((1.0, 1.0), (1.0, 0.01), (0.3, 1.0)):
            centroid_case(inputs, take(f"centroid loss, inputs times {scale}, loss weight {weight}"), dtype, rtol)
        for scale in (1.0, 5.0):
            classifier_case(inputs, take(f"meta-embedding classifier, features times {scale}"), dtype, rtol)
        attention_case(inputs, take("modulated attention, 4 channels, 7 x 7"), dtype, rtol)


def centroid_case(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    hyper, expected, labels = case["hyperparameters"], case["outputs"], torch.tensor(inputs["labels"])
    features, centroids = (leaf(inputs[name], dtype, hyper["input_scale"]) for name in ("features", "centroids"))
    close(repulsion(features, centroids, labels), expected["repel"], rtol)
    value = attraction(features, centroids, labels).mean() + 0.01 * repulsion(features, centroids, labels)
    close(value, expected["loss"], rtol)
    loss = discriminative_centroids(features, centroids, labels, hyper["loss_weight"])
    close(loss, hyper["loss_weight"] * expected["loss"], rtol)
    found = torch.autograd.grad(loss, [features, centroids])
    for gradient, name in zip(found, ("grad_features", "grad_centroids"), strict=True):
        close(gradient, expected[name], rtol)
    head = meta_embedding(inputs, dtype)
    set_to(head, {"centroids": (hyper["input_scale"] * torch.tensor(inputs["centroids"], dtype=torch.float64)).tolist()})
    term = DiscriminativeCentroids(hyper["loss_weight"], network=Holder(head))  # type: ignore[arg-type]
    composed = term({"main": Outputs(features=features)}, streams(labels))
    close(torch.autograd.grad(composed, head.centroids)[0], expected["grad_centroids"], rtol)


def meta_embedding(inputs: dict[str, Any], dtype: torch.dtype) -> MetaEmbedding:
    head = MetaEmbedding(head=Linear(features=4, num_classes=6)).to(dtype)
    names = {"head": "hallucinator", "selector": "selector"}
    set_to(head, {f"{own}.{kind}": inputs[f"{name}_{kind}"] for own, name in names.items() for kind in ("weight", "bias")})
    set_to(head, {"centroids": inputs["centroids"], "weight": inputs["cosine_weight"]})
    return head


def classifier_case(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    expected, features = case["outputs"], leaf(inputs["features"], dtype, case["hyperparameters"]["input_scale"])
    head = meta_embedding(inputs, dtype)
    logits = head(features)
    close(logits, expected["logits"], rtol)
    close(head.infused(features), expected["infused_feature"], rtol)
    loss = F.cross_entropy(logits, torch.tensor(inputs["labels"]))
    close(loss, expected["loss"], rtol)
    leaves = {"features": features, "hallucinator": head.head.classes, "selector": head.selector.weight, "cosine": head.weight}
    for name, gradient in zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True):
        close(gradient, expected[f"grad_{name}"], 10 * rtol)
    assert head(features).grad_fn is not None and head.centroids.grad is None  # the memory is detached


def attention_case(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    expected, layer = case["outputs"], ModulatedAttention(4, 7, 7).to(dtype)
    names = ("g", "theta", "phi", "spatial")
    set_to(layer, {f"{name}.{kind}": inputs[f"{name}_{kind}"] for name in names for kind in ("weight", "bias")})
    set_to(layer, {"mask.weight": inputs["mask_weight"]})
    x = leaf(inputs["map"], dtype)
    spatial, mask = layer.parts(x)
    close(spatial[:, 0], expected["spatial_attention"], rtol)
    close(mask, expected["mask"], rtol)
    output = layer(x)
    close(output, expected["output"], rtol)
    close(torch.autograd.grad(output.square().sum(), x)[0], expected["grad_x_of_sum_of_squares"], rtol)


# -------------------------------------------------------------------------------------------------------------------- NPE


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_npe(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """Without modules the authors' training is plain; here an option has at least one, so that case tests the wrapped head."""
    data = golden("npe")
    inputs, labels = data["inputs"], torch.tensor(data["inputs"]["labels"])
    with every_case(data, {}) as take:
        for number in (0, 2, 3):
            expected = take(f"{number} prior modules")["outputs"]
            features, linear = leaf(inputs["features"], dtype), Linear(features=5, num_classes=10).to(dtype)
            set_to(linear, {"weight": inputs["weight"], "bias": inputs["bias"]})
            head = PriorEstimator(number, head=linear).to(dtype) if number else linear
            prior = torch.zeros((), dtype=dtype)
            if isinstance(head, PriorEstimator):
                set_to(head, {name: [inputs[f"pem_{name}{k}"] for k in range(number)] for name in ("weight", "bias")})
                prior = NPE(network=Holder(head))({"main": Outputs(features=features)}, streams(labels))  # type: ignore[arg-type]
                close(sunk(head.priors(features), labels).mean(), expected["loss_prior"], rtol)
            ce = F.cross_entropy(head(features), labels)
            for value, name in ((ce, "loss_ce"), (prior, "loss_prior"), (ce + prior, "loss")):
                close(value, expected[name], rtol)
            gradients = torch.autograd.grad(ce + prior, [features, linear.weight, *([head.weight] if number else [])])
            close(gradients[0], expected["grad_features"], rtol)
            close(gradients[1], expected["grad_weight"], rtol)
            for k in range(number):
                close(gradients[2][k], expected[f"grad_pem_weight{k}"], rtol)
            close(head.eval()(features), expected["logits_test"], rtol)


# --------------------------------------------------------------------------------------------------------------- Deep-RTC


def read_tree(tree: list[list[str]]) -> Tree:
    """Reads 'leaf 3' and 'node 1'."""
    signs = {"leaf": 1, "node": -1}
    return tree_of([[signs[kind] * int(number) for kind, number in map(str.split, node)] for node in tree])


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_realistic_taxonomic(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("realistic_taxonomic")
    inputs, tree = data["inputs"], read_tree(data["inputs"]["tree"])
    labels = torch.tensor(inputs["labels"])
    training = ("training, all open", "training, node 1 closed", "training, features times 8 (cap at 10)")
    with every_case(data, {}) as take:
        for case in map(take, [*training, "test, threshold 0.5", "test, threshold 0.7"]):
            hyper, expected = case["hyperparameters"], case["outputs"]
            features = leaf(inputs["features"], dtype, hyper.get("feature_scale", 1.0))
            weights, biases = ([leaf(inputs[f"node_{kind}{node}"], dtype) for node in range(4)] for kind in ("weight", "bias"))
            edges = F.linear(features, torch.cat(weights), torch.cat(biases))
            if "threshold" in hyper:
                close(class_logits(edges, confident(edges, hyper["threshold"], tree), tree), expected["logits"], rtol)
                continue
            gates = torch.tensor(inputs[case["inputs"]["gate"]], dtype=dtype)
            close(class_logits(edges, gates, tree).clamp(max=10), expected["logits"], rtol)
            losses = node_loss(edges, labels, tree), tree_loss(edges, labels, gates, tree)
            total = losses[0] + hyper["lmbda"] * losses[1]
            for value, name in zip([*losses, total], ("loss_node", "loss_tree", "loss"), strict=True):
                close(value, expected[name], rtol)
            names = ["grad_features", *(f"grad_node_weight{node}" for node in range(4))]
            for gradient, name in zip(torch.autograd.grad(total, [features, *weights]), names, strict=True):
                close(gradient, expected[name], 10 * rtol if dtype is torch.float32 else rtol)

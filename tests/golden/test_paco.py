"""PaCo, the parametric contrastive loss, and its queue: the original authors' numbers, slots, edge cases."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.representation import PaCo
from ltrun.representation.paco import EMPTY, paco
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import Golden, close, every_case

DTYPES = [torch.float64, torch.float32]
NAMES = ["PaCo CIFAR recipe alpha=0.01 T=0.05", "PaCo alpha=0.05 T=0.2 (ImageNet-LT R50)"]
LEAVES = ["logits", "features", "features_view2"]


def agree(value: Tensor, expected: object) -> None:
    close(value, expected, {torch.float64: 1e-9, torch.float32: 2e-5}[value.dtype])


@pytest.fixture(scope="module")
def reference(golden: Golden) -> dict[str, Any]:
    return golden("paco")


def load(
    reference: dict[str, Any], name: str, dtype: torch.dtype
) -> tuple[Any, Any, list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    case = next(case for case in reference["cases"] if case["name"] == name)
    leaves = [torch.tensor(reference["inputs"][leaf], dtype=dtype, requires_grad=True) for leaf in LEAVES]
    queue = F.normalize(torch.tensor(reference["inputs"]["queue_features"], dtype=dtype))
    labels, queue_labels, counts = (
        torch.tensor(reference["inputs"][key]) for key in ("labels", "queue_labels", "cls_num_list")
    )
    return case["hyperparameters"], case["outputs"], leaves, queue, labels, queue_labels, counts


def compare(loss: Tensor, leaves: list[Tensor], expected: dict[str, Any]) -> None:
    agree(loss, expected["loss"])
    for name, gradient in zip(LEAVES, torch.autograd.grad(loss, leaves), strict=True):
        agree(gradient, expected[f"grad_{name}"])


def streams(labels: Tensor) -> dict[str, Batch]:
    batch = Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))
    return {"main": batch, "key": batch}


def keys(embedding: Tensor) -> dict[str, Outputs]:
    return {"main": Outputs(), "key": Outputs(embedding=embedding)}


def test_every_case_is_covered_or_left_out(reference: dict[str, Any]) -> None:
    gpaco = "compared in test_balanced_contrast"
    with every_case(reference, {"GPaCo alpha=0.02 T=0.05": gpaco, "GPaCo alpha=0.02 T=0.05 smooth=0.1": gpaco}) as take:
        for name in NAMES:
            take(name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_paco(reference: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    hyper, expected, leaves, queue, labels, queue_labels, counts = load(reference, name, dtype)
    assert hyper["supt"] == 1 and hyper["base_temperature"] == hyper["temperature"]
    logits, query, key = leaves
    loss = paco(
        logits + (counts / counts.sum(dtype=dtype) + 1e-9).log(),
        F.normalize(query),
        torch.cat([F.normalize(key), queue]),
        labels,
        torch.cat([labels, queue_labels]),
        *(hyper[key] for key in ("alpha", "beta", "gamma", "temperature")),
    )
    compare(loss, leaves, expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_part_fills_its_queue_and_computes_the_original_loss(reference: dict[str, Any], name: str) -> None:
    hyper, expected, leaves, queue, labels, queue_labels, counts = load(reference, name, torch.float32)
    arguments = {key: hyper[key] for key in ("alpha", "beta", "gamma", "temperature")}
    term = PaCo(**arguments, queue=hyper["K"], dim=8, stats=ClassStats(counts))
    for rows in torch.arange(hyper["K"]).split(10):  # 10, 10 and a last batch of 4
        term.after_step(keys(queue[rows]), streams(queue_labels[rows]))
    logits, query, key = leaves
    outputs = {
        "main": Outputs(logits=logits, embedding=F.normalize(query)),
        "key": Outputs(embedding=F.normalize(key)),
    }
    compare(term(outputs, streams(labels)), leaves, expected)


def test_the_queue_overwrites_its_oldest_keys() -> None:
    term = PaCo(queue=8, dim=1, stats=ClassStats(torch.tensor([2, 1])))
    buffers = [buffer.data_ptr() for buffer in term.buffers()]
    assert term.key_labels.tolist() == [EMPTY] * 8
    for first, last in [(0, 5), (5, 10), (10, 12)]:
        numbers = torch.arange(first, last)
        term.after_step(keys(numbers[:, None].float()), streams(numbers))
    assert term.keys[:, 0].tolist() == term.key_labels.tolist() == [8, 9, 10, 11, 4, 5, 6, 7]
    numbers = torch.arange(12, 23)  # more than there are slots: the last 8 stay
    term.after_step(keys(numbers[:, None].float()), streams(numbers))
    assert sorted(term.key_labels.tolist()) == list(range(15, 23))
    assert term.keys[:, 0].tolist() == term.key_labels.tolist()
    assert [buffer.data_ptr() for buffer in term.buffers()] == buffers  # written in place, as compiled steps need


def test_empty_slots_do_not_change_the_loss(reference: dict[str, Any]) -> None:
    _, _, leaves, queue, labels, queue_labels, _ = load(reference, NAMES[0], torch.float64)
    logits, query, key = (leaf.detach() for leaf in leaves)
    query, key = F.normalize(query), F.normalize(key)
    empty = torch.full_like(queue_labels, EMPTY)
    padded = paco(logits, query, torch.cat([key, queue]), labels, torch.cat([labels, empty]))
    assert padded.item() == pytest.approx(paco(logits, query, key, labels, labels).item(), rel=1e-12)
    full = paco(logits, query, torch.cat([key, queue]), labels, torch.cat([labels, queue_labels]))
    assert padded.item() != pytest.approx(full.item(), rel=1e-3)


def test_with_alpha_and_gamma_0_it_is_cross_entropy(reference: dict[str, Any]) -> None:
    """gamma = 0 leaves only the classes in the denominator, alpha = 0 only the class entry as a positive."""
    _, _, leaves, queue, labels, queue_labels, _ = load(reference, NAMES[0], torch.float64)
    logits, query, key = (leaf.detach() for leaf in leaves)
    rows, row_labels = torch.cat([F.normalize(key), queue]), torch.cat([labels, queue_labels])
    loss = paco(logits, F.normalize(query), rows, labels, row_labels, alpha=0.0, gamma=0.0)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)


def test_a_projector_of_another_width_than_dim_is_refused() -> None:
    term = PaCo(queue=8, dim=4, stats=ClassStats(torch.tensor([2, 1])))
    outputs = Outputs(logits=torch.zeros(2, 2), embedding=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match=r"dim must equal the projector's out, 3, got 4"):
        term({"main": outputs, "key": outputs}, streams(torch.tensor([0, 1])))

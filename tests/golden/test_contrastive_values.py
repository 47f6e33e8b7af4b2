"""Supervised contrastive losses (SupCon, KCL, TSC) against the original authors' numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.kernels.assignment import assignment
from ltrun.representation import KCLQueue, SupCon
from ltrun.representation.kcl import EMPTY
from ltrun.representation.supcon import contrast, itself, same, supcon
from ltrun.representation.tsc import moved, targeted, uniformity
from ltrun.types import Batch, Labels, Outputs
from tests.support.golden import Golden, close, every_case

DTYPES = [(torch.float64, 1e-9), (torch.float32, 2e-5)]
ALL = "all positives (posk None)"
SIMCLR = "no labels (SimCLR), T=0.5"
SINGLE = "single view (singleton classes have no positive -> 0)"
UNIFORM = "uniformity of targets, t=0.07"


def leaf(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def compare(loss: Tensor, leaves: dict[str, Tensor], expected: dict[str, Any], rtol: float) -> None:
    close(loss, expected["loss"], rtol)
    for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values()), retain_graph=True), strict=True):
        close(gradient, expected[f"grad_{name}"], rtol)


def batch(labels: Tensor) -> Batch:
    return Batch(torch.empty(len(labels), 0), Labels.hard(labels), torch.arange(len(labels)))


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_supcon(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("supcon")
    labels = torch.tensor(data["inputs"]["labels"])
    with every_case(data, {}) as take:
        for case in data["cases"]:
            hyper, name = case["hyperparameters"], take(case["name"])["name"]
            views = ["features"] if name == SINGLE else ["features", "features_view2"]
            leaves = {view: leaf(data["inputs"][view], dtype) for view in views}
            rows = torch.cat([F.normalize(view) for view in leaves.values()])
            classes = torch.arange(len(labels)) if name == SIMCLR else labels
            loss = supcon(rows, classes.repeat(len(views)), hyper["temperature"], hyper["base_temperature"])
            compare(loss, leaves, case["outputs"], rtol)
            if len(views) == 2:
                term = SupCon(hyper["temperature"], hyper["base_temperature"])
                outputs = dict(zip(term.streams, (Outputs(embedding=rows) for rows in rows.chunk(2)), strict=True))
                compare(term(outputs, dict.fromkeys(term.streams, batch(classes))), leaves, case["outputs"], rtol)


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_kcl(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    """The choice among equal positives is given: `soft_labels` has it."""
    data = golden("kcl")
    inputs = data["inputs"]
    with every_case(data, {}) as take:
        for case in data["cases"]:
            hyper, expected = take(case["name"])["hyperparameters"], case["outputs"]
            features = leaf(inputs["features"], dtype)
            query, key = F.normalize(features)[:8], F.normalize(torch.tensor(inputs["features_view2"], dtype=dtype))[:8]
            queue = F.normalize(torch.tensor(inputs["queue_features"], dtype=dtype))
            logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1) / hyper["T"]
            chosen = torch.tensor(expected["soft_labels"]) > 0
            loss = contrast(logits, chosen, torch.ones_like(logits)).mean()
            compare(loss, {"features": features}, expected, rtol)


def test_kcl_s_queue_holds_the_original_keys_and_its_term_computes_the_original_loss(golden: Golden) -> None:
    data = golden("kcl")
    inputs, expected = data["inputs"], next(case for case in data["cases"] if case["name"] == ALL)["outputs"]
    rows = {name: F.normalize(torch.tensor(inputs[name])) for name in ("features", "features_view2", "queue_features")}
    labels, queue_labels = torch.tensor(inputs["labels"])[:8], torch.tensor(inputs["queue_labels"])
    term = KCLQueue(k=24, temperature=0.07, queue=24, dim=8)
    term.after_step({"key": Outputs(embedding=rows["queue_features"])}, {"key": batch(queue_labels)})
    outputs = {"main": Outputs(embedding=rows["features"][:8]), "key": Outputs(embedding=rows["features_view2"][:8])}
    streams = {"main": batch(labels), "key": batch(labels)}
    close(term(outputs, streams), expected["loss"], 2e-5)
    term.after_step(outputs, streams)
    assert term.key_labels.tolist() == expected["label_queue_after"] and term.cursor.item() == 8


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
def test_tsc(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("tsc")
    with every_case(data, {}) as take:
        case = take(UNIFORM)
        targets = leaf(data["inputs"]["raw_targets"], dtype)
        compare(uniformity(F.normalize(targets)), {"raw_targets": targets}, case["outputs"], rtol)
        for case in data["cases"]:
            if case["name"].startswith("queue form"):
                queue_form(data["inputs"], take(case["name"]), dtype, rtol)
            elif case["name"].startswith("CIFAR form"):
                two_views(data["inputs"], take(case["name"]), dtype, rtol)


def queue_form(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    """An empty slot is a negative in the original; here the term leaves it out, but not the function."""
    hyper, expected, labels = case["hyperparameters"], case["outputs"], torch.tensor(inputs["labels"])
    raw = leaf(inputs["query_raw"], dtype)
    query = F.normalize(raw)
    key, queue, targets, centroids = (
        F.normalize(torch.tensor(inputs[name], dtype=dtype))
        for name in ("key_raw", "queue_raw", "targets_raw", "centroids_raw")
    )
    centroids = moved(centroids, query.detach(), labels)
    close(centroids, expected["centroids"], rtol)
    order = assignment(centroids @ targets.T)
    assert order.tolist() == expected["matching"]
    similarity = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1)
    queue_labels = torch.tensor(inputs["queue_labels"])
    assert EMPTY in queue_labels
    positive = F.pad(labels[:, None] == queue_labels, (1, 0), value=True)
    present, to_targets = torch.ones_like(positive), query @ targets[order].T
    arguments = (similarity, positive, present, to_targets, labels, hyper["T"], hyper["tr"])
    loss = targeted(*arguments, hyper["tw"]).mean()
    of_keys = targeted(*arguments, 0.0).mean()
    close(of_keys, expected["loss_class"], rtol)
    close(loss - of_keys, expected["loss_target"], rtol)
    compare(loss, {"query": raw}, expected, rtol)


def two_views(inputs: dict[str, Any], case: dict[str, Any], dtype: torch.dtype, rtol: float) -> None:
    hyper, labels = case["hyperparameters"], torch.tensor(inputs["cifar_labels"]).repeat(2)
    leaves = {view: leaf(inputs[view], dtype) for view in ("view1", "view2")}
    rows = F.normalize(torch.cat(list(leaves.values())))
    targets = F.normalize(torch.tensor(inputs["cifar_targets"], dtype=dtype))
    others = ~itself(labels)
    arguments = (rows @ rows.T, same(labels) & others, others, rows @ targets.T, labels, hyper["temperature"])
    loss = hyper["temperature"] / hyper["base_temperature"] * targeted(*arguments, copies=2).mean()
    compare(loss, leaves, case["outputs"], rtol)

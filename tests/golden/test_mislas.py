"""MiSLAS's second stage against the original authors' code: three steps of scales, classifier and shifted statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.augmentation.mixup import mixup
from ltrun.classifier import LWS, Linear
from ltrun.loss import Classification
from ltrun.recipe.stage import Stage
from ltrun.reweighting import LabelAwareSmoothing
from ltrun.reweighting.label_aware_smoothing import smoothing_factors
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import bound, changed, composed
from tests.support.golden import Golden, close, every_case
from tests.support.narrow import of_type, present

CASES = [
    "three batches, shifted batch norm, epoch 0 of 10",
    "three batches, shifted batch norm, mixup lambda 0.3, epoch 0 of 10",
    "three batches, shifted batch norm, epoch 7 of 10",
]
NAMES = {"scales": "scales", "head.weight": "classifier_weight", "head.bias": "classifier_bias"}


def second_stage(given: dict[str, Any]) -> Stage:
    """The second stage of method=mislas: its numbers are those of a case, but for the weight decay, which is set here."""
    composition = composed("method=mislas", "dataset=cifar100_lt")
    stage = bound(changed(composition, stages__classifier__optimizer__weight_decay=given["weight_decay"])).stages[1]
    optimizer, smoothing = stage.optimizer.arguments, present(stage.criterion).arguments
    assert (stage.epochs, stage.norm, stage.mixers, given["shift_bn"]) == (given["epochs"], "track", {}, True)
    assert (optimizer["lr"], optimizer["momentum"]) == (given["lr"], given["momentum"])
    assert list(optimizer["rates"].values()) == [given["lr_factor"]]
    assert (smoothing["smooth_head"], smoothing["smooth_tail"]) == (given["smooth_head"], given["smooth_tail"])
    return stage


def classification(stage: Stage, counts: Tensor, dtype: torch.dtype) -> Classification:
    criterion = of_type(LabelAwareSmoothing, present(stage.criterion).build({"stats": ClassStats(counts)}))
    if dtype is torch.float64:  # its buffer is float32
        criterion.smoothing = smoothing_factors(counts, 0.4, 0.1, "concave")
    return Classification(criterion=criterion)


def classifier(stage: Stage, inputs: dict[str, Any], dtype: torch.dtype) -> LWS:
    """The trained classifier of the file, as the stage wraps it, with the scales of the file."""
    classes, width = len(inputs["scales"]), len(inputs["classifier_weight"][0])
    made = of_type(LWS, present(stage.wrap).build({"head": Linear(features=width, num_classes=classes)})).to(dtype)
    made.load_state_dict({n: torch.tensor(inputs[name], dtype=dtype) for n, name in NAMES.items()})
    return made


def batches(inputs: dict[str, Any], lam: float | None, dtype: torch.dtype) -> Iterator[Batch]:
    for step in range(3):
        images = torch.tensor(inputs[f"x{step}"], dtype=dtype)
        batch = Batch(images, Labels.hard(torch.tensor(inputs[f"y{step}"])), torch.arange(len(images)))
        if lam is not None:
            batch = mixup(batch, torch.tensor(inputs["permutation"]), torch.tensor(lam, dtype=dtype))
        yield batch


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_three_steps_of_the_second_stage(golden: Golden, dtype: torch.dtype, rtol: float) -> None:
    data = golden("mislas_stage2")
    inputs = data["inputs"]
    with every_case(data, {}) as take:
        for name in CASES:
            case = take(name)
            given, expected = case["hyperparameters"], case["outputs"]
            stage = second_stage(given)
            classify = classification(stage, torch.tensor(inputs["cls_num_list"]), dtype)
            head, norm = classifier(stage, inputs, dtype), nn.BatchNorm2d(3, dtype=dtype).requires_grad_(False)
            names = {f"network.head.{name}": parameter for name, parameter in head.named_parameters()}
            optimizer = stage.optimizer.build({"parameter_names": list(names)}).build(names)
            factor = stage.schedule.build({}).factor(Clock(stage.name, given["epoch"], given["epochs"]))
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            rates = sorted(group["lr"] for group in optimizer.param_groups)
            assert rates == pytest.approx(expected["learning_rates"], rel=1e-9)
            losses: list[Tensor] = []
            for batch in batches(inputs, given["mixup_lambda"], dtype):
                features = (norm(batch.inputs).flatten(1) @ torch.tensor(inputs["backbone"], dtype=dtype)).relu()
                logits = head(features)
                losses.append(classify.loss(logits, batch.targets, Outputs(logits=logits)))
                optimizer.zero_grad()
                losses[-1].backward()
                optimizer.step()
            close(torch.stack(losses), expected["loss_per_batch"], rtol)
            for own, parameter in head.named_parameters():
                close(parameter, expected[NAMES[own]], rtol)
            for statistic in ("running_mean", "running_var"):
                close(getattr(norm, statistic), expected[statistic], rtol)
            assert int(present(norm.num_batches_tracked)) == int(expected["batches_tracked"])

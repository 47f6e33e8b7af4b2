"""Recipes of VOC-LT, COCO-LT and VideoLT against the authors' configurations, number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ltrun.config.published import recipes
from ltrun.metrics import MULTI_LABEL
from ltrun.recipe.read import recipe_of
from ltrun.types import Clock
from tests.contracts.test_published_recipes import at, composed_job

DB = "DistributionBalancedLoss, configs/{voc,coco}/LT_resnet50_pfc_DB.py"
VIDEO = "VideoLT, scripts of ResNet-101"
OF_DB: Mapping[str, Any] = {
    "epochs": 8, "batch_size": 32, "optimizer.lr": 0.02, "optimizer.momentum": 0.9, "optimizer.weight_decay": 1e-4,
    "optimizer.clip": 35, "dataset.image_size": 224, "dataset.stretch": True, "dataset.augments.crop.smallest": 0.8,
    "dataset.augments.distortion.brightness": 32, "dataset.augments.distortion.contrast": [0.5, 1.5],
    "dataset.augments.distortion.saturation": [0.5, 1.5], "dataset.augments.distortion.hue": 18,
    "network.weights": "IMAGENET1K_V1", "evaluation.many": 99, "evaluation.few": 20,
}  # fmt: skip
SAMPLER = {"resampling.sampler.images_per_turn": 3, "resampling.sampler.reduce": 4}
LOSS = {
    "reweighting.weigh.alpha": 0.1, "reweighting.weigh.beta": 10.0, "reweighting.criterion.gamma": 2.0,
    "reweighting.criterion.balance": 2.0, "logit_adjustment.adjust.kappa": 0.05,
}  # fmt: skip
OF_VOC = {"reweighting.weigh.mu": 0.3, "logit_adjustment.adjust.negative_scale": 5}
OF_COCO = {"reweighting.weigh.mu": 0.2, "logit_adjustment.adjust.negative_scale": 2}
OF_VIDEO: Mapping[str, Any] = {
    "epochs": 100, "batch_size": 128, "optimizer.lr": 1e-4, "optimizer.clip": 20, "dataset.frames": 150,
    "dataset.augments.frames.frames": 60, "evaluation.many": 500, "evaluation.few": 101,
}  # fmt: skip
ROWS: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {
    ("erm", "voc_lt"): (DB, OF_DB),
    ("erm", "coco_lt"): (DB, OF_DB),
    ("distribution_balanced_focal", "voc_lt"): (DB, {**OF_DB, **SAMPLER, **LOSS, **OF_VOC}),
    ("distribution_balanced_focal", "coco_lt"): (DB, {**OF_DB, **SAMPLER, **LOSS, **OF_COCO}),
    ("erm", "videolt"): (VIDEO, OF_VIDEO),
    ("framestack", "videolt"): (VIDEO, OF_VIDEO),
    ("ldam_drw", "videolt"): (
        VIDEO,
        {**OF_VIDEO, "reweighting.weigh.start": 0.5, "reweighting.weigh.then.beta": 0.9999, "margin.adjust.max_margin": 0.5,
         "margin.adjust.scale": 30.0},
    ),
    ("sigmoid_equalization", "videolt"): (
        VIDEO, {**OF_VIDEO, "reweighting.criterion.gamma": 1.76e-3, "reweighting.criterion.rare_up_to": 100}
    ),
}  # fmt: skip
FALLS = {"voc_lt": (5, 7), "coco_lt": (5, 7), "videolt": (30, 60)}  # epochs from which the rate is a tenth of the rate before
SEVERAL = sorted(FALLS)


@pytest.mark.parametrize(("method", "dataset"), sorted(ROWS))
def test_a_recipe_is_the_authors(method: str, dataset: str) -> None:
    job = composed_job(method, dataset)
    _, numbers = ROWS[method, dataset]
    found = {key: at(job.config, key) for key in numbers}
    assert found == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in numbers.items()}
    assert job.choices["network"] == ("frame_classifier" if dataset == "videolt" else "resnet50_neck")


@pytest.mark.parametrize(("method", "dataset"), sorted(ROWS))
def test_the_rate_falls_where_the_authors_let_it_fall(method: str, dataset: str) -> None:
    job = composed_job(method, dataset)
    stage, epochs = recipe_of(job.config, job.choices).stages[0], job.config["epochs"]
    schedule = stage.schedule.build({})
    warm = job.config["schedule"]["warmup"] * epochs  # its steps rise from a third of the rate; test_multistep has them
    assert schedule.factor(Clock("train", 0, epochs)) == pytest.approx(1 / 3 if warm else 1)
    for epoch in (epoch for epoch in range(epochs) if epoch >= warm):
        expected = 0.1 ** sum(epoch >= fall for fall in FALLS[dataset])
        assert schedule.factor(Clock("train", epoch, epochs)) == pytest.approx(expected), f"epoch {epoch}"


def test_every_recipe_of_these_data_sets_composes() -> None:
    for method, dataset in (pair for pair in recipes() if pair[1] in SEVERAL):
        job = composed_job(method, dataset)
        assert recipe_of(job.config, job.choices).task == MULTI_LABEL and job.changes == {}

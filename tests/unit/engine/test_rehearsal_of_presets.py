"""Rehearsal of every preset on the data sets whose task it serves."""

from __future__ import annotations

import pytest

from ltrun.engine.rehearsal import check
from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL
from tests.support.cases import LIBRARY, METHODS, composed
from tests.support.walks import drawn
from tests.unit.engine.test_rehearsal import job

DATA = {SINGLE_LABEL: ["digits_lt", "cifar100_lt", "image_folder"], MULTI_LABEL: ["digits_multi_lt", "coco_lt", "videolt"]}
WITHOUT = {"deep_rtc": ["image_folder"], "framestack": ["digits_multi_lt", "coco_lt"]}  # superclasses; videos


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_passes_on_every_data_set(method: str) -> None:
    accepted = LIBRARY.tasks(f"method={method}")
    known = [dataset for task in DATA if task in accepted for dataset in DATA[task] if dataset not in WITHOUT.get(method, [])]
    for dataset in known if method in drawn(METHODS, 15) else known[:1]:
        scratch = ["network.weights=null"] * (dataset == "coco_lt")  # the published weights are not here
        check(job(composed(f"dataset={dataset}", f"method={method}", *scratch)))  # words that other tests compose

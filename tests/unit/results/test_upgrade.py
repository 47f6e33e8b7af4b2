"""Upgrade of records of format 1 to the records that the same command writes today, so that old and new runs share a row."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ltrun.config.rows import rows_of
from ltrun.results.address import fingerprint
from ltrun.results.upgrade import upgrade
from ltrun.taxonomy import DATASET_KEYS
from tests.support.cases import composed
from tests.support.narrow import of_type

OLD_PACKAGES = {f"ltrun.{group}.": f"ltrun.{group}s." for group in ("network", "optimizer", "schedule")}


def as_format_1(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration in format 1: arguments of the data set twice, other packages, plans that set slots to none."""
    config = copy.deepcopy(config)
    dataset = config["dataset"]
    prepare, inert = dataset.pop("prepare"), dataset.pop("inert", None)
    source = {key: value for key, value in dataset.items() if key not in DATASET_KEYS}
    del dataset["_target_"]
    if inert == ["streamed", "workers"]:
        source["folder"] = source.pop("root")
    config["dataset"] = dataset | {"source": source, "mean": prepare["mean"], "std": prepare["std"]}
    for stage in config["stages"].values():
        if stage.pop("base", None) == "plain":
            slots = ("reweighting", "margin", "logit_adjustment", "representation")
            none: dict[str, Any] = {slot: {} for slot in slots}
            none |= {} if stage.pop("keep", None) else {"augmentation": {}}
            instance = {"resampling": {"sampler": {"_target_": "ltrun.resampling.Instance"}}}
            stage |= {slot: stage.get(slot, option) for slot, option in (none | instance).items()}
    return of_type(dict, older(config))


def older(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: older(value) for key, value in node.items()}
    if isinstance(node, list):
        return [older(item) for item in node]
    for new, old in OLD_PACKAGES.items():
        if isinstance(node, str) and node.startswith(new):
            return node.replace(new, old)
    return node


@pytest.mark.parametrize("dataset", ["cifar100_lt", "digits_lt", "image_folder"])
@pytest.mark.parametrize("method", ["erm", "ldam_drw", "crt", "balms", "disalign", "paco", "posthoc_logit_adjustment"])
def test_a_configuration_of_format_1_has_todays_address(method: str, dataset: str) -> None:
    config, _ = composed(f"method={method}", f"dataset={dataset}")
    before = as_format_1(config)
    assert fingerprint(before) != fingerprint(config)
    assert fingerprint(upgrade({"format": 1, "config": before, "changes": {}})["config"]) == fingerprint(config)


@pytest.mark.parametrize("options", ["tau_norm_sweep", "[tau_norm,tau_norm_sweep,logit_adjustment_sweep,ncm]"])
def test_a_sweep_of_format_1_has_a_row_for_each_value(options: str) -> None:
    config, _ = composed(f"posthoc={options}")
    before = as_format_1(config)
    before["posthoc"] = {"predictors": {row: part for row, (_, part) in rows_of(config["posthoc"]).items()}}
    assert len(before["posthoc"]["predictors"]) > 6
    assert fingerprint(upgrade({"format": 1, "config": before, "changes": {}})["config"]) == fingerprint(config)


def test_a_users_own_rows_are_not_a_sweep() -> None:
    """Two rows look like values of one part, but differ in more than the value."""
    rows = {
        f"tde_{alpha}": {"_target_": "ltrun.posthoc.TDE", "alpha": alpha, "num_heads": heads}
        for alpha, heads in ((1, 2), (2, 4))
    }
    config = {"posthoc": {"predictors": rows}}
    assert upgrade({"format": 1, "config": config, "changes": {}})["config"] == config


def test_changes_have_todays_names() -> None:
    changes = {
        "dataset.source.largest_class": 20,
        "dataset.mean": [0.4],
        "optimizer._target_": "ltrun.optimizers.SGD",
        "margin": "ldam",
    }
    content = upgrade({"format": 1, "config": {}, "changes": changes})
    assert content["changes"] == {
        "dataset.largest_class": 20,
        "dataset.prepare.mean": [0.4],
        "optimizer._target_": "ltrun.optimizer.SGD",
        "margin": "ldam",
    }
    assert (content["format"], content["task"], content["command"], content["data"]) == (3, "single_label", [], {})

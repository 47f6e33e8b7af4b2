"""Upgrade of records of earlier formats to the latest, so that old and new seeds of a configuration share a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltrun.metrics import SINGLE_LABEL
from ltrun.results.address import as_typed
from ltrun.results.schema import FORMAT

MOVED = {  # packages of classes: in format 1 -> today
    "ltrun.networks.": "ltrun.network.",
    "ltrun.optimizers.": "ltrun.optimizer.",
    "ltrun.schedules.": "ltrun.schedule.",
    "ltrun.update.": "ltrun.engine.update.",
}
INERT = {  # arguments of data sets that set where and how the data are read, not which data
    "ltrun.data.CIFARLT": ["root", "download"],
    "ltrun.data.ImageFolder": ["streamed", "workers"],
}
PLAIN = ("reweighting", "margin", "logit_adjustment", "representation")  # slots that plans of format 1 set to none one by one
SWEPT = {"la": "tau", "tau_norm": "tau", "tde": "alpha"}  # prefix of rows such as la_0.5, la_1 -> the argument that they sweep
INSTANCE = {"sampler": {"_target_": "ltrun.resampling.Instance"}}


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record of format 1 or 2 in format 3, except for its fingerprint, which the caller computes."""
    if content["format"] == 1:
        content = _from_the_first(content)
    return {**content, "format": FORMAT, "command": [], "data": {}}


def _from_the_first(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record of format 1 in format 2."""
    config = _with_moved_classes(content["config"])
    if isinstance(config.get("dataset"), dict) and isinstance(config["dataset"].get("source"), dict):
        config["dataset"] = _dataset(config["dataset"])
    if isinstance(config.get("posthoc"), dict) and isinstance(config["posthoc"].get("predictors"), dict):
        config["posthoc"] = {"predictors": _swept(config["posthoc"]["predictors"])}
    if isinstance(config.get("stages"), dict):
        config["stages"] = {name: _stage(stage) for name, stage in config["stages"].items()}
    changes = {_renamed(key): value for key, value in content["changes"].items()}
    changes = _with_moved_classes(changes)
    return {**content, "task": SINGLE_LABEL, "changes": changes, "config": config}


def _renamed(key: str) -> str:
    """Returns a key of the command line as it is typed today."""
    if key in ("dataset.mean", "dataset.std"):
        return key.replace("dataset.", "dataset.prepare.")
    return key.replace("dataset.source.", "dataset.")


def _dataset(node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the node of a data set with its arguments beside ltrun's own keys, instead of a second time in `source`."""
    source = dict(node["source"])
    if "folder" in source:
        source["root"] = source.pop("folder")
    prepare = {"_target_": "ltrun.data.Normalise", "mean": node.get("mean"), "std": node.get("std")}
    kept = {key: value for key, value in node.items() if key not in ("source", "mean", "std")}
    return kept | source | {"prepare": prepare, "inert": INERT.get(str(source.get("_target_")), [])}


def _stage(stage: Any) -> Any:
    """Returns a stage with `base: plain`, if format 1 set each of its slots to none or to an option of its own."""
    if not isinstance(stage, dict) or not all(slot in stage for slot in PLAIN):
        return stage
    kept = {key: value for key, value in stage.items() if value != {} and (key, value) != ("resampling", INSTANCE)}
    return {"base": "plain"} | ({} if "augmentation" in stage else {"keep": ["augmentation"]}) | kept


def _swept(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Returns post-hoc rows with one entry for rows that differ in one argument: the shared part and the argument's values."""
    found: dict[str, Any] = {}
    for row, part in rows.items():
        name, _, value = row.rpartition("_")
        argument = SWEPT.get(name)
        if argument is None or not isinstance(part, dict) or value != as_typed(part.get(argument)):
            found[row] = found.get(row, {}) | part if isinstance(part, dict) else part
            continue
        shared = {key: given for key, given in part.items() if key != argument}
        sweep = found.setdefault(name, {})
        if sweep.setdefault("part", shared) != shared:
            return dict(rows)  # not the rows of ltrun's own options
        sweep.setdefault("each", {argument: []})[argument].append(part[argument])
    return found


def _with_moved_classes(node: Any) -> Any:
    """Returns a configuration, or changes by dotted key, with the class names of today's packages."""
    if isinstance(node, dict):
        return {
            key: _moved(value) if key.rpartition(".")[2] == "_target_" else _with_moved_classes(value)
            for key, value in node.items()
        }
    return [_with_moved_classes(item) for item in node] if isinstance(node, list) else node


def _moved(target: Any) -> Any:
    package = next((old for old in MOVED if str(target).startswith(old)), None)
    return MOVED[package] + target.removeprefix(package) if package else target

"""Records of earlier formats as the latest has them, so that old and new seeds of one configuration share a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltrun.metrics import SINGLE_LABEL
from ltrun.results.address import as_typed
from ltrun.results.schema import FORMAT

MOVED = {  # packages of classes: where format 1 has them -> where they lie
    "ltrun.networks.": "ltrun.network.",
    "ltrun.optimizers.": "ltrun.optimizer.",
    "ltrun.schedules.": "ltrun.schedule.",
    "ltrun.update.": "ltrun.engine.update.",
}
INERT = {  # arguments of data sets that say where and how the data are read, not which
    "ltrun.data.CIFARLT": ["root", "download"],
    "ltrun.data.ImageFolder": ["streamed", "workers"],
}
PLAIN = ("reweighting", "margin", "logit_adjustment", "representation")  # slots that a plan of format 1 sets to none one by one
SWEPT = {"la": "tau", "tau_norm": "tau", "tde": "alpha"}  # rows la_0.5, la_1: of which argument of one part they are the values
INSTANCE = {"sampler": {"_target_": "ltrun.resampling.Instance"}}


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record of format 1 or 2 as format 3 has it, but for the fingerprint, which follows from the configuration."""
    if content["format"] == 1:
        content = _from_the_first(content)
    return {**content, "format": FORMAT, "command": [], "data": {}}


def _from_the_first(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record of format 1 as format 2 has it."""
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
    """A key of the command line as it is typed today."""
    if key in ("dataset.mean", "dataset.std"):
        return key.replace("dataset.", "dataset.prepare.")
    return key.replace("dataset.source.", "dataset.")


def _dataset(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a data set once, beside ltrun's own keys, instead of once more in `source`."""
    source = dict(node["source"])
    if "folder" in source:
        source["root"] = source.pop("folder")
    prepare = {"_target_": "ltrun.data.Normalise", "mean": node.get("mean"), "std": node.get("std")}
    kept = {key: value for key, value in node.items() if key not in ("source", "mean", "std")}
    return kept | source | {"prepare": prepare, "inert": INERT.get(str(source.get("_target_")), [])}


def _stage(stage: Any) -> Any:
    """A stage whose every slot was set to none, or to an option of its own, starts from plain."""
    if not isinstance(stage, dict) or not all(slot in stage for slot in PLAIN):
        return stage
    kept = {key: value for key, value in stage.items() if value != {} and (key, value) != ("resampling", INSTANCE)}
    return {"base": "plain"} | ({} if "augmentation" in stage else {"keep": ["augmentation"]}) | kept


def _swept(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Rows that differ in one argument of a part, as its values beside what they share."""
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
            return dict(rows)  # rows of somebody's own
        sweep.setdefault("each", {argument: []})[argument].append(part[argument])
    return found


def _with_moved_classes(node: Any) -> Any:
    """A configuration, or its changes by dotted key, whose classes are named by the packages in which they lie today."""
    if isinstance(node, dict):
        return {
            key: _moved(value) if key.rpartition(".")[2] == "_target_" else _with_moved_classes(value)
            for key, value in node.items()
        }
    return [_with_moved_classes(item) for item in node] if isinstance(node, list) else node


def _moved(target: Any) -> Any:
    package = next((old for old in MOVED if str(target).startswith(old)), None)
    return MOVED[package] + target.removeprefix(package) if package else target

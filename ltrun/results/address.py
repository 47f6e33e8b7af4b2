"""Address of a run: the fingerprint of its configuration and the folder of its result."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltrun.errors import ConfigError
from ltrun.taxonomy import DATASET_KEYS, GROUPS, SLOTS, STAGE_SLOTS, emptied, teachers_in

RESULT = "result.json"
ERROR = "error.log"  # why a job failed: a sentence on the first line, and the traceback below if it is a defect
EPOCHS = "metrics.jsonl"  # a line for each epoch, written while the run trains
JOB = "job.json"  # a job that waits for a launcher
PREDICTIONS = "predictions.npz"
OPEN = "open.npz"  # predictions of images of classes that the run was not trained on
MODEL = "model.pth"  # the trained network and its fitted post-hoc parts
LOCK = ".lock"  # held by the process that trains the run
MANIFEST = "checkpoints.json"  # names the checkpoints from which a run may resume
INERT = (
    "seed", "outputs", "force", "sweep", "sweep.commands", "sweep.budget", "sweep.references", "plugins",
    "evaluation.batch_size", "dataset.name", "dataset.inert", "dataset.superclasses",
    "runtime.device", "runtime.threads", "runtime.channels_last", "runtime.compile", "runtime.pack", "runtime.tensorboard",
    "runtime.checkpoint_seconds", "runtime.levers",
)  # fmt: skip
"""Keys that name a run, or change only where, how fast or how visibly it runs. All other keys of `runtime` change results.

Options that use superclasses have a copy of them in an argument, which counts.
"""

OF_NETWORKS = ("network.cut", "network.download")  # inert keys that only some networks have

NEUTRAL: Mapping[str, Any] = {
    "ltrun.ImageFolder.grey_range": [0, 65535],
    "ltrun.ImageFolder.max_pixels": 89478485,
    "ltrun.ImageFolder.stretch": False,
    "ltrun.ImageLists.stretch": False,
    "ltrun.ImageTable.stretch": False,
    "ltrun.ParquetImages.stretch": False,
    "ltrun.ImageTable.separator": ";",
    "ltrun.ImageTable.unlabelled": False,
    "runtime.accumulate": 1,
    "ltrun.ImageFolder.validation_fraction": 0,
    "runtime.sync_bn": False,
    "runtime.decode": "cpu",
    "before": [],
    "dataset.task": "single_label",
    "ltrun.margin.LDAM.summed": False,
    "ltrun.reweighting.EffectiveNumber.mode": "average_w",
    "ltrun.reweighting.EffectiveNumber.scaled": True,
    "ltrun.reweighting.Focal.balance": 1.0,
    "ltrun.reweighting.SigmoidFocal.balance": 1.0,
}
"""Keys that are younger than some results, with the value that reproduces those results; null needs no entry.

A setting is named by its path (`dataset.task`), an argument of a part by the part's class (`ltrun.margin.LDAM.shift`).
"""

RENAMED: Mapping[str, Mapping[str, str]] = {"ltrun.ImageFolder": {"validation_fraction": "validation"}}
"""Class -> an argument's first name -> its name today. An address has the first name, so that results keep their addresses."""

FIRST = {f"{family}.{new}": f"{family}.{old}" for family, names in RENAMED.items() for old, new in names.items()}

ORDERED = ("augments", "mixers", "feature_mixers", "streams", "terms")
"""Mappings whose order sets the order of work or of random draws."""


def labelled(name: str, changes: Mapping[str, Any]) -> str:
    """Returns `name [key=value, ...]`, in an order independent of the order of the changes; leaves out inert keys."""

    def order(key: str) -> tuple[int, str]:
        return (SLOTS.index(key) if key in SLOTS else len(SLOTS), key)

    shown = [f"{key}={as_typed(changes[key])}" for key in sorted(changes, key=order) if key not in INERT]
    return f"{name} [{', '.join(shown)}]" if shown else name


def as_typed(value: object) -> str:
    """Returns a value as it is typed on the command line; 50.0 and 5e1 as 50, true as true."""
    return value if isinstance(value, str) else json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False)


def _whole(node: object) -> object:
    """Returns the value with whole floats as integers."""
    if isinstance(node, Mapping):
        return {key: _whole(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_whole(item) for item in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def inert_keys(config: Mapping[str, Any]) -> frozenset[str]:
    """Returns the keys of `INERT` and `OF_NETWORKS`, the arguments that the data set of the configuration declares inert, and
    the places of pre-trained weights and teachers whose SHA-256 is known."""
    dataset = config.get("dataset")
    declared = dataset.get("inert") if isinstance(dataset, Mapping) else None
    names = declared if isinstance(declared, (list, tuple)) else ()
    network = config.get("network")
    known = isinstance(network, Mapping) and network.get("sha256") is not None
    inert = {*INERT, *OF_NETWORKS, *(["network.weights"] if known else [])}
    inert |= {f"{path}.run" for path, teacher in teachers_in(config) if teacher.get("sha256") is not None}
    return frozenset({*inert, *(f"dataset.{name}" for name in names if name not in ("_target_", *DATASET_KEYS))})


def fingerprint(config: Mapping[str, Any], neutral: Mapping[str, Any] = NEUTRAL) -> str:
    """Returns 8 hex digits of the SHA-256 of all keys of a resolved configuration that change results.

    Absent, null, `{}` and a neutral value are equal wherever they train the same; so are 1, 1.0 and 1e0. A class of ltrun
    counts by its family and name, so that it may move to another module. Raises ConfigError for values that JSON lacks.
    """
    text = json.dumps(_Canonical(config, neutral).mapping(config, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Canonical:
    """The canonical form of a configuration: equal for all spellings that train the same."""

    def __init__(self, config: Mapping[str, Any], neutral: Mapping[str, Any]):
        self.inert, self.neutral = inert_keys(config), neutral
        self.overriding: set[str] = set()
        self.overriding = self._overriding(config)

    def _overriding(self, config: Mapping[str, Any]) -> set[str]:
        """Returns the slots of stages in which `{}` differs from an absent option, because it removes the run's own option."""
        stages = config.get("stages")
        found = set()
        for name, stage in stages.items() if isinstance(stages, Mapping) else ():
            gone = emptied(stage) if isinstance(stage, Mapping) else ()
            for slot in STAGE_SLOTS:
                own = config.get(slot)
                if slot not in gone and own is not None and (not isinstance(own, Mapping) or self.mapping(own, slot)):
                    found.add(f"stages.{name}.{slot}")
        return found

    def mapping(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Returns the canonical form of a mapping of settings, slots or parts, without keys that do not change results."""
        family = class_name(node["_target_"]) if "_target_" in node else None
        found: dict[str, Any] = {}
        for key, value in node.items():
            here = f"{path}.{key}" if path else str(key)
            argument = family is not None and not (path == "dataset" and key in DATASET_KEYS)
            if here in self.inert or value is None:
                continue
            if key == "_target_":
                said: Any = family
            elif isinstance(value, Mapping) and (not argument or "_target_" in value):
                said = self.mapping(value, here)
                if not said and not self._speaks(here):
                    continue
                said = list(said.items()) if key in ORDERED else said
            else:
                said = _literal(value, here)
            name = f"{family}.{key}" if argument else here
            first = FIRST.get(name, name)
            if first not in self.neutral or json.dumps(said) != json.dumps(_literal(self.neutral[first], first)):
                found[str(key) if first == name else first.rpartition(".")[2]] = said
        return found

    def _speaks(self, path: str) -> bool:
        """Returns whether `{}` differs from an absent key here: a stream with `augments: {}` does not use those of `main`."""
        return path in self.overriding or re.search(r"(^|\.)streams\.[^.]+\.augments$", path) is not None


def class_name(target: Any) -> Any:
    """Returns `ltrun.margin.LDAM` for `ltrun.margin.ldam.LDAM`, and `ltrun.Bilevel` for a class outside the families.

    A class of a plugin keeps its whole path: two modules of the plugin may have classes of the same name, and runs of one
    class would count as finished runs of the other.
    """
    if not isinstance(target, str) or not target.startswith("ltrun."):
        return target
    _, *modules, name = target.split(".")
    return ".".join(["ltrun", *(family for family in modules[:1] if family in GROUPS), name])


def _literal(value: Any, path: str) -> Any:
    """Returns an argument's value, with nulls and empty mappings inside it; whole floats become integers."""
    if isinstance(value, Mapping):
        return {"in order": [[str(key), _literal(inner, f"{path}.{key}")] for key, inner in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_literal(item, f"{path}.{i}") for i, item in enumerate(value)]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise ConfigError(f"{path} must be a finite number, text, list or mapping, got {value!r}")


def address(outputs: Path, dataset: str, method: str, fingerprint: str, seed: int) -> Path:
    """Returns outputs/<dataset>/<method>/<fingerprint>/seed<k>. Raises ConfigError for names that cannot be folders there."""
    for key, name in {"dataset": dataset, "method": method, "fingerprint": fingerprint}.items():
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\:") or len(name.encode()) > 200:
            raise ConfigError(
                f"{key} {name!r} cannot name a folder of {outputs}: it must not be empty, start with a dot, "
                "contain / \\ : or control characters, or be longer than 200 bytes"
            )
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    return outputs / dataset / method / fingerprint / f"seed{seed}"

"""The address of a run: a fingerprint of its configuration, and the folder of its result."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltrun.errors import ConfigError
from ltrun.taxonomy import DATASET_KEYS, GROUPS, SLOTS, STAGE_SLOTS, emptied

RESULT = "result.json"
ERROR = "error.log"  # why a job failed: the sentence on its first line, below it the traceback of a defect
EPOCHS = "metrics.jsonl"  # the line an epoch that a run writes while it trains
JOB = "job.json"  # a job as it waits for a launcher
PREDICTIONS = "predictions.npz"
LOCK = ".lock"  # held by the process that trains the run
MANIFEST = "checkpoints.json"  # names the checkpoints of a run that may be gone on from
INERT = (
    "seed", "outputs", "force", "plugins", "evaluation.batch_size", "dataset.name", "dataset.inert",
    "runtime.device", "runtime.threads", "runtime.channels_last", "runtime.compile", "runtime.pack", "runtime.tensorboard",
    "runtime.checkpoint_seconds",
)  # fmt: skip
"""Keys that name a run, or change where, how fast or how visibly it runs. Any other key of `runtime` changes results."""

NEUTRAL: Mapping[str, Any] = {
    "ltrun.ImageFolder.grey_range": [0, 65535],
    "ltrun.ImageFolder.max_pixels": 89478485,
    "ltrun.ImageFolder.validation_fraction": 0,
}
"""Keys that are younger than some results, with the value that stands for what those runs did; null needs no entry.

A setting by its path (`dataset.task`), an argument of a part by its class (`ltrun.margin.LDAM.shift`).
"""

ORDERED = ("augments", "mixers", "streams", "terms")  # mappings whose order is the order of work or of random draws


def labelled(name: str, changes: Mapping[str, Any]) -> str:
    """`name [key=value, ...]`, in an order that does not depend on how the changes were typed; inert keys are left out."""

    def order(key: str) -> tuple[int, str]:
        return (SLOTS.index(key) if key in SLOTS else len(SLOTS), key)

    shown = [f"{key}={as_typed(changes[key])}" for key in sorted(changes, key=order) if key not in INERT]
    return f"{name} [{', '.join(shown)}]" if shown else name


def as_typed(value: object) -> str:
    """A value as it is typed on the command line; 50.0 and 5e1 as 50, true as true."""
    return value if isinstance(value, str) else json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False)


def _whole(node: object) -> object:
    """A value in which whole floats are integers."""
    if isinstance(node, Mapping):
        return {key: _whole(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_whole(item) for item in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def inert_keys(config: Mapping[str, Any]) -> frozenset[str]:
    """`INERT`, and the arguments that the data set of a configuration declares inert."""
    dataset = config.get("dataset")
    declared = dataset.get("inert") if isinstance(dataset, Mapping) else None
    names = declared if isinstance(declared, (list, tuple)) else ()
    return frozenset({*INERT, *(f"dataset.{name}" for name in names if name not in ("_target_", *DATASET_KEYS))})


def fingerprint(config: Mapping[str, Any], neutral: Mapping[str, Any] = NEUTRAL) -> str:
    """8 hex digits of the SHA-256 of whatever in a resolved configuration changes results.

    Absent, null, `{}` and a neutral value are one and the same, wherever they train the same; so are 1, 1.0 and 1e0. A class
    of ltrun's enters by its family and name, so that it may move to another module.
    """
    text = json.dumps(_Canonical(config, neutral).mapping(config, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Canonical:
    """One spelling for all configurations that train the same."""

    def __init__(self, config: Mapping[str, Any], neutral: Mapping[str, Any]):
        self.inert, self.neutral = inert_keys(config), neutral
        self.overriding: set[str] = set()
        self.overriding = self._overriding(config)

    def _overriding(self, config: Mapping[str, Any]) -> set[str]:
        """Slots of stages in which `{}` is no absent option: it takes out what the run's own option contributes."""
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
        """Settings, slots or parts, without the keys that say nothing."""
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
            if name not in self.neutral or json.dumps(said) != json.dumps(_literal(self.neutral[name], name)):
                found[str(key)] = said
        return found

    def _speaks(self, path: str) -> bool:
        """Whether `{}` differs from an absent key here; a stream without augments differs from one with those of `main`."""
        return path in self.overriding or re.search(r"(^|\.)streams\.[^.]+\.augments$", path) is not None


def class_name(target: Any) -> Any:
    """`ltrun.margin.LDAM` for `ltrun.margin.ldam.LDAM`, `ltrun.Bilevel` for a class that belongs to no family.

    A class of a plugin keeps its whole path, because two modules of it may each have a class of one name, and runs of the
    second would pass for done.
    """
    if not isinstance(target, str) or not target.startswith("ltrun."):
        return target
    _, *modules, name = target.split(".")
    return ".".join(["ltrun", *(family for family in modules[:1] if family in GROUPS), name])


def _literal(value: Any, path: str) -> Any:
    """A value that is handed on as it is, nulls and empty mappings inside it included; whole floats become integers."""
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
    """outputs/<dataset>/<method>/<fingerprint>/seed<k>. Raises ConfigError for names that would lie elsewhere."""
    for key, name in {"dataset": dataset, "method": method, "fingerprint": fingerprint}.items():
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\:") or len(name.encode()) > 200:
            raise ConfigError(
                f"{key} {name!r} cannot name a folder of {outputs}: it must not be empty, start with a dot, "
                "contain / \\ : or control characters, or be longer than 200 bytes"
            )
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    return outputs / dataset / method / fingerprint / f"seed{seed}"

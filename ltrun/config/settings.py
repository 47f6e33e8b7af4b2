"""The keys that ltrun itself reads, their types and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ltrun.config.values import coerce
from ltrun.errors import ConfigError, did_you_mean
from ltrun.taxonomy import SETTINGS, SLOTS

SETTING_TYPES: dict[str, tuple[Any, int | None]] = {
    "seed": (int, None),
    "epochs": (int, 1),
    "batch_size": (int, 1),
    "plan": (list[str], None),
    "outputs": (str, None),
    "force": (bool, None),
    "plugins": (list[str], None),
    "dataset.name": (str, None),
    "evaluation.every": (int, 1),
    "evaluation.batch_size": (Literal["auto"] | int, 1),
    "evaluation.many": (int, 1),
    "evaluation.few": (int, 1),
    "runtime.device": (str, None),
    "runtime.threads": (int | None, 1),
    "runtime.pack": (Literal["auto"] | int, 1),
    "runtime.checkpoint_seconds": (float, 0),
    "runtime.precision": (Literal["fp32", "tf32", "bf16"], None),
    "runtime.channels_last": (bool, None),
    "runtime.compile": (Literal["auto", True, False], None),
    "runtime.tensorboard": (bool, None),
}
LARGEST = 2**31 - 1  # of whole numbers
MOST = {"runtime.threads": 1024, "runtime.pack": 1024, "seed": 2**63 - 1}
OPEN = ("stages", "dataset.augments")  # mappings whose keys are the user's to choose, held against their schema elsewhere


def check_settings(config: Mapping[str, Any]) -> None:
    """Holds the keys that ltrun itself reads against their types; the keys of parts are held against their signatures."""
    for path, (hint, least) in SETTING_TYPES.items():
        node: Any = config
        for step in path.split("."):
            if not isinstance(node, Mapping) or step not in node:
                raise ConfigError(f"{path}: this key is needed, and missing")
            node = node[step]
        coerce(node, hint, path)
        most = MOST.get(path, LARGEST)
        if isinstance(node, int) and node > most:
            raise ConfigError(f"{path}: expected a number of at most {most:,}, got {node}")
        if least is not None and isinstance(node, (int, float)) and node < least:
            raise ConfigError(f"{path}: expected a {'' if hint is float else 'whole '}number of at least {least}, got {node!r}")
    if not config["outputs"].strip():
        raise ConfigError("outputs: names no folder; give one, as in outputs=DIR, or unset LTRUN_OUTPUTS")
    evaluation = config["evaluation"]
    if evaluation["few"] > evaluation["many"]:
        raise ConfigError(f"evaluation.few: {evaluation['few']} is above evaluation.many ({evaluation['many']})")


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def refuse_unknown_keys(raw: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Hydra checks keys of the command line, not those of YAML files. Parts are held against their signatures by build."""
    names = {path for path, _ in leaves(known)}
    every = {".".join(path.split(".")[:n]) for path in names for n in range(1, path.count(".") + 2)}
    for path, _ in leaves(raw):
        steps = path.split(".")
        unknown = next((n for n in range(1, len(steps) + 1) if ".".join(steps[:n]) not in every), None)
        if unknown is None or steps[0] in (*SLOTS, *SETTINGS) or path.startswith(tuple(f"{o}." for o in OPEN)):
            continue
        if "_target_" in node_at(raw, steps[: unknown - 1]):
            continue
        name = ".".join(steps[:unknown])
        raise ConfigError(f"{name}: ltrun has no such key{did_you_mean(name, every)}")


def node_at(config: Mapping[str, Any], steps: Sequence[str]) -> Mapping[str, Any]:
    """The mapping at a path, empty where there is none."""
    for step in steps:
        inner = config.get(step)
        config = inner if isinstance(inner, Mapping) else {}
    return config

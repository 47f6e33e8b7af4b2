"""Settings: the keys that ltrun itself reads, with their types and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any, Literal, get_type_hints

from ltrun.config.values import coerce
from ltrun.errors import ConfigError, did_you_mean
from ltrun.taxonomy import SETTINGS, SLOTS

OPEN = ("stages", "dataset.augments")  # mappings whose keys the user chooses; other modules check them
LARGEST = 2**31 - 1  # the largest whole number
LEAST = {
    "epochs": 1, "batch_size": 1, "evaluation.every": 1, "evaluation.batch_size": 1, "evaluation.many": 1, "evaluation.few": 1,
    "runtime.threads": 1, "runtime.pack": 1, "runtime.checkpoint_seconds": 0, "runtime.accumulate": 1,
}  # fmt: skip
MOST = {"runtime.threads": 1024, "runtime.pack": 1024, "seed": 2**63 - 1}

TIME = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in "dhms"))
UNITS = (86400, 3600, 60, 1)  # seconds of a day, an hour, a minute, a second

LEVERS = {
    "rows_in_graph": "a captured step receives row numbers alone and gathers its images and labels itself; same bits",
    "image_kernel": "gather, crop, flip and normalise as one Triton kernel; same bits",
    "norm_relu_kernel": "batch normalisation, addition and ReLU as one Triton operation; other roundings",
    "parallel_gradients": "weight gradients of convolutions on a second stream of the captured step; same kernels",
    "cudnn_search": "cuDNN times its algorithms for each shape and keeps the fastest; other roundings",
    "joint_casts": "bf16: all weights cast by one operation a step",
}  # fmt: skip
"""Names that `runtime.levers` accepts -> effect, in the order in which they are applied. All are for CUDA devices."""


@dataclass(frozen=True)
class Dataset:
    """name: the data set's name in addresses and tables."""

    name: str


@dataclass(frozen=True)
class Evaluation:
    """every: epochs between evaluations. batch_size: images at once. many, few: limits of the shot groups, images per class."""

    every: int
    batch_size: Literal["auto"] | int
    many: int
    few: int


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes: see the comments in conf/config.yaml."""

    device: str
    threads: int | None
    pack: Literal["auto"] | int
    checkpoint_seconds: float
    decode: Literal["cpu", "device"]
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    accumulate: int
    ema: float | None
    channels_last: bool
    compile: Literal["auto", True, False]
    sync_bn: bool
    levers: list[str]
    tensorboard: bool


@dataclass(frozen=True)
class Sweep:
    """commands: command lines of an experiment. budget: time after which a sweep stops, such as 8h; None: when all is done.
    references: whether the balanced runs that relative accuracy needs are trained, too."""

    commands: list[str]
    budget: str | float | None
    references: bool

    @property
    def seconds(self) -> float | None:
        """The budget in seconds. Raises ConfigError for a text that is not a time."""
        if self.budget is None:
            return None
        parts = TIME.fullmatch(str(self.budget).strip())
        seconds = (
            sum(float(number) * unit for number, unit in zip(parts.groups(), UNITS, strict=True) if number) if parts else 0
        )
        if not 0 < seconds <= LARGEST:
            raise ConfigError(f"sweep.budget: expected a time, such as 90s, 30m, 8h, 1d or 1h30m, got {self.budget}")
        return seconds


@dataclass(frozen=True)
class Settings:
    """The keys that ltrun itself reads, typed; the keys of parts are checked against the signatures of their classes."""

    seed: int
    epochs: int
    batch_size: int
    before: list[str]
    plan: list[str]
    selection: Literal["last", "best_val"]
    outputs: str
    force: bool
    plugins: list[str]
    sweep: Sweep
    dataset: Dataset
    evaluation: Evaluation
    runtime: Runtime

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Reads a configuration. Raises ConfigError, with the key path, for a missing key or an invalid value."""
        settings = _read(cls, config, "")
        _ = settings.sweep.seconds
        if not settings.outputs.strip():
            raise ConfigError("outputs: names no folder; give one, as in outputs=DIR, or unset LTRUN_OUTPUTS")
        root = config["dataset"].get("root")
        if isinstance(root, str) and not root.strip():
            raise ConfigError("dataset.root: names no folder; give one, as in dataset.root=DIR, or unset LTRUN_DATA")
        many, few = settings.evaluation.many, settings.evaluation.few
        if few > many:
            raise ConfigError(f"evaluation.few: {few} is above evaluation.many ({many})")
        decay = settings.runtime.ema
        if decay is not None and not 0 < decay < 1:
            raise ConfigError(f"runtime.ema: expected a number between 0 and 1, such as 0.9999, or null, got {decay}")
        for name in settings.runtime.levers:
            if name not in LEVERS:
                raise ConfigError(f"runtime.levers: there is no '{name}'{did_you_mean(name, LEVERS)}")
        return settings


_hints = lru_cache(get_type_hints)


def _read(kind: Any, node: Any, path: str) -> Any:
    """Reads the mapping at a path into a dataclass, whose annotations are the types of the keys."""
    values = {}
    for name, hint in _hints(kind).items():
        place = f"{path}.{name}" if path else name
        if not isinstance(node, Mapping) or name not in node:
            raise ConfigError(f"{place}: this key is missing; add it")
        values[name] = _read(hint, node[name], place) if is_dataclass(hint) else _value(node[name], hint, place)
    return kind(**values)


def _value(value: Any, hint: Any, path: str) -> Any:
    coerced = coerce(value, hint, path)
    if isinstance(coerced, (int, float)) and not isinstance(coerced, bool):
        least, most = LEAST.get(path), MOST.get(path, LARGEST)
        if isinstance(coerced, int) and coerced > most:
            raise ConfigError(f"{path}: expected a number of at most {most:,}, got {value}")
        if least is not None and coerced < least:
            kind = "a number" if hint is float else "a whole number"
            raise ConfigError(f"{path}: expected {kind} of at least {least}, got {value!r}")
    return coerced


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def refuse_unknown_keys(raw: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises ConfigError for a key that ltrun does not have: Hydra checks the command line, but not YAML files.

    `bind` checks the keys of parts.
    """
    _refuse_dots(raw, ())
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


def _refuse_dots(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Raises ConfigError for a key with a dot, which nothing reads, as in a file's `optimizer.lr: 0.5`; rows may have dots."""
    for key, value in node.items():
        if "." in str(key) and path != ("posthoc", "predictors"):
            where = ".".join((*path, str(key)))
            nested = "".join(f"{step}: {{" for step in str(key).split(".")[:-1])
            last, ends = str(key).rpartition(".")[2], "}" * str(key).count(".")
            raise ConfigError(f"{where}: a key in a file has no dots; write {nested}{last}: {value!r}{ends}")
        if isinstance(value, Mapping) and "_target_" not in value:
            _refuse_dots(value, (*path, str(key)))


def node_at(config: Mapping[str, Any], steps: Sequence[str]) -> Mapping[str, Any]:
    """Returns the mapping at a path, empty if there is none."""
    for step in steps:
        inner = config.get(step)
        config = inner if isinstance(inner, Mapping) else {}
    return config

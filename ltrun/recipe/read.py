"""Reading of a recipe from a configuration: slots contribute to roles, and a stage is a diff over the slots of the run.

This happens before data is opened: nodes are bound to their classes and combinations that make no sense are refused, but no
part is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ltrun import parts
from ltrun.config.bind import Bound, bind
from ltrun.config.pretrained import backbone_of
from ltrun.config.rows import rows_of
from ltrun.config.settings import Settings
from ltrun.config.values import coerce, mapping
from ltrun.data.source import Source
from ltrun.errors import ConfigError, did_you_mean
from ltrun.metrics import SINGLE_LABEL
from ltrun.optimizer.base import Optimizer
from ltrun.recipe.checks import (
    balanced_twice,
    check_maps,
    check_name,
    check_posthoc,
    check_stage,
    check_tasks,
    check_trained,
    provided_by,
    too_short,
)
from ltrun.recipe.contributions import Contributions
from ltrun.recipe.pretrained import pretrained_otherwise, pretrained_prepare
from ltrun.recipe.stage import MAIN, Recipe, Stage, Stream
from ltrun.schedule.base import Schedule
from ltrun.taxonomy import DATASET_KEYS, NETWORK_SLOTS, STAGE_SLOTS
from ltrun.types import fraction_of

STAGE_KEYS = {
    "base", "keep", "fraction", "epochs", "trainable", "reset_head", "reset_network", "norm", "optimizer", "schedule",
    *STAGE_SLOTS,
}  # fmt: skip
LONGEST = 100  # the longest stage, in multiples of the run's epochs


def recipe_of(config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str] = ()) -> Recipe:
    """Reads a resolved configuration. choices: group -> option, for messages. Raises ConfigError."""
    reader = _Reader(config, choices, plugins)
    backbone = backbone_of(config, plugins)
    prepare = bind(config["dataset"].get("prepare"), "dataset.prepare", parts.Prepare, plugins)
    recipe = Recipe(
        task=task_in(config["dataset"]),
        source=source_of(config, plugins),
        prepare=pretrained_prepare(backbone, prepare),
        backbone=backbone,
        stages=reader.stages(),
        posthoc=reader.posthoc(),
    )
    provided = list(provided_by(recipe.stages))
    for stage, known in zip(recipe.stages, provided, strict=True):
        check_stage(stage, recipe.stages[0], known)
    check_tasks(recipe, choices.get("dataset", ""))
    check_maps(recipe)
    check_trained(recipe.stages[-1])
    check_posthoc(recipe, provided[-1])
    warnings = [*balanced_twice(recipe), *too_short(recipe), *pretrained_otherwise(recipe, prepare)]
    return replace(recipe, warnings=warnings)


def source_of(config: Mapping[str, Any], plugins: Sequence[str] = ()) -> Bound[Source]:
    """Binds the data set of a resolved configuration, without the keys that ltrun itself reads. Raises ConfigError."""
    node = mapping(config.get("dataset"), "dataset")
    if "_target_" not in node and "source" in node:
        raise ConfigError(
            "dataset.source: the class of a data set and its arguments lie in `dataset` itself; move _target_ and the "
            "arguments up, and mean and std into `prepare`, as in digits_lt.yaml"
        )
    source = bind({key: value for key, value in node.items() if key not in DATASET_KEYS}, "dataset", Source, plugins)
    for name in coerce(node.get("inert"), list[str] | None, "dataset.inert") or []:
        if name not in source.arguments:
            raise ConfigError(f"dataset.inert: the data set has no argument '{name}'{did_you_mean(name, source.arguments)}")
    return source


def dataset_of(config: Mapping[str, Any], plugins: Sequence[str] = ()) -> Source:
    """Returns the data set of a resolved configuration, as a run opens it: streamed where training cuts whole photographs.

    Raises ConfigError.
    """
    cuts = any(part.target.cuts == "photographs" for part in _augments(config, plugins).values())
    return source_of(config, plugins).build({"random_crops": cuts, "task": task_in(config["dataset"])})


def task_in(dataset: Mapping[str, Any]) -> str:
    """Returns the task that a data set's configuration names. Raises ConfigError."""
    task: str = coerce(dataset.get("task", SINGLE_LABEL), Literal["single_label", "multi_label"], "dataset.task")
    return task


def _augments(config: Mapping[str, Any], plugins: Sequence[str]) -> dict[str, Bound[parts.Augment]]:
    nodes = mapping(config["dataset"].get("augments"), "dataset.augments")
    return {name: bind(node, f"dataset.augments.{name}", parts.Augment, plugins) for name, node in nodes.items()}


class _Reader:
    """The stages and post-hoc parts of one configuration."""

    def __init__(self, config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str]):
        self.config, self.choices, self.plugins = config, choices, plugins
        self.settings = Settings.of(config)

    def posthoc(self) -> dict[str, Bound[parts.PostHoc]]:
        chosen = self.choices.get("posthoc", "")
        option = "" if chosen.startswith("[") else chosen
        return {
            name: bind(part, path, parts.PostHoc, self.plugins, f"posthoc={option or name}")
            for name, (path, part) in rows_of(self.config.get("posthoc")).items()
        }

    def stages(self) -> list[Stage]:
        plan = [*self.settings.before, *self.settings.plan]
        known = mapping(self.config.get("stages"), "stages")
        if not plan or len(set(plan)) < len(plan):
            where = "before and plan" if self.settings.before else "plan"
            raise ConfigError(f"{where}: expected a list of different stage names, got {plan!r}")
        for name in plan:
            if name not in known:
                raise ConfigError(f"plan: there is no stage '{name}'{did_you_mean(str(name), known)}")
        for name in plan:
            check_name(name, "plan")
        return [self._stage(name, mapping(known[name], f"stages.{name}"), index) for index, name in enumerate(plan)]

    def _stage(self, name: str, diff: Mapping[str, Any], index: int) -> Stage:
        path = f"stages.{name}"
        _check_keys(diff, path)
        given = Contributions(self.config, self.choices, self.plugins, name, diff)
        reset_head = coerce(diff.get("reset_head", False), bool, f"{path}.reset_head")
        for role, slot in {"sampler": "resampling", "head": "classifier"}.items():
            if role not in given.one:
                raise ConfigError(f"{path}: no slot gives this stage a {role}; set {slot}=OPTION")
        if index and "head" in given.diff and "wrap" not in given.one and not reset_head:
            raise ConfigError(f"{path}.classifier: the trained head is kept; set {path}.reset_head=true for a new one")
        augments = _augments(self.config, self.plugins) | given.named["augments"]
        augments = dict(sorted(augments.items(), key=lambda item: not item[1].target.first))
        streams = {MAIN: Stream(given.one["sampler"], None, augments, "dataset")}
        return Stage(
            name=name,
            epochs=self._epochs(diff, path),
            streams=streams | given.streams,
            mixers=given.named["mixers"],
            feature_mixers=given.named["feature_mixers"],
            terms=given.terms,
            adjusts=given.chain["adjust"],
            weighs=given.chain["weigh"],
            network=given.one.get("network") or bind({"_target_": "ltrun.network.Plain"}, "network", parts.Network),
            head=given.one["head"],
            wrap=given.one.get("wrap") if index == 0 or "wrap" in given.diff else None,
            update=given.one.get("update") or bind({"_target_": "ltrun.engine.update.Plain"}, "update", parts.Update),
            criterion=given.one.get("criterion"),
            average=self._average(given),
            optimizer=self._setting("optimizer", diff, path, Optimizer),
            schedule=self._setting("schedule", diff, path, Schedule),
            teachers=given.teachers,
            trainable=_patterns(diff.get("trainable"), f"{path}.trainable"),
            reset_head=reset_head,
            reset_network=coerce(diff.get("reset_network", False), bool, f"{path}.reset_network"),
            norm=coerce(diff.get("norm", "follow"), Literal["follow", "track", "hold"], f"{path}.norm"),
        )

    def _average(self, given: Contributions) -> Bound[parts.Average] | None:
        average = given.one.get("average")
        if average is not None and self.settings.runtime.ema is not None:
            raise ConfigError(f"runtime.ema and {average.origin} both average the network's weights; drop one of them")
        return average

    def _epochs(self, diff: Mapping[str, Any], path: str) -> int:
        if diff.get("epochs") is not None:
            epochs = coerce(diff["epochs"], int, f"{path}.epochs")
            if epochs < 1:
                raise ConfigError(f"{path}.epochs: expected a whole number of at least 1, got {epochs}")
            return int(epochs)
        fraction = coerce(diff.get("fraction", 1.0), float, f"{path}.fraction")
        if not 0 < fraction <= LONGEST:
            raise ConfigError(f"{path}.fraction: expected a number above 0 and at most {LONGEST}, got {fraction!r}")
        return max(1, fraction_of(self.settings.epochs, fraction))

    def _setting(self, group: str, diff: Mapping[str, Any], path: str, kind: type) -> Bound[Any]:
        own = diff.get(group) is not None
        return bind(diff[group] if own else self.config.get(group), f"{path}.{group}" if own else group, kind, self.plugins)


def _check_keys(diff: Mapping[str, Any], path: str) -> None:
    """Raises ConfigError for a key that a stage does not have, an invalid `base`, and a `keep` without effect."""
    for key in diff:
        if key not in STAGE_KEYS:
            raise ConfigError(f"{path}.{key}: a stage has no '{key}'{did_you_mean(str(key), STAGE_KEYS)}")
    base = coerce(diff.get("base"), Literal["plain"] | None, f"{path}.base")
    known = [slot for slot in STAGE_SLOTS if slot not in NETWORK_SLOTS]
    for slot in coerce(diff.get("keep"), list[str] | None, f"{path}.keep") or []:
        if base is None:
            raise ConfigError(f"{path}.keep: a stage without 'base: plain' keeps every slot of the run; remove it")
        if slot in NETWORK_SLOTS:
            raise ConfigError(f"{path}.keep: {slot} is kept anyway, with the network; remove it")
        if slot not in known:
            raise ConfigError(f"{path}.keep: there is no slot '{slot}'{did_you_mean(slot, known)}")
        if diff.get(slot) is not None:
            raise ConfigError(f"{path}.keep: the stage has a {slot} of its own; remove one of them")


def _patterns(value: Any, path: str) -> list[str] | None:
    patterns: list[str] | None = coerce(value, list[str] | None, path)
    if patterns == []:
        raise ConfigError(f"{path}: expected patterns over parameter names, got none; null trains all parameters")
    return patterns

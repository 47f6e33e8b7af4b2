"""What a run does, as read from the configuration: slots contribute to roles, and a stage is a diff over the base slots.

Everything here happens before data is opened: nodes are bound to their classes and combinations that make no sense are
refused, but no part is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ltrun import parts
from ltrun.config.bind import Bound, bind
from ltrun.config.settings import Settings
from ltrun.config.values import coerce
from ltrun.data.source import Source
from ltrun.errors import ConfigError, did_you_mean
from ltrun.parts import Sampler
from ltrun.recipe.checks import balanced_twice, check_name, check_posthoc, check_stage
from ltrun.recipe.roles import KEYED, ORDERED, ROLES, SINGLE
from ltrun.recipe.stage import LONGEST, MAIN, Recipe, Stage, Stream
from ltrun.taxonomy import STAGE_SLOTS
from ltrun.types import fraction_of

STAGE_KEYS = {"fraction", "epochs", "trainable", "reset_head", "norm", "optimizer", "schedule", *STAGE_SLOTS}
DEFAULTS = {
    "network": {"_target_": "ltrun.network.Plain"},
    "update": {"_target_": "ltrun.engine.update.Plain"},
}


def recipe_of(config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str] = ()) -> Recipe:
    """Reads a resolved configuration. choices: group -> option, for messages. Raises ConfigError."""
    reader = _Reader(config, choices, plugins)
    recipe = Recipe(
        source=bind(_mapping(config.get("dataset"), "dataset").get("source"), "dataset.source", Source, plugins),
        prepare=bind(config["dataset"].get("prepare"), "dataset.prepare", parts.Prepare, plugins),
        backbone=bind(config.get("network"), "network", parts.Backbone, plugins),
        stages=reader.stages(),
        posthoc=reader.posthoc(),
    )
    for stage in recipe.stages:
        check_stage(stage, recipe.stages[0])
    check_posthoc(recipe)
    return replace(recipe, warnings=balanced_twice(recipe))


class _Reader:
    """Collects what the slots contribute, stage by stage."""

    def __init__(self, config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str]):
        self.config, self.choices, self.plugins = config, choices, plugins
        self.settings = Settings.of(config)

    def posthoc(self) -> dict[str, Bound]:
        node = _mapping(self.config.get("posthoc"), "posthoc")
        for key in node:
            if key != "predictors":
                raise ConfigError(f"posthoc.{key}: a post-hoc option has 'predictors' only")
        chosen = self.choices.get("posthoc", "")
        option = "" if chosen.startswith("[") else chosen
        return {
            name: bind(part, f"posthoc.predictors.{name}", parts.PostHoc, self.plugins, f"posthoc={option or name}")
            for name, part in _mapping(node.get("predictors"), "posthoc.predictors").items()
        }

    def stages(self) -> list[Stage]:
        plan = self.settings.plan
        known = _mapping(self.config.get("stages"), "stages")
        if not plan or len(set(plan)) < len(plan):
            raise ConfigError(f"plan: expected a list of different stage names, got {plan!r}")
        for name in plan:
            if name not in known:
                raise ConfigError(f"plan: there is no stage '{name}'{did_you_mean(str(name), known)}")
        for name in plan:
            check_name(name, "plan")
        return [self._stage(name, _mapping(known[name], f"stages.{name}"), index) for index, name in enumerate(plan)]

    def _stage(self, name: str, diff: Mapping[str, Any], index: int) -> Stage:
        path = f"stages.{name}"
        for key in diff:
            if key not in STAGE_KEYS:
                raise ConfigError(f"{path}.{key}: a stage has no '{key}'{did_you_mean(str(key), STAGE_KEYS)}")
        given = _Contributions(self, f"{path}." if diff else "", diff, path)
        for role, slot in {"sampler": "resampling", "head": "classifier"}.items():
            if role not in given.one:
                raise ConfigError(f"{path}: no slot gives this stage a {role}; set {slot}=OPTION")
        if index and "head" in given.diff and "wrap" not in given.one and not diff.get("reset_head"):
            raise ConfigError(f"{path}.classifier: the head trained so far goes on; set {path}.reset_head=true for a new one")
        streams = {MAIN: Stream(given.one["sampler"], None, self._dataset_augments() | given.named["augments"], "dataset")}
        return Stage(
            name=name,
            epochs=self._epochs(diff, path),
            streams=streams | given.streams,
            mixers=given.named["mixers"],
            terms=given.terms,
            adjusts=given.chain["adjust"],
            weighs=given.chain["weigh"],
            network=given.one.get("network") or bind(DEFAULTS["network"], "network", parts.Network),
            head=given.one["head"],
            wrap=given.one.get("wrap") if index == 0 or "classifier" in diff else None,
            update=given.one.get("update") or bind(DEFAULTS["update"], "update", parts.Update),
            criterion=given.one.get("criterion"),
            optimizer=self._setting("optimizer", diff, path, parts.Optimizer),
            schedule=self._setting("schedule", diff, path, parts.Schedule),
            trainable=_strings(diff.get("trainable"), f"{path}.trainable"),
            reset_head=_choice(diff.get("reset_head", False), (True, False), f"{path}.reset_head"),
            norm=_choice(diff.get("norm", "follow"), ("follow", "track", "hold"), f"{path}.norm"),
        )

    def _epochs(self, diff: Mapping[str, Any], path: str) -> int:
        if diff.get("epochs") is not None:
            return _positive(diff["epochs"], f"{path}.epochs")
        fraction = diff.get("fraction", 1.0)
        if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 < fraction <= LONGEST:
            raise ConfigError(f"{path}.fraction: expected a number above 0 and at most {LONGEST}, got {fraction!r}")
        return max(1, fraction_of(self.settings.epochs, fraction))

    def _setting(self, group: str, diff: Mapping[str, Any], path: str, kind: type) -> Bound:
        own = diff.get(group) is not None
        return bind(diff[group] if own else self.config.get(group), f"{path}.{group}" if own else group, kind, self.plugins)

    def _dataset_augments(self) -> dict[str, Bound]:
        nodes = _mapping(self.config["dataset"].get("augments"), "dataset.augments")
        return {k: bind(v, f"dataset.augments.{k}", parts.Augment, self.plugins) for k, v in nodes.items()}


class _Contributions:
    """The roles that the slots of one stage fill; remembers which slot filled which, for the messages."""

    def __init__(self, reader: _Reader, prefix: str, diff: Mapping[str, Any], path: str):
        self.plugins = reader.plugins
        self.one: dict[str, Bound] = {}
        self.chain: dict[str, list[Bound]] = {role: [] for role in ORDERED}
        self.named: dict[str, dict[str, Bound]] = {role: {} for role in KEYED}
        self.streams: dict[str, Stream] = {}
        self.terms: dict[str, tuple[float, Bound]] = {}
        self.owner: dict[str, str] = {}
        self.diff: set[str] = set()  # roles that this stage's own options fill
        for slot in STAGE_SLOTS:
            own = diff.get(slot) is not None
            option = reader.choices.get(f"{slot}@{path}.{slot}" if own else slot)
            node = diff[slot] if own else reader.config.get(slot)
            place = f"{prefix if own else ''}{slot}"
            if node is not None and not isinstance(node, Mapping):
                raise ConfigError(f"{place}: expected an option of this group, got {node!r}")
            node = node or {}
            self.diff |= set(node) if own else set()
            whose = f" in stage '{path.split('.')[1]}' of decoupling={reader.choices.get('decoupling', 'none')}" if own else ""
            self._slot(node, place, f"{slot}={option or _names(node)}{whose}")

    def _slot(self, node: Mapping[str, Any], path: str, origin: str) -> None:
        for role, content in node.items():
            here = f"{path}.{role}"
            if role in SINGLE:
                self._claim(role, origin)
                self.one[role] = bind(content, here, SINGLE[role], self.plugins, origin)
            elif role in ORDERED:
                self.chain[role].append(bind(content, here, ORDERED[role], self.plugins, origin))
            elif role in (*KEYED, "streams", "terms"):
                for name, item in _mapping(content, here).items():
                    self._claim(f"{role}.{name}", origin)
                    self._named(role, str(name), item, f"{here}.{name}", origin)
            else:
                raise ConfigError(f"{here}: an option has no '{role}'{did_you_mean(str(role), ROLES)}")

    def _named(self, role: str, name: str, item: Any, path: str, origin: str) -> None:
        if role in ("streams", "terms", "mixers"):
            check_name(name, path)
            if hasattr(nn.ModuleDict, name) or name == "training":
                raise ConfigError(f"{path}: '{name}' is a word of the library's; choose another name")
        if role == "streams":
            if name == MAIN:
                raise ConfigError(f"{path}: the stream '{MAIN}' is that of resampling and augmentation; choose another name")
            self.streams[name] = self._stream(item, path, origin)
        elif role == "terms":
            if not isinstance(item, Mapping) or set(item) - {"weight", "part"} or "part" not in item:
                raise ConfigError(f"{path}: expected 'part' and optionally 'weight', got {item!r}")
            if name == "total":
                raise ConfigError(f"{path}: 'total' is the name of the sum of all terms; choose another name")
            weight = coerce(item.get("weight", 1.0), float, f"{path}.weight")
            self.terms[name] = (weight, bind(item["part"], f"{path}.part", parts.Term, self.plugins, origin))
        else:
            self.named[role][name] = bind(item, path, KEYED[role], self.plugins, origin)

    def _stream(self, item: Any, path: str, origin: str) -> Stream:
        if not isinstance(item, Mapping) or set(item) - {"sampler", "of", "augments"} or ("of" in item) == ("sampler" in item):
            raise ConfigError(f"{path}: expected 'sampler' or 'of', and optionally 'augments', got {item!r}")
        augments = None
        if item.get("augments") is not None:
            nodes = _mapping(item["augments"], f"{path}.augments")
            augments = {k: bind(v, f"{path}.augments.{k}", parts.Augment, self.plugins, origin) for k, v in nodes.items()}
        return Stream(
            sampler=bind(item["sampler"], f"{path}.sampler", Sampler, self.plugins, origin) if "sampler" in item else None,
            of=coerce(item["of"], str, f"{path}.of") if "of" in item else None,
            augments=augments,
            origin=origin,
        )

    def _claim(self, what: str, origin: str) -> None:
        if what in self.owner:
            raise ConfigError(f"{self.owner[what]} and {origin} both set '{what}' and cannot be combined; choose one of them")
        self.owner[what] = origin


def _names(node: Any) -> str:
    """What an option is called where Hydra does not say: the names of its parts."""
    contents = [value for value in (node or {}).values() if isinstance(value, Mapping) and "_target_" not in value]
    return "+".join(dict.fromkeys(str(name) for content in contents for name in content)) or "?"


def _positive(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{path}: expected a whole number of at least 1, got {value!r}")
    return value


def _strings(value: Any, path: str) -> list[str] | None:
    patterns = coerce(value, list[str] | None, path)
    if patterns == []:
        raise ConfigError(f"{path}: expected patterns over parameter names, got none; null trains all parameters")
    return patterns


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    """The mapping that lies at a key; nothing, or null, is an empty one."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{path}: expected names with a value each, got {value!r}")
    return value or {}


def _choice(value: Any, known: tuple, path: str) -> Any:
    if not isinstance(value, (str, bool)) or value not in known:
        raise ConfigError(f"{path}: expected one of {', '.join(map(str, known)).lower()}, got {value!r}")
    return value

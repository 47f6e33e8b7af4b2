"""What a run does, as read from the configuration: slots contribute to roles, and a stage is a diff over the base slots.

Everything here happens before data is opened: nodes are bound to their classes and combinations that make no sense are
refused, but no part is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from torch import nn

from ltrun import parts
from ltrun.build import Bound, bind
from ltrun.data.source import Source
from ltrun.errors import ConfigError, did_you_mean
from ltrun.parts import Sampler
from ltrun.slots import STAGE_SLOTS
from ltrun.types import fraction_of
from ltrun.values import fitting

ONE = {
    "sampler": parts.Sampler,
    "head": parts.Head,
    "wrap": parts.Head,
    "network": parts.Network,
    "update": parts.Update,
    "criterion": parts.Criterion,
}  # roles that one slot of a stage may fill
CHAIN = {"weigh": parts.Weigh, "adjust": parts.Adjust}  # roles that every slot may add a part to, in slot order
NAMED = {"augments": parts.Augment, "mixers": parts.Mixer, "predictors": parts.PostHoc}  # the same, several a slot, by name
ROLES = (*ONE, *CHAIN, *NAMED, "streams", "terms")
MAIN = "main"
GIVES = {"cosines": "classifier 'cosine'", "heads of cosines": "classifier 'causal'", "experts": "ensemble 'ride' or 'sade'"}
NEUTRAL = {"resampling": "instance", "classifier": "linear"}  # where there is no option 'none'
LONGEST = 100  # times a run's epochs that a stage may last


@dataclass(frozen=True)
class Stream:
    """A sampler, or the rows of another stream (`of`); augments: None where it uses those of the main stream."""

    sampler: Bound | None
    of: str | None
    augments: dict[str, Bound] | None
    origin: str


@dataclass(frozen=True)
class Stage:
    """One stretch of training with its own parts, optimizer and schedule; the network goes on from the stage before."""

    name: str
    epochs: int
    streams: dict[str, Stream]
    mixers: dict[str, Bound]
    terms: dict[str, tuple[float, Bound]]  # without a term 'classification', the adjusts and weighs make up the loss
    adjusts: list[Bound]
    weighs: list[Bound]
    network: Bound | None
    head: Bound
    wrap: Bound | None
    update: Bound | None
    criterion: Bound | None
    optimizer: Bound
    schedule: Bound
    trainable: list[str] | None = None  # patterns over the network's parameter names; None trains all
    reset_head: bool = False
    norm: Literal["follow", "track", "hold"] = "follow"

    def parts(self) -> Iterator[Bound]:
        """Every part that the stage's options contribute, outermost only."""
        for stream in self.streams.values():
            yield from [stream.sampler] if stream.sampler else []
            yield from (stream.augments or {}).values()
        yield from self.mixers.values()
        yield from (part for _, part in self.terms.values())
        yield from self.adjusts + self.weighs
        yield from (part for part in (self.network, self.head, self.wrap, self.update, self.criterion) if part)


STAGE_KEYS = {"fraction", "epochs", "trainable", "reset_head", "norm", "optimizer", "schedule", *STAGE_SLOTS}
DEFAULTS = {
    "network": {"_target_": "ltrun.networks.Plain"},
    "update": {"_target_": "ltrun.update.Plain"},
}


@dataclass(frozen=True)
class Recipe:
    """All of a run. warnings: sentences for combinations that are allowed and usually a mistake."""

    source: Bound
    backbone: Bound
    stages: list[Stage]
    posthoc: dict[str, Bound]
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def bind(cls, config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str] = ()) -> Recipe:
        """Reads a resolved configuration. choices: group -> option, for messages. Raises ConfigError."""
        reader = _Reader(config, choices, plugins)
        recipe = cls(
            source=bind(_mapping(config.get("dataset"), "dataset").get("source"), "dataset.source", Source, plugins),
            backbone=bind(config.get("network"), "network", parts.Backbone, plugins),
            stages=reader.stages(),
            posthoc=reader.posthoc(),
        )
        for stage in recipe.stages:
            _check(stage, recipe.stages[0])
        _check_posthoc(recipe, config)
        return cls(**{f.name: getattr(recipe, f.name) for f in fields(cls)} | {"warnings": _balanced_twice(recipe)})

    def check_settings(self) -> None:
        """Has optimizers and schedules, which need no data, look at their values. Raises ConfigError."""
        for stage in self.stages:
            for setting in (stage.optimizer, stage.schedule):
                if not any(setting.wants(name) for name in parts.CONTEXT):
                    setting.build({})


class _Reader:
    """Collects what the slots contribute, stage by stage."""

    def __init__(self, config: Mapping[str, Any], choices: Mapping[str, str], plugins: Sequence[str]):
        self.config, self.choices, self.plugins = config, choices, plugins

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
        plan = fitting(self.config.get("plan"), list[str], "plan")
        known = _mapping(self.config.get("stages"), "stages")
        if not plan or len(set(plan)) < len(plan):
            raise ConfigError(f"plan: expected a list of different stage names, got {plan!r}")
        for name in plan:
            if name not in known:
                raise ConfigError(f"plan: there is no stage '{name}'{did_you_mean(str(name), known)}")
        for name in plan:
            _check_name(name, "plan")
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
        whole = _positive(self.config.get("epochs"), "epochs")
        if diff.get("epochs") is not None:
            return _positive(diff["epochs"], f"{path}.epochs")
        fraction = diff.get("fraction", 1.0)
        if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 < fraction <= LONGEST:
            raise ConfigError(f"{path}.fraction: expected a number above 0 and at most {LONGEST}, got {fraction!r}")
        return max(1, fraction_of(whole, fraction))

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
        self.chain: dict[str, list[Bound]] = {role: [] for role in CHAIN}
        self.named: dict[str, dict[str, Bound]] = {role: {} for role in NAMED}
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
            if role in ONE:
                self._claim(role, origin)
                self.one[role] = bind(content, here, ONE[role], self.plugins, origin)
            elif role in CHAIN:
                self.chain[role].append(bind(content, here, CHAIN[role], self.plugins, origin))
            elif role in (*NAMED, "streams", "terms"):
                for name, item in _mapping(content, here).items():
                    self._claim(f"{role}.{name}", origin)
                    self._named(role, str(name), item, f"{here}.{name}", origin)
            else:
                raise ConfigError(f"{here}: an option has no '{role}'{did_you_mean(str(role), ROLES)}")

    def _named(self, role: str, name: str, item: Any, path: str, origin: str) -> None:
        if role in ("streams", "terms", "mixers"):
            _check_name(name, path)
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
            weight = fitting(item.get("weight", 1.0), float, f"{path}.weight")
            self.terms[name] = (weight, bind(item["part"], f"{path}.part", parts.Term, self.plugins, origin))
        else:
            self.named[role][name] = bind(item, path, NAMED[role], self.plugins, origin)

    def _stream(self, item: Any, path: str, origin: str) -> Stream:
        if not isinstance(item, Mapping) or set(item) - {"sampler", "of", "augments"} or ("of" in item) == ("sampler" in item):
            raise ConfigError(f"{path}: expected 'sampler' or 'of', and optionally 'augments', got {item!r}")
        augments = None
        if item.get("augments") is not None:
            nodes = _mapping(item["augments"], f"{path}.augments")
            augments = {k: bind(v, f"{path}.augments.{k}", parts.Augment, self.plugins, origin) for k, v in nodes.items()}
        return Stream(
            sampler=bind(item["sampler"], f"{path}.sampler", Sampler, self.plugins, origin) if "sampler" in item else None,
            of=fitting(item["of"], str, f"{path}.of") if "of" in item else None,
            augments=augments,
            origin=origin,
        )

    def _claim(self, what: str, origin: str) -> None:
        if what in self.owner:
            raise ConfigError(f"{self.owner[what]} and {origin} both set '{what}' and cannot be combined; choose one of them")
        self.owner[what] = origin


def _check(stage: Stage, first: Stage) -> None:
    """Refuses what makes no sense, naming both slots."""
    network = first.network
    assert network is not None
    net = network.origin or "the plain network (ensemble=none)"
    if stage is not first and stage.network is not None and stage.network.target is not network.target and stage.network.origin:
        raise ConfigError(f"stages.{stage.name}: {stage.network.origin} would replace the network that {first.name} trained")
    _, loss = stage.terms.get("classification", (1.0, None))
    if loss is not None and not loss.wants("classify"):
        for part in [*stage.adjusts, *stage.weighs, *([stage.criterion] if stage.criterion else [])]:
            slot = part.path.split(".")[-2]
            raise ConfigError(
                f"{part.origin} has no effect beside {loss.origin}, which has its own classification loss; set "
                f"{slot}={NEUTRAL.get(slot, 'none')}"
            )
    for name, stream in stage.streams.items():
        if stream.of is not None and (stream.of not in stage.streams or stage.streams[stream.of].sampler is None):
            raise ConfigError(f"{stream.origin}: stream '{name}' takes the rows of '{stream.of}', no stream with a sampler")
    assert stage.update is not None
    for part in [*(p for _, p in stage.terms.values()), *stage.mixers.values(), network, stage.update]:
        for name in getattr(part.target, "streams", ()):
            if name not in stage.streams:
                raise ConfigError(
                    f"{part.origin or part.path} needs the stream '{name}', which no slot of stage '{stage.name}' provides"
                )
    provided = {net: network.target.provides, stage.head.origin: stage.head.target.provides}  # type: ignore[attr-defined]
    for part in stage.parts():
        _check_reads(part, provided)
    _check_outer(stage, stage.update)
    for mixer in stage.mixers.values():
        for _, term in stage.terms.values():
            if not term.target.mixed:  # type: ignore[attr-defined]
                raise ConfigError(f"{mixer.origin} mixes labels, which {term.origin} cannot use; drop one of them")


def _check_outer(stage: Stage, update: Bound) -> None:
    """Outer parameters need an update that learns them, and such an update needs outer parameters."""
    outer = next((part for part in stage.parts() if _declares(part, "outer")), None)
    if outer is not None and not update.wants("outer"):
        raise ConfigError(
            f"{outer.origin or outer.path} has parameters that the optimizer does not train; give its option an 'update' that "
            "does, such as ltrun.update.Bilevel"
        )
    if outer is None and update.wants("outer"):
        raise ConfigError(f"{update.origin or update.path} has an update with nothing to learn; remove its 'update'")


def _check_reads(part: Bound, provided: Mapping[str, frozenset[str]]) -> None:
    reads = frozenset().union(*(getattr(node.target, "reads", frozenset()) for node in part.walk()))
    missing = reads.difference(*provided.values())
    if missing and part.origin:
        names = " and ".join(provided)
        way = " and ".join(GIVES[name] for name in sorted(missing) if name in GIVES)
        raise ConfigError(
            f"{part.origin} reads {', '.join(sorted(missing))}, which {names} do not provide; "
            + (f"choose {way}, or another option" if way else "choose another option")
        )


def _check_posthoc(recipe: Recipe, config: Mapping[str, Any]) -> None:
    first = recipe.stages[0]
    assert first.network is not None
    net = first.network.origin or "the plain network (ensemble=none)"
    provided = {net: first.network.target.provides, first.head.origin: first.head.target.provides}  # type: ignore[attr-defined]
    for name, part in recipe.posthoc.items():
        if name == "plain":
            raise ConfigError("posthoc.predictors.plain: 'plain' is the network's own prediction; choose another name")
        _check_reads(part, provided)
        if unknown := part.target.sees - parts.EVIDENCE:  # type: ignore[attr-defined]
            raise ConfigError(f"{part.origin}: sees '{min(unknown)}'; a post-hoc part sees {', '.join(sorted(parts.EVIDENCE))}")
    if config.get("selection") not in ("last", "best_val"):
        raise ConfigError(f"selection: expected last or best_val, got {config.get('selection')!r}")


def _balanced_twice(recipe: Recipe) -> list[str]:
    """Sentences for stages in which two slots counter the class prior: allowed, and usually worse than one of them."""
    found: list[str] = []
    for stage in recipe.stages:
        main = stage.streams[MAIN].sampler
        single = [part for part in (main, stage.criterion) if part]
        trained = [*single, *stage.weighs, *stage.adjusts, *(part for _, part in stage.terms.values())]
        last = stage is recipe.stages[-1]
        for part in [None, *(recipe.posthoc.values() if last else [])]:  # each post-hoc part is a row of its own
            names = [p.origin for p in [*trained, *([part] if part else [])] if _balances(p)]
            if len(names) > 1 and (part is None or _balances(part)):
                found.append(
                    f"stage '{stage.name}' balances the classes more than once: {' and '.join(names)}. This costs "
                    "accuracy: Balanced Softmax on ImageNet-LT falls from 51.2 to 49.1 or less (Zhang et al., arXiv 2110.04596)"
                )
    return list(dict.fromkeys(found))


def _balances(part: Bound) -> bool:
    return _declares(part, "balances")


def _declares(part: Bound, flag: str) -> bool:
    """Whether the class of a node, or of one nested in it, sets a flag of Part."""
    return any(getattr(node.target, flag, False) for node in part.walk())


def _names(node: Any) -> str:
    """What an option is called where Hydra does not say: the names of its parts."""
    contents = [value for value in (node or {}).values() if isinstance(value, Mapping) and "_target_" not in value]
    return "+".join(dict.fromkeys(str(name) for content in contents for name in content)) or "?"


def _positive(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{path}: expected a whole number of at least 1, got {value!r}")
    return value


def _strings(value: Any, path: str) -> list[str] | None:
    patterns = fitting(value, list[str] | None, path)
    if patterns == []:
        raise ConfigError(f"{path}: expected patterns over parameter names, got none; null trains all parameters")
    return patterns


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    """The mapping that lies at a key; nothing, or null, is an empty one."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{path}: expected names with a value each, got {value!r}")
    return value or {}


def _check_name(name: str, path: str) -> None:
    """Names become keys of modules and parts of file names."""
    if not re.fullmatch(r"[A-Za-z]\w{0,49}", name):
        raise ConfigError(f"{path}: '{name}' is no name for this: begin with a letter, use letters, digits and _, at most 50")


def _choice(value: Any, known: tuple, path: str) -> Any:
    if not isinstance(value, (str, bool)) or value not in known:
        raise ConfigError(f"{path}: expected one of {', '.join(map(str, known)).lower()}, got {value!r}")
    return value

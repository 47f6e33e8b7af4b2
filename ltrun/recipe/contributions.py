"""Contributions of the slots to the roles of one stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from ltrun import parts
from ltrun.config.bind import Bound, bind
from ltrun.config.teachers import OF_TEACHERS
from ltrun.config.values import coerce, mapping
from ltrun.errors import ConfigError, did_you_mean
from ltrun.recipe.checks import check_name
from ltrun.recipe.roles import KEYED, ORDERED, ROLES, SINGLE
from ltrun.recipe.stage import MAIN, Stream, Teacher
from ltrun.taxonomy import STAGE_SLOTS, emptied

PLAIN = {"resampling": ("instance", {"sampler": {"_target_": "ltrun.resampling.Instance"}})}  # a slot that cannot be empty


class Contributions:
    """The parts that the slots of one stage contribute, by role; and, for messages, the slot that filled each role."""

    def __init__(
        self,
        config: Mapping[str, Any],
        choices: Mapping[str, str],
        plugins: Sequence[str],
        stage: str,
        diff: Mapping[str, Any],
    ):
        self.config, self.choices, self.plugins = config, choices, plugins
        self.one: dict[str, Bound[Any]] = {}
        self.chain: dict[str, list[Bound[Any]]] = {role: [] for role in ORDERED}
        self.named: dict[str, dict[str, Bound[Any]]] = {role: {} for role in KEYED}
        self.streams: dict[str, Stream] = {}
        self.terms: dict[str, tuple[float, Bound[parts.Term]]] = {}
        self.teachers: dict[str, Teacher] = {}
        self.owner: dict[str, str] = {}
        self.diff: set[str] = set()  # roles that this stage's own options fill
        gone = emptied(diff)
        for slot in STAGE_SLOTS:
            own = diff.get(slot) is not None
            place = f"stages.{stage}.{slot}" if own or slot in gone else slot
            option, node = self._chosen(slot, place, own, slot in gone, diff)
            if node is not None and not isinstance(node, Mapping):
                raise ConfigError(f"{place}: expected an option of this group, got {node!r}")
            self.diff |= set(node or {}) if own else set()
            setter = "transfer" if stage in (config.get("before") or ()) else "decoupling"
            whose = f" in stage '{stage}'" + ("" if slot == setter else f" of {setter}={choices.get(setter, 'none')}")
            option = option or (choices.get(setter) if slot == setter else None)
            self._slot(node or {}, place, f"{slot}={option or _names(node)}{whose if place != slot else ''}")

    def _chosen(self, slot: str, place: str, own: bool, gone: bool, diff: Mapping[str, Any]) -> tuple[str | None, Any]:
        """Returns name and node of a slot's option: the stage's own, the plain one, or the run's."""
        if own:
            return self.choices.get(f"{slot}@{place}"), diff[slot]
        if gone:
            return PLAIN.get(slot, ("none", {}))
        return self.choices.get(slot), self.config.get(slot)

    def _slot(self, node: Mapping[str, Any], path: str, origin: str) -> None:
        for role, content in node.items():
            here = f"{path}.{role}"
            if role in SINGLE:
                self._claim(role, origin)
                self.one[role] = bind(content, here, SINGLE[role], self.plugins, origin)
            elif role in ORDERED:
                self.chain[role].append(bind(content, here, ORDERED[role], self.plugins, origin))
            elif role in (*KEYED, "streams", "terms", "teachers"):
                for name, item in mapping(content, here).items():
                    self._claim(f"{role}.{name}", origin)
                    self._named(role, str(name), item, f"{here}.{name}", origin)
            else:
                raise ConfigError(f"{here}: an option has no '{role}'{did_you_mean(str(role), ROLES)}")

    def _named(self, role: str, name: str, item: Any, path: str, origin: str) -> None:
        if role in ("streams", "terms", "mixers", "feature_mixers", "teachers"):
            check_name(name, path)
            if hasattr(nn.ModuleDict, name) or name == "training":
                raise ConfigError(f"{path}: '{name}' is reserved by torch; choose another name")
        if role == "streams":
            if name == MAIN:
                raise ConfigError(f"{path}: the stream '{MAIN}' belongs to resampling and augmentation; choose another name")
            self.streams[name] = self._stream(item, path, origin)
        elif role == "terms":
            if not isinstance(item, Mapping) or set(item) - {"weight", "part"} or "part" not in item:
                raise ConfigError(f"{path}: expected 'part' and optionally 'weight', got {item!r}")
            if name == "total":
                raise ConfigError(f"{path}: 'total' is the name of the sum of all terms; choose another name")
            weight = coerce(item.get("weight", 1.0), float, f"{path}.weight")
            self.terms[name] = (weight, bind(item["part"], f"{path}.part", parts.Term, self.plugins, origin))
        elif role == "teachers":
            self.teachers[name] = _teacher(item, path, origin)
        else:
            self.named[role][name] = bind(item, path, KEYED[role], self.plugins, origin)

    def _stream(self, item: Any, path: str, origin: str) -> Stream:
        keys = {"sampler", "of", "augments", "split"}
        if not isinstance(item, Mapping) or set(item) - keys or ("of" in item) == ("sampler" in item):
            raise ConfigError(f"{path}: expected 'sampler' or 'of', and optionally 'augments' and 'split', got {item!r}")
        if "of" in item and "split" in item:
            raise ConfigError(f"{path}.split: a stream with 'of' has the images of stream '{item['of']}'; remove it")
        sampler = bind(item["sampler"], f"{path}.sampler", parts.Sampler, self.plugins, origin) if "sampler" in item else None
        augments = None
        if item.get("augments") is not None:
            nodes = mapping(item["augments"], f"{path}.augments")
            augments = {k: bind(v, f"{path}.augments.{k}", parts.Augment, self.plugins, origin) for k, v in nodes.items()}
        of = coerce(item["of"], str, f"{path}.of") if "of" in item else None
        split = coerce(item.get("split", "train"), Literal["train", "unlabelled"], f"{path}.split")
        return Stream(sampler, of, augments, origin, split)

    def _claim(self, what: str, origin: str) -> None:
        if what in self.owner:
            raise ConfigError(f"{self.owner[what]} and {origin} both set '{what}' and cannot be combined; choose one of them")
        self.owner[what] = origin


def _teacher(item: Any, path: str, origin: str) -> Teacher:
    """Reads a teacher. Raises ConfigError unless exactly one of words, run and previous says where it comes from."""
    known = ("words", "run", "previous", *OF_TEACHERS)
    for key in mapping(item, path):
        if key not in known:
            raise ConfigError(f"{path}.{key}: a teacher has no '{key}'{did_you_mean(str(key), known)}")
    words = coerce(item.get("words"), list[str] | None, f"{path}.words") or []
    run = coerce(item.get("run"), str | None, f"{path}.run")
    previous = coerce(item.get("previous", False), bool, f"{path}.previous")
    if run is None and bool(words) == previous:
        raise ConfigError(f"{path}: give words=[...] that train the teacher, run=FOLDER of a finished run, or previous=true")
    if run is not None and previous:
        raise ConfigError(f"{path}: run=FOLDER and previous=true exclude each other; remove one of them")
    return Teacher(path, origin, [] if run else words, run, previous)


def _names(node: Any) -> str:
    """Returns a name for an option that Hydra does not name: the names of its parts."""
    contents = [value for value in (node or {}).values() if isinstance(value, Mapping) and "_target_" not in value]
    return "+".join(dict.fromkeys(str(name) for content in contents for name in content)) or "?"

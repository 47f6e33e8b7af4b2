"""A library of options for contracts: composes and binds options of ltrun and of further folders, with their packages."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ltrun.config import catalogue, search_path
from ltrun.config.bind import locate
from ltrun.config.compose import composed, hydra_ready, resolved
from ltrun.config.explain import explained
from ltrun.config.option import setting
from ltrun.errors import ConfigError
from ltrun.metrics import BOTH, MULTI_LABEL, SINGLE_LABEL
from ltrun.parts import Mixer
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe, Stage
from ltrun.taxonomy import SLOTS

Config = dict[str, Any]
Composed = tuple[Config, dict[str, str]]  # a resolved configuration, and group -> option
Picked = Mapping[str, str | Sequence[str]]  # slot -> option, or options

DIGITS = {SINGLE_LABEL: "dataset=digits_lt", MULTI_LABEL: "dataset=digits_multi_lt"}  # task -> the choice of its digits
COSINE = {"classifier": "cosine"}
COMPANIONS: tuple[dict[str, str], ...] = (
    {}, COSINE, {"classifier": "causal"}, {"classifier": "gist"}, {"ensemble": "sade"}, {"decoupling": "linear"},
)  # fmt: skip
"""Options of other slots that an option may need: cosines, a de-confounded head, shared offsets, experts, a second stage."""


class Library:
    """folders: folders of options besides conf/ of ltrun. plugins: packages whose classes a _target_ may name."""

    def __init__(self, folders: Sequence[Path] = (), plugins: Sequence[str] = ()) -> None:
        self.folders, self.plugins = list(folders), list(plugins)
        self._known: dict[tuple[str, ...], Composed] = {}
        self._accepts: dict[tuple[str, str], frozenset[str]] = {}

    @cached_property
    def options(self) -> dict[str, list[str]]:
        """Group -> the names of its options."""
        groups = catalogue.groups(self.folders)
        return {group: [option.name for option in catalogue.options(group, self.folders)] for group in groups}

    def composed(self, *words: str) -> Composed:
        """Returns the resolved configuration of a command line and the choices of Hydra; on the digits that fit, by default."""
        own = any(word.startswith("dataset=") for word in words)
        return copy.deepcopy(self.compose(words if own else (self.digits_for(*words), *words)))

    def compose(self, words: tuple[str, ...]) -> Composed:
        """Composes a command line by Hydra, once. The result is shared and must not be changed."""
        if words not in self._known:
            self._known[words] = self._compose(words)
        return self._known[words]

    def _compose(self, words: tuple[str, ...]) -> Composed:
        search_path.admit(self.folders)
        try:
            with hydra_ready():
                found = composed(words)
                config = resolved(found.cfg)
        except Exception as error:
            flags = [word for folder in self.folders for word in ("--config-dir", str(folder))]
            raise explained(error, [*flags, *words]) from None
        chosen = found.choices.items()
        return config, {k: v for k, v in chosen if isinstance(v, str) and not k.startswith("hydra/")}

    def put_together(self, picked: Picked, task: str | None = None) -> Composed:
        """Composes options of several slots on the digits of a task, or that fit. The result is shared: do not change it."""
        return self.compose((self.digits_for(*words_of(picked), task=task), *words_of(picked)))

    def digits_for(self, *words: str, task: str | None = None) -> str:
        """Returns the choice of digits with one label per image, or of scenes where the options of the words need several."""
        return DIGITS[task or (MULTI_LABEL if self.tasks(*words) == {MULTI_LABEL} else SINGLE_LABEL)]

    def tasks(self, *words: str) -> frozenset[str]:
        """Returns the tasks that all parts of the options in a command line accept."""
        chosen = [(group, name) for group, _, names in (word.partition("=") for word in words) for name in _listed(names)]
        return BOTH.intersection(*(self._accepted(group, name) for group, name in chosen if group in self.options))

    def _accepted(self, group: str, name: str) -> frozenset[str]:
        if (group, name) not in self._accepts:
            self._accepts[group, name] = BOTH  # of a file that names itself, or that cannot be read, which a contract says
            with suppress(ConfigError):
                found = setting(group, name, self.folders)
                parts = [locate(target, group, self.plugins) for target in found.parts] if group != "dataset" else []
                accepted = [getattr(part, "accepts", BOTH) for part in parts]
                accepted += [self._accepted(slot, option) for slot, option, _ in found.choices if slot != "dataset"]
                self._accepts[group, name] = BOTH.intersection(*accepted)
        return self._accepts[group, name]

    def bound(self, composition: Composed) -> Recipe:
        """Raises ConfigError."""
        return recipe_of(*composition, self.plugins)


def words_of(picked: Picked) -> list[str]:
    return [f"{slot}={o}" if isinstance(o, str) else f"{slot}=[{','.join(o)}]" for slot, o in picked.items()]


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.strip("[]").split(",")]


@dataclass(frozen=True)
class Choice:
    """An option of a group, composed with the options of other slots that it needs. task: of its digits, or what it accepts."""

    library: Library
    group: str
    name: str
    task: str | None = None

    def of_each_task(self) -> list[Choice]:
        """Returns the choice on the digits of each task that its parts accept."""
        accepted = self.library.tasks(self.word)
        return [replace(self, task=task) for task in DIGITS if task in accepted] or [self]

    @property
    def word(self) -> str:
        return f"{self.group}={self.name}"

    @cached_property
    def picked(self) -> dict[str, str]:
        """The option and the first companions with which it binds. Raises the ConfigError of the option alone if none fits."""
        refused: ConfigError | None = None
        needs = (COSINE, *COMPANIONS) if self.group == "margin" and self.name != "none" else COMPANIONS
        for others in (companions for companions in needs if self.group not in companions):
            picked = {self.group: self.name, **others}
            try:
                self.library.bound(self.library.put_together(picked, self.task))
            except ConfigError as error:
                refused = refused or error
            else:
                return picked
        assert refused is not None
        raise refused

    @cached_property
    def composition(self) -> Composed:
        return self.library.put_together(self.picked, self.task)

    @cached_property
    def recipe(self) -> Recipe:
        return self.library.bound(self.composition)

    @property
    def stage(self) -> Stage:
        return self.recipe.stages[0]

    @property
    def config(self) -> Config:
        return self.composition[0]


def content_of(file: Path) -> Any:
    """Reads a YAML file as Hydra does: 5e-4 is a number, and a repeated key is an error. Raises ConfigError."""
    try:
        return OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None


def changed(composition: Composed, **changes: Any) -> Composed:
    """Returns a copy with values set by path: stages__classifier__norm="hold"."""
    config, choices = copy.deepcopy(composition)
    for path, value in changes.items():
        *steps, last = path.split("__")
        node = config
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = value
    return config, choices


def small(composition: Composed, epochs: int = 3) -> Composed:
    """Returns a copy with a small network, a quarter of the channels, so that an epoch takes milliseconds.

    Options for videos get a network for videos, and the lines of an image as its frames. No dropout, which ranks draw apart.
    """
    if any(part.videos for part in _mixers_in({slot: composition[0].get(slot) for slot in SLOTS})):
        frames = {"_target_": "ltrun.network.FrameClassifier", "hidden": 16, "dropout": 0.0}
        return of_videos(changed(composition, network=frames, epochs=epochs))
    return changed(composition, network={"_target_": "ltrun.network.ResNetCIFAR", "depth": 8, "width": 4}, epochs=epochs)


def of_videos(composition: Composed) -> Composed:
    """Returns a copy whose data set prepares no images: its inputs are features of frames."""
    return changed(composition, dataset__augments={}, dataset__prepare={"_target_": "ltrun.data.InFloat32"})


def _mixers_in(node: Any) -> Iterator[Any]:
    """Yields the classes of ltrun's mixers below a node of a configuration."""
    values = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    if isinstance(node, Mapping) and "_target_" in node:
        with suppress(ConfigError):  # of a package
            part = locate(node["_target_"], "", ())
            yield from [part] if issubclass(part, Mixer) else []
    for value in values:
        yield from _mixers_in(value)

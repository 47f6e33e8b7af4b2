"""A library of options for contracts: composes and binds options of ltrun and of further folders, with their packages."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ltrun.config import catalogue, search_path
from ltrun.config.compose import composed, hydra_ready, resolved
from ltrun.config.explain import explained
from ltrun.errors import ConfigError
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe, Stage

Config = dict[str, Any]
Composed = tuple[Config, dict[str, str]]  # a resolved configuration, and group -> option
Picked = Mapping[str, str | Sequence[str]]  # slot -> option, or options

DIGITS = "dataset=digits_lt"
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

    @cached_property
    def options(self) -> dict[str, list[str]]:
        """Group -> the names of its options."""
        groups = catalogue.groups(self.folders)
        return {group: [option.name for option in catalogue.options(group, self.folders)] for group in groups}

    def composed(self, *words: str) -> Composed:
        """Returns the resolved configuration of a command line, on digits_lt by default, and the choices of Hydra."""
        given = words if any(word.startswith("dataset=") for word in words) else (DIGITS, *words)
        return copy.deepcopy(self.compose(given))

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

    def put_together(self, picked: Picked) -> Composed:
        """Composes options of several slots on digits_lt. The result is shared and must not be changed."""
        words = (f"{slot}={o}" if isinstance(o, str) else f"{slot}=[{','.join(o)}]" for slot, o in picked.items())
        return self.compose((DIGITS, *words))

    def bound(self, composition: Composed) -> Recipe:
        """Raises ConfigError."""
        return recipe_of(*composition, self.plugins)


@dataclass(frozen=True)
class Choice:
    """An option of a group, composed with the options of other slots that it needs."""

    library: Library
    group: str
    name: str

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
                self.library.bound(self.library.put_together(picked))
            except ConfigError as error:
                refused = refused or error
            else:
                return picked
        assert refused is not None
        raise refused

    @cached_property
    def composition(self) -> Composed:
        return self.library.put_together(self.picked)

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
    """Returns a copy with a small network, a quarter of the channels, so that an epoch takes milliseconds."""
    return changed(composition, network={"_target_": "ltrun.network.ResNetCIFAR", "depth": 8, "width": 4}, epochs=epochs)

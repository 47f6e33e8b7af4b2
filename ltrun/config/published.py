"""Published recipes of a method on a data set: options and numbers between the method's preset and the command line.

`conf/on/method/sade@inat18.yaml` chooses options for `method=sade dataset=inat18`, and has the batch size and the epochs.
`conf/on/ensemble/sade@inat18.yaml` has numbers of one option on one data set, so that ensemble=none leaves none of them behind.
Hydra allows no `override` lines in an option whose name is interpolated, so ltrun itself names the option of `on/method`.
A preset of ltrun without a recipe on a data set gets `any@DATASET`, where there is one: it takes the optimizer and the
schedule of the data set, because the preset's own are for small images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ltrun.config import catalogue
from ltrun.config.option import Setting, root, setting

if TYPE_CHECKING:  # the pages of methods and parts need no Hydra
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

ON = "on"
GROUP = f"{ON}/method"
ANY = "any"
BETWEEN = "@"
PUBLISHED_ON = "cifar100_lt"  # the data set of `expected:` in the headers of presets whose command names no other
NAMED = {"method", "dataset"}
Composed = Callable[[Sequence[str]], "DictConfig"]


def with_recipe(words: Sequence[str], composed: Composed) -> list[str]:
    """Returns the words of a command line, and before them the word that chooses the recipe of its method and data set.

    composed: words -> configuration, with Hydra's own section. Hydra must be initialised. Raises Hydra's errors for words that
    it cannot read.
    """
    typed = _typed(words)
    if typed is None:
        return list(words)
    if not typed.keys() >= NAMED:
        typed = _chosen(composed(words)) | typed
    return [*_recipe(typed), *words]


def composed_with_recipe(words: Sequence[str], composed: Composed) -> DictConfig:
    """Returns the configuration of `with_recipe`, with Hydra's own section.

    Composes twice only where the words leave the method or the data set to other files, and there is a recipe for them.
    """
    typed = _typed(words)
    if typed is None or typed.keys() >= NAMED:
        return composed(with_recipe(words, composed))
    config = composed(words)
    recipe = _recipe(_chosen(config) | typed)
    return composed([*recipe, *words]) if recipe else config


def _typed(words: Sequence[str]) -> dict[str, object] | None:
    """Returns group -> the option that the words choose; None for words that choose a recipe themselves, and for a sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create(_loader()).parse_overrides(list(words))
    if any(override.key_or_group == GROUP or override.is_sweep_override() for override in parsed):
        return None
    return {str(o.key_or_group): o.value() for o in parsed if o.package is None and not o.is_delete()}


def _recipe(choices: Mapping[str, object]) -> list[str]:
    """Returns the word that chooses the recipe of a method and a data set; no word where there is none."""
    method, dataset = (str(choices.get(group)) for group in ("method", "dataset"))
    ours = method in catalogue.names_in(catalogue.folders()[0] / "method")
    known = _known(_loader())
    named = [f"{name}{BETWEEN}{dataset}" for name in (method, *([ANY] if ours else []))]
    return [f"{GROUP}={name}" for name in named if name in known][:1]


@lru_cache(maxsize=1)
def _known(loader: ConfigLoader) -> frozenset[str]:
    return frozenset(loader.get_group_options(GROUP))


def _loader() -> ConfigLoader:
    from hydra.core.global_hydra import GlobalHydra

    return GlobalHydra.instance().config_loader()


def _chosen(config: DictConfig) -> dict[str, object]:
    """Returns group -> option, as the files that the words name choose them."""
    return dict(config.hydra.runtime.choices)


def recipes(more: Sequence[Path] = ()) -> dict[tuple[str, str], Setting]:
    """Returns (method, data set) -> the file of the published recipe. Raises ConfigError for a file that is not YAML."""
    found: dict[tuple[str, str], Setting] = {}
    for name in sorted(_files("method", more)):
        method, at, dataset = name.partition(BETWEEN)
        if at and method != ANY:
            found[method, dataset] = setting(GROUP, name, more)
    return found


def has_defaults(dataset: str, more: Sequence[Path] = ()) -> bool:
    """Whether presets without a recipe take the optimizer and the schedule of this data set."""
    return f"{ANY}{BETWEEN}{dataset}" in _files("method", more)


def chosen(method: str, dataset: str, more: Sequence[Path] = ()) -> dict[str, str]:
    """Returns group -> option of a method on a data set, and group@package -> option of its stages, as Hydra would choose."""
    files = _files("method", more)
    recipe = next((name for name in (f"{method}{BETWEEN}{dataset}", f"{ANY}{BETWEEN}{dataset}") if name in files), None)
    found = root()[1] | {"method": method, "dataset": dataset}
    for group, name in (("dataset", dataset), ("method", method), *([(GROUP, recipe)] if recipe else [])):
        found |= {slot: option for slot, option, _ in setting(group, name, more).choices}
    stages = setting("decoupling", found["decoupling"], more).choices
    return found | {f"{slot}{BETWEEN}{package}": option for slot, option, package in stages}


def numbers(method: str, dataset: str, more: Sequence[Path] = ()) -> list[Setting]:
    """Returns the files of the numbers that the options of a method have on a data set."""
    found = []
    for slot, option in chosen(method, dataset, more).items():
        name = f"{option}{BETWEEN}{dataset}"
        if slot != "method" and name in _files(slot, more):
            found.append(setting(f"{ON}/{slot}", name, more, "" if slot == "decoupling" else slot))
    return found


def values(group: str, option: str, dataset: str, more: Sequence[Path] = ()) -> dict[str, Any]:
    """Returns the content of an option's file with its numbers on a data set; interpolations stay as they are written."""
    found = _content(group, option, more)
    name = f"{option}{BETWEEN}{dataset}"
    return _merged(found, _content(f"{ON}/{group}", name, more)) if name in _files(group, more) else found


def _content(group: str, name: str, more: Sequence[Path]) -> dict[str, Any]:
    found = yaml.safe_load(catalogue.file_of(group, name, more).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**one, **other, **both}


def _files(group: str, more: Sequence[Path]) -> set[str]:
    return {name for folder in catalogue.folders(more) for name in catalogue.names_in(folder / ON / group)}

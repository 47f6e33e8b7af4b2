"""Combinations of a sweep's values: the overrides of each job."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from ltrun.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Interval:
    """Numbers to search, from low to high. log: whether ratios count alike. whole: whether only whole ones are proposed."""

    word: str
    low: float
    high: float
    log: bool
    whole: bool


def space_of(words: Sequence[str]) -> tuple[list[str], list[list[str]], dict[str, list[str] | Interval]]:
    """Returns the words of every run of a search, those of each seed, and key -> the values to search.

    Raises Hydra's errors for unreadable words, and ConfigError for an option that does not exist or a key without values.
    """
    fixed: list[str] = []
    seeds: list[str] = []
    space: dict[str, list[str] | Interval] = {}
    for override in OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(words)):
        key, word = override.get_key_element(), str(override.input_line)
        if not override.is_sweep_override():
            fixed.append(word)
        elif override.is_interval_sweep():
            found = cast(IntervalSweep, override.value())
            low, high = found.start, found.end
            assert low is not None and high is not None
            whole = isinstance(low, int) and isinstance(high, int)
            space[key] = Interval(word, low, high, "log" in found.tags, whole)
        elif key == "seed":
            seeds.append(word)
        else:
            space[key] = [line.partition("=")[2] for (line,) in combinations([word])]
    return fixed, combinations(seeds), space


def combinations(words: Sequence[str]) -> list[list[str]]:
    """Returns the overrides of each job of a sweep; the last key varies fastest.

    Raises Hydra's errors for unreadable words, and ConfigError for an option that does not exist or a key without values.
    """
    loader = GlobalHydra.instance().config_loader()
    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create(loader).parse_overrides(list(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif not override.is_discrete_sweep():
            raise ConfigError(f"'{override.input_line}': a sweep takes values, choice(...), range(...) or glob(...)")
        else:
            values = list(override.sweep_string_iterator())
            if not values:
                raise ConfigError(f"'{override.input_line}' gives no value, so there is nothing to run")
            if known := loader.get_group_options(override.key_or_group):
                _refuse_unknown(key, values, known)
            choices[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*choices.values())]


def _refuse_unknown(key: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Raises ConfigError for an unknown option before the first job trains, and not when its job's turn comes."""
    for value in values:
        if value not in known and value.isidentifier() and value != "null":
            raise ConfigError(f"{key}: there is no option '{value}'{did_you_mean(value, known)}")

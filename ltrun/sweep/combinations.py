"""Combinations of a sweep's values: the overrides of each job."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from ltrun.errors import ConfigError, did_you_mean


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

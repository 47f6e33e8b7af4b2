"""Hydra's errors as one sentence with the nearest name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ltrun.config import catalogue, search_path
from ltrun.config.compose import hydra_ready
from ltrun.config.teachers import TeacherWordsError
from ltrun.errors import ConfigError, LtrunError, did_you_mean, heed_interruption


def explained(error: Exception, argv: Sequence[str]) -> LtrunError:
    """Returns the error to show for an exception: Hydra's as a sentence with the nearest name. Raises a hidden interruption."""
    heed_interruption(error)
    if isinstance(error, LtrunError):
        return error
    if isinstance(error, TeacherWordsError) and isinstance(error.__cause__, Exception):
        return ConfigError(f"{error.key}: {explained(error.__cause__, error.words)}")
    if isinstance(error, YAMLError):
        return ConfigError(f"a file of options cannot be read as YAML: {' '.join(str(error).split())}")
    return explain(error, argv) or ConfigError(_first_line(error))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def explain(error: Exception, argv: Sequence[str]) -> ConfigError | None:
    """Returns the error to show for one of Hydra's exceptions; None for any other exception, which is a defect."""
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"cannot read '{error.override}' on the command line; write key=value, quoted where the shell needs it"
        )
    if not isinstance(error, (HydraException, OmegaConfBaseException, ValueError)):  # ValueError: a group that is null
        return None
    try:
        sentence = _wrong(argv)
    except (HydraException, OmegaConfBaseException):  # the chosen options do not compose; the original error says why
        sentence = None
    return ConfigError(sentence or _exchanged(error) or " ".join(str(error).split()))


def _exchanged(error: Exception) -> str | None:
    """Returns a sentence on a list where a mapping belongs, or a mapping where a list belongs, if this is the error."""
    if "Cannot merge DictConfig with ListConfig" not in f"{error} {error.__cause__}":
        return None
    key, equals, value = str(error).removeprefix("Error merging override ").partition("=")
    if str(error).startswith("Error merging override ") and equals:
        kinds = ("a list", "a mapping of names to values")
        expected, found = reversed(kinds) if value.lstrip().startswith("[") else kinds
        return f"{key.lstrip('+')}: expected {expected}, got {found}: {value}"
    return f"{str(error).partition(':')[0]}: a key has a list instead of a mapping of names to values, or the other way round"


def _wrong(argv: Sequence[str]) -> str | None:
    """Returns a sentence on the first option, or else the first key, of the command line that does not exist."""
    more = search_path.folders(argv)
    options = {group: [option.name for option in catalogue.options(group, more)] for group in catalogue.groups(more)}
    options.setdefault("experiment", [])  # a group with options of the user only
    with hydra_ready():
        overrides = list(_overrides(argv))
        loader = GlobalHydra.instance().config_loader()
        for override in overrides:
            group, wrong = override.key_or_group, str(override.value())
            known = loader.get_group_options(group) if group.startswith("hydra/") else []
            if known and wrong not in known:
                plugin = f"; a launcher comes with its plugin: pip install hydra-{wrong.partition('_')[0]}-launcher"
                return f"{group}: Hydra has no '{wrong}'{plugin if group == 'hydra/launcher' else did_you_mean(wrong, known)}"
        chosen = [override for override in overrides if _group(override) in options]
        for override in chosen:
            known = options[_group(override)]
            for value in (value for value in _values(override) if value not in known):
                name = f"option '{value}'" if value else "option without a name"
                hint = did_you_mean(value, known) or (f"; ltrun methods {_group(override)} lists them" if known else "")
                return f"{override.key_or_group}: there is no {name}{hint}"
        of_hydra = ("hydra.", "hydra/")
        given = [o for o in overrides if o not in chosen and not o.key_or_group.startswith(of_hydra)]
        keys = [o.key_or_group for o in given if not o.is_add() and not o.is_force_add()]
        for job in itertools.product(*map(_texts, chosen)):
            there = _keys(OmegaConf.to_container(compose("config", list(job))))
            if key := next((key for key in keys if key not in there), None):
                first, _, last = key.rpartition(".")
                deeper = sorted((name for name in there if name.startswith(first) and name.endswith(f".{last}")), key=len)
                hint = f"; did you mean '{deeper[0]}'?" if deeper else did_you_mean(key, [*there, *options])
                swept = [text for text, override in zip(job, chosen, strict=True) if override.is_sweep_override()]
                where = f" with {' '.join(swept)}" if swept else ""
                return f"there is no key or group '{key}'{where}{hint}"
    return None


def _overrides(argv: Sequence[str]) -> Iterator[Override]:
    """Yields each override of the command line that can be read and is not a deletion. Hydra must be initialised."""
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    for word in search_path.without_flags(argv):
        with suppress(HydraException):
            (override,) = parser.parse_overrides([word])
            if not override.is_delete():
                yield override


def _group(override: Override) -> str:
    return override.key_or_group.partition("@")[0]


def _texts(override: Override) -> list[str]:
    """Returns the override as it is, or one override per value of a sweep."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def _values(override: Override) -> Iterator[str]:
    """Yields the options that an override gives a group: several in a sweep or a list."""
    parser = OverridesParser.create()
    for text in _texts(override):
        value = parser.parse_override(text).value()
        yield from ("null" if item is None else str(item) for item in (value if isinstance(value, list) else [value]))


def _keys(node: Any, path: str = "") -> set[str]:
    """Returns every dotted key, those of mappings included."""
    found = {path} if path else set()
    if isinstance(node, Mapping):
        found = found.union(*(_keys(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()))
    return found

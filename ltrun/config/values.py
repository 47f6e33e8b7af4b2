"""Conversion of a configuration's values to the types of annotations. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ltrun.errors import ConfigError


def coerce(value: Any, hint: Any, path: str) -> Any:
    """Converts a value to the type of its annotation. Raises ConfigError, with the key path, if it does not fit.

    1, 1.0 and 1e0 are the same value: a whole float becomes an integer where an integer is expected, and an integer a float.
    """
    converted = _convert(value, hint)
    if converted is _WRONG:
        number = hint is str and value is not None and not isinstance(value, (str, Mapping, list, tuple))
        quoted = f"; quote text for ltrun as well as for the shell: '{path}=\"{_typed(value)}\"'" if number else ""
        raise ConfigError(f"{path}: expected {_describe(hint)}, got {_typed(value)}{quoted}")
    return converted


def _typed(value: Any) -> str:
    """Spells a value as YAML files and command lines do: null, true."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)


def takes(value: Any, hint: Any) -> bool:
    """Whether a value fits an annotation."""
    return _convert(value, hint) is not _WRONG


def mapping(value: Any, path: str) -> Mapping[str, Any]:
    """Returns the mapping at a key, empty for null. Raises ConfigError, with the key path, for any other value."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{path}: expected a mapping of names to values, got {value!r}")
    return value or {}


_WRONG = object()


def _convert(value: Any, hint: Any) -> Any:
    origin, choices = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return next((c for c in (_convert(value, choice) for choice in choices) if c is not _WRONG), _WRONG)
    if origin is Literal:
        same = (choice for choice in choices if value == choice and isinstance(value, bool) is isinstance(choice, bool))
        return next(same, _WRONG)  # 1 is not true
    if origin in (list, Sequence, tuple):
        if not isinstance(value, (list, tuple)):
            return _WRONG
        items = [_convert(item, choices[0] if choices else Any) for item in value]
        return _WRONG if any(item is _WRONG for item in items) else items
    if origin is Mapping:
        if not isinstance(value, Mapping):
            return _WRONG
        pairs = {str(key): _convert(item, choices[1]) for key, item in value.items()}
        return _WRONG if any(item is _WRONG for item in pairs.values()) else pairs
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        return float(value) if number else _WRONG  # nan and infinity are not finite, and compare as such
    if hint is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else _WRONG
    if hint in (bool, str):
        return value if isinstance(value, hint) else _WRONG
    if hint is NoneType:
        return value if value is None else _WRONG
    return _WRONG


def _describe(hint: Any) -> str:
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_describe(choice) for choice in choices)
    if origin is Literal:
        return "one of " + ", ".join(map(str, choices))
    if origin in (list, Sequence, tuple):
        return f"a list of {_describe(choices[0]).removeprefix('a ') + 's' if choices else 'values'}"
    if origin is Mapping:
        return f"a mapping of names to {_describe(choices[1]).removeprefix('a ')}s"
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text", NoneType: "null"}
    return names.get(hint) or f"a part of kind {getattr(hint, '__name__', hint)}"

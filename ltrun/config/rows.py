"""Table rows of post-hoc options: one per predictor, or one per value of its `each`. Needs no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ltrun.config.values import mapping
from ltrun.errors import ConfigError

Row = tuple[str, str, Any]  # name, key path of the part, its node


def rows_of(posthoc: Any) -> dict[str, tuple[str, Any]]:
    """Returns row -> key path and node of its part, in order; `la: {each: {tau: [0.5, 1]}, part: ...}` gives la_0.5 and la_1.

    Raises ConfigError for an `each` that is not a list of different values of one argument, and for two rows of one name.
    """
    node = mapping(posthoc, "posthoc")
    for key in node:
        if key != "predictors":
            raise ConfigError(f"posthoc.{key}: a post-hoc option has 'predictors' only")
    found: dict[str, tuple[str, Any]] = {}
    for name, predictor in mapping(node.get("predictors"), "posthoc.predictors").items():
        path = f"posthoc.predictors.{name}"
        for row, place, part in _swept(str(name), predictor, path):
            if row in found:
                raise ConfigError(f"{path}: there is another row '{row}'; give each value and name once")
            found[row] = place, part
    return found


def _swept(name: str, predictor: Any, path: str) -> Iterator[Row]:
    """Yields a predictor's own row, if it is a part, and the rows of its `each`; posthoc=[tau_norm,tau_norm_sweep] has both."""
    if not isinstance(predictor, Mapping) or "each" not in predictor:
        yield name, path, predictor
        return
    if own := {key: value for key, value in predictor.items() if key not in ("each", "part")}:
        yield name, path, own
    each, part = predictor["each"], predictor.get("part")
    if not isinstance(part, Mapping):
        raise ConfigError(f"{path}.part: expected a part, a mapping with a _target_, that 'each' varies, got {part!r}")
    if not isinstance(each, Mapping) or len(each) != 1:
        raise ConfigError(f"{path}.each: expected one argument with a list of values, got {each!r}")
    ((argument, values),) = each.items()
    if argument in part:
        raise ConfigError(f"{path}.part.{argument}: 'each' gives the values of '{argument}'; remove this one")
    if not isinstance(values, (list, tuple)) or not values:
        raise ConfigError(f"{path}.each.{argument}: expected a list of at least one value, got {values!r}")
    for value in values:
        yield f"{name}_{_spelled(value, f'{path}.each.{argument}')}", f"{path}.part", {**part, argument: value}


def _spelled(value: Any, path: str) -> str:
    """Spells a value as the end of a row's name: 1 for 1.0. Raises ConfigError for a value that cannot be one."""
    if isinstance(value, str) and re.fullmatch(r"\w{1,50}", value):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return json.dumps(int(value) if value.is_integer() else value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{path}: expected finite numbers, or words, got {value!r}")

"""Recipes in tests: the sentence of a refusal, and the classes in a role of a stage."""

from __future__ import annotations

from typing import Any

import pytest

from ltrun.errors import ConfigError
from tests.support.cases import bound


def refused(composition: tuple[dict[str, Any], dict[str, str]], plugins: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        bound(composition, plugins)
    return str(caught.value)


def targets(stage: Any, role: str) -> list[str]:
    found = getattr(stage, role)
    found = list(found.values()) if isinstance(found, dict) else found
    return [(part[1] if isinstance(part, tuple) else part).target.__name__ for part in found]

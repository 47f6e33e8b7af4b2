"""Parts with arguments of every kind, for tests of binding; helpers that bind their nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from ltrun.config.bind import Bound, bind
from ltrun.errors import ConfigError
from ltrun.parts import Adjust, Part, Weigh
from ltrun.types import ClassStats
from tests.support.cases import stats

HERE = __name__  # a plugin: its classes may be named
PATH = "stages.joint.margin"


class Plain(Weigh):
    def __init__(self, strength: float = 1.0):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, got {strength}")
        self.strength = strength


class Everything(Part):
    """One argument of every annotation that `bind` accepts."""

    def __init__(
        self,
        number: float = 0.5,
        count: int = 1,
        switch: bool = False,
        text: str = "",
        kind: Literal["l2", "cosine"] = "l2",
        maybe: float | None = None,
        either: int | str = 0,
        numbers: Sequence[float] = (),
        counts: list[int] | None = None,
        texts: list[str] | None = None,
        part: Weigh | None = None,
        twin: Part | None = None,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        self.given: dict[str, Any] = {"number": number, "count": count, "switch": switch, "text": text, "kind": kind}
        self.given |= {"maybe": maybe, "either": either, "numbers": numbers, "counts": counts, "texts": texts}
        self.given |= {"part": part, "twin": twin}
        self.stats = stats


class Lists(Part):
    """A list of parts, which `bind` does not accept, and a union of two kinds."""

    def __init__(self, several: list[Weigh], either: Weigh | Adjust | None = None, free: Any = None):
        super().__init__()
        self.either, self.free = either, free


class Outer(Part):
    def __init__(self, inner: Weigh, depth: int, *, num_classes: int):
        super().__init__()
        self.inner, self.depth, self.num_classes = inner, depth, num_classes


class NeedsHead(Part):
    def __init__(self, inner: Weigh | None = None, *, head: Part):
        super().__init__()


def node(target: type | str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target if isinstance(target, str) else f"{target.__module__}.{target.__name__}", **arguments}


def bind_here(content: Any, expected: type | None = None) -> Bound[Any]:
    return bind(content, PATH, expected, plugins=["tests"])


def refused(content: Any, expected: type | None = None) -> str:
    """Returns the sentence of the ConfigError of binding."""
    with pytest.raises(ConfigError) as caught:
        bind_here(content, expected)
    sentence = str(caught.value)
    assert sentence.startswith(PATH) and "\n" not in sentence
    return sentence


def built(content: Any) -> Everything:
    part = bind_here(content).build({"stats": stats()})
    assert isinstance(part, Everything)
    return part

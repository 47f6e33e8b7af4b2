"""Recipes with parts of the tests, and parts that record the streams of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltrun.parts import Sampler, Term
from ltrun.recipe.stage import Recipe
from ltrun.types import Clock, Labels, Outputs, Streams
from tests.support.cases import COUNTS, Composed, bound, changed, composed, small

HERE = ("tests",)  # a plugin: its classes may be named
N = int(COUNTS.sum())


def node(part: type, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{part.__module__}.{part.__name__}", **arguments}


def mine(composition: Composed) -> Recipe:
    """Binds a configuration that may name classes of the tests."""
    return bound(composition, HERE)


def with_term(part: dict[str, Any], composition: Composed | None = None, weight: float = 1.0, **changes: Any) -> Recipe:
    """A plain recipe, or the one given, with a further term."""
    composition = small(composition or composed(), epochs=2)
    return mine(changed(composition, representation__terms={"mine": {"weight": weight, "part": part}}, **changes))


class Recorder(Term):
    """Records the rows of each step's streams. Its value is the mean row number of `main`."""

    seen: ClassVar[list[dict[str, list[int]]]] = []

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        Recorder.seen.append({name: batch.rows.tolist() for name, batch in streams.items()})
        return streams["main"].rows.double().mean() + 0 * outputs["main"].logits.sum()


class Some(Sampler):
    """The first `length` rows, in order."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(self.length)

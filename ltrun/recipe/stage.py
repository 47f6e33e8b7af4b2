"""The nouns of a recipe: stream, stage, recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ltrun import parts
from ltrun.config.bind import Bound

MAIN = "main"
LONGEST = 100  # times a run's epochs that a stage may last


@dataclass(frozen=True)
class Stream:
    """A sampler, or the rows of another stream (`of`); augments: None where it uses those of the main stream."""

    sampler: Bound | None
    of: str | None
    augments: dict[str, Bound] | None
    origin: str


@dataclass(frozen=True)
class Stage:
    """One stretch of training with its own parts, optimizer and schedule; the network goes on from the stage before."""

    name: str
    epochs: int
    streams: dict[str, Stream]
    mixers: dict[str, Bound]
    terms: dict[str, tuple[float, Bound]]  # without a term 'classification', the adjusts and weighs make up the loss
    adjusts: list[Bound]
    weighs: list[Bound]
    network: Bound
    head: Bound
    wrap: Bound | None
    update: Bound
    criterion: Bound | None
    optimizer: Bound
    schedule: Bound
    trainable: list[str] | None = None  # patterns over the network's parameter names; None trains all
    reset_head: bool = False
    norm: Literal["follow", "track", "hold"] = "follow"

    def parts(self) -> Iterator[Bound]:
        """Every part that the stage's options contribute, outermost only."""
        for stream in self.streams.values():
            yield from [stream.sampler] if stream.sampler else []
            yield from (stream.augments or {}).values()
        yield from self.mixers.values()
        yield from (part for _, part in self.terms.values())
        yield from self.adjusts + self.weighs
        yield from (part for part in (self.network, self.head, self.wrap, self.update, self.criterion) if part)


@dataclass(frozen=True)
class Recipe:
    """All of a run. warnings: sentences for combinations that are allowed and usually a mistake."""

    source: Bound
    prepare: Bound
    backbone: Bound
    stages: list[Stage]
    posthoc: dict[str, Bound]
    warnings: list[str] = field(default_factory=list)

    def check_settings(self) -> None:
        """Has optimizers and schedules, which need no data, look at their values. Raises ConfigError."""
        for stage in self.stages:
            for setting in (stage.optimizer, stage.schedule):
                if not any(setting.wants(name) for name in parts.CONTEXT):
                    setting.build({})

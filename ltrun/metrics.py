"""Metrics of each task, costs of training and limits of the shot groups.

Each is declared here once. Records, the lines of epochs, the choice of the best model, tables, captions and figures read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

SINGLE_LABEL = "single_label"  # the task of records of format 1, which name none
LARGEST = 1e100  # no measurement is above; the square is still a number
GROUPS = {"many": "Many", "medium": "Medium", "few": "Few"}  # shot groups: key in a record -> heading


@dataclass(frozen=True)
class Shots:
    """Training images of a class that part the shot groups: more than `many`, `few` to `many`, fewer than `few`."""

    many: int = 100
    few: int = 20

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shots:
        """The limits `evaluation.many` and `evaluation.few` of a configuration; the usual ones where it has none."""
        node = config.get("evaluation")
        given = {name: node.get(name) for name in cls.__annotations__} if isinstance(node, Mapping) else {}
        return cls(**{name: int(value) for name, value in given.items() if is_number(value) and value % 1 == 0})

    def group(self, images: float) -> str:
        """The key of the group of a class that has so many training images."""
        many, medium, few = GROUPS
        return many if images > self.many else few if images < self.few else medium

    def ranges(self) -> dict[str, str]:
        """Group -> its training images a class: `> 100`, `20 to 100`, `< 20`."""
        return dict(zip(GROUPS, (f"> {self.many}", f"{self.few} to {self.many}", f"< {self.few}"), strict=True))


@dataclass(frozen=True)
class Metric:
    """A number that a run measures.

    name: its key in a record. title: in captions. head: of its column. better: None where a comparison honours nobody.
    by_shots: the accuracies of the shot groups stand beside it. percent: a fraction of 1 in the record, in percent where it
    is shown. unit: how many of the record's one of the shown is. complements: the metric with which it adds up to 1; the
    groups beside it are then errors, too.
    """

    name: str
    title: str
    head: str
    better: Literal["higher", "lower"] | None = "higher"
    by_shots: bool = False
    percent: bool = True
    unit: int = 1
    complements: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Key in a record -> heading, of the metric and of the shot groups beside it."""
        return {self.name: self.head, **(GROUPS if self.by_shots else {})}

    def shown(self, value: float, key: str) -> float:
        """A record's value of one of the columns as it is shown."""
        if self.complements and key in GROUPS:
            value = 1 - value
        return 100 * value if self.percent else value / self.unit

    def improves(self, value: float, best: float) -> bool:
        return value < best if self.better == "lower" else value > best


TASKS = {
    SINGLE_LABEL: (
        Metric("accuracy", "Top-1 accuracy", "All", by_shots=True),
        Metric("error", "Top-1 error", "All", better="lower", by_shots=True, complements="accuracy"),
        Metric("macro", "Macro accuracy", "Macro", by_shots=True),
        Metric("ece", "Expected calibration error", "ECE", better="lower"),
    ),
}
"""Task -> its metrics. The first selects models, is shown while training, and is in every record."""

COST = (
    Metric("seconds_per_epoch", "Time of an epoch", "s/epoch", better=None, percent=False),
    Metric("seconds", "Time of training", "s", better=None, percent=False),
    Metric("images_per_second", "Training images a second", "images/s", better=None, percent=False),
    Metric("peak_memory_bytes", "Peak memory", "peak MiB", better=None, percent=False, unit=2**20),
)
"""What a training costs, in a record's provenance. Nothing is better there: runs of other machines are not compared."""


def is_number(value: object) -> TypeGuard[float]:
    """A finite number that can be squared and averaged; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST

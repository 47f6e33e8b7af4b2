"""One wrongly predicted image: of one label, or with missed and false labels, as tables and pages show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple

from ltrun.report.render.common import percent


@dataclass(frozen=True)
class Image:
    """row: its row in the test split. image: its name, None if the run kept no names."""

    row: int
    image: str | None

    @property
    def name(self) -> str:
        return f"row {self.row}" if self.image is None else self.image


@dataclass(frozen=True)
class Wrong(Image):
    """A misclassified image with one label. probability: of the predicted class. of_label: of the right class."""

    label: str
    predicted: str
    probability: float
    of_label: float

    texts: ClassVar = ("Image", "Label", "Predicted")  # headings of the columns of text
    numbers: ClassVar = ("Probability", "of the label")
    kinds: ClassVar = "pairs"  # by which a page groups images
    between: ClassVar = " → "  # the two words of a kind

    @property
    def labels(self) -> frozenset[str]:
        return frozenset({self.label})

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts, then the numbers, of a line."""
        return self.name, self.label, self.predicted, percent(self.probability), percent(self.of_label)

    @property
    def kind(self) -> tuple[str, str]:
        """Label and prediction, by which a page groups images."""
        return self.label, self.predicted

    @property
    def told(self) -> tuple[str, ...]:
        """The lines below a thumbnail, the first the most important."""
        return f"{percent(self.probability)} {self.predicted}", f"label {self.label}: {percent(self.of_label)}"

    def flat(self) -> dict[str, Any]:
        """Returns column -> value, for CSV."""
        return asdict(self)

    def nested(self) -> dict[str, Any]:
        """Returns key -> value, for JSON."""
        return asdict(self)


class Likely(NamedTuple):
    """A class and its probability."""

    name: str
    probability: float

    @property
    def text(self) -> str:
        return f"{self.name} {percent(self.probability)}"


@dataclass(frozen=True)
class WrongLabels(Image):
    """An image of several labels, of which some are missed or predicted without being labels.

    true: all its labels. missed, false: labels that are not predicted, and predictions that are no labels, of the classes
    examined; the most confident mistake first.
    """

    true: tuple[str, ...]
    missed: tuple[Likely, ...]
    false: tuple[Likely, ...]

    texts: ClassVar = ("Image", "Labels", "Missed", "False")
    numbers: ClassVar = ()
    kinds: ClassVar = "kinds"
    between: ClassVar = ": "

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(self.true)

    @property
    def probability(self) -> float:
        """The confidence of the worst mistake: the probability of a false label, or 1 - the probability of a missed one."""
        return max(self._worst)

    @property
    def _worst(self) -> tuple[float, float]:
        """The confidences of the worst missed and the worst false label; 0 without one."""
        missed = 1 - self.missed[0].probability if self.missed else 0.0
        return missed, self.false[0].probability if self.false else 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        return self.name, ", ".join(self.true), _listed(self.missed), _listed(self.false)

    @property
    def kind(self) -> tuple[str, str]:
        """Missed or false, and the class of the worst mistake."""
        missed, false = self._worst
        return ("missed", self.missed[0].name) if missed >= false else ("false", self.false[0].name)

    @property
    def told(self) -> tuple[str, ...]:
        each = {"missed": _listed(self.missed), "false": _listed(self.false)}
        first = self.kind[0]
        lines = [f"{kind}: {each[kind]}" for kind in sorted(each, key=lambda kind: kind != first) if each[kind]]
        return *lines, f"labels: {', '.join(self.true) or 'none'}"

    def flat(self) -> dict[str, Any]:
        found: dict[str, Any] = {"row": self.row, "image": self.image, "labels": ";".join(self.true)}
        for kind, some in (("missed", self.missed), ("false", self.false)):
            found[kind] = ";".join(each.name for each in some)
            found[f"{kind}_probabilities"] = ";".join(f"{each.probability:.6g}" for each in some)
        return {**found, "confidence": self.probability}

    def nested(self) -> dict[str, Any]:
        found: dict[str, Any] = {"row": self.row, "image": self.image, "labels": list(self.true)}
        for kind, some in (("missed", self.missed), ("false", self.false)):
            found[kind] = [{"class": each.name, "probability": each.probability} for each in some]
        return {**found, "confidence": self.probability}


Mistake = Wrong | WrongLabels


def columns(kind: type[Mistake]) -> list[str]:
    """Returns the columns of `flat`."""
    return [field.name for field in fields(Wrong)] if kind is Wrong else list(WrongLabels(0, None, (), (), ()).flat())


def _listed(some: Sequence[Likely]) -> str:
    return ", ".join(each.text for each in some)

"""Comparison of a run with the record of the same run elsewhere: circumstances and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ltrun.metrics import TASKS, is_number
from ltrun.report.render.common import plain
from ltrun.results.record import RunRecord

CIRCUMSTANCES = ("device", "devices", "precision", "threads", "at_once", "platform", "commit")


def circumstances(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Returns `torch 2.14.1 there, 2.15.0 here` for each entry that both provenances have with different values."""
    versions = [found.get("versions") for found in (there, here)]
    one, other = (found if isinstance(found, Mapping) else {} for found in versions)
    lines = [_beside(name, one[name], other[name]) for name in one if name in other and one[name] != other[name]]
    there, here = {"devices": 1} | dict(there), {"devices": 1} | dict(here)
    told = (name for name in CIRCUMSTANCES if name in there and name in here and there[name] != here[name])
    return [*lines, *(_beside(name.replace("_", " "), there[name], here[name]) for name in told)]


def _beside(name: str, there: Any, here: Any) -> str:
    shown = [plain(str(value))[:12] if name == "commit" else plain(str(value))[:80] for value in (there, here)]
    return f"{plain(name)} {shown[0]} there, {shown[1]} here"


def numbers(there: RunRecord, here: RunRecord) -> list[str]:
    """Returns one line if all numbers are equal to the last digit, else one for each predictor and split."""
    pairs = list(_metrics(there, here))
    if all(one[key] == other[key] for _, one, other in pairs for key in one.keys() & other.keys()):
        return ["all numbers equal the record's, to the last digit"]
    metric = TASKS[here.task][0]
    lines = []
    for name, one, other in pairs:
        old, new = one[metric.name], other[metric.name]
        if not (is_number(old) and is_number(new)):
            continue
        shown = [metric.shown(value, metric.name) for value in (old, new)]
        unit = "%" if metric.percent else ""
        change = shown[1] - shown[0]
        word = "higher" if change > 0 else "lower"
        by = (
            f"{abs(change):.3g}{' points' if metric.percent else ''} {word}"
            if change
            else f"equal, but other numbers of {name} differ"
        )
        lines.append(f"{name}: {metric.title} {shown[1]:.2f}{unit}, in the record {shown[0]:.2f}{unit}: {by}")
    return lines


def _metrics(there: RunRecord, here: RunRecord) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yields each predictor and split that both records have, with its metrics there and here."""
    for predictor in there.predictors.keys() & here.predictors.keys():
        one, other = there.predictors[predictor]["splits"], here.predictors[predictor]["splits"]
        for split in sorted(one.keys() & other.keys()):
            yield plain(f"{predictor} on {split}"), one[split], other[split]

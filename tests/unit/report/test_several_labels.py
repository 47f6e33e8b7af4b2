"""Published numbers with several labels: a source or the mark for each row, presets that exist, means of their groups."""

from __future__ import annotations

from typing import Any

import pytest

from ltrun.config import catalogue
from ltrun.report.several_labels import published, published_table

CLASSES = {"VOC-LT": (6, 6, 8), "COCO-LT": (22, 33, 25)}
AT_ODDS = {("LDAM", "VOC-LT"), ("ERM", "COCO-LT")}  # the source prints a mean that is not the mean of its groups
ROWS = [(kind, row) for kind in ("images", "videos") for row in published()[kind]["rows"]]


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_each_row_has_a_source_or_is_marked_and_names_a_preset(kind: str, row: list[Any]) -> None:
    name, preset, source, *numbers = row
    assert source in published()["sources"] and len(numbers) == len(published()[kind]["columns"])
    assert preset is None or preset in {option.name for option in catalogue.options("method")}
    assert all(len(each) in (0, 1, 4) and all(0 < number < 100 for number in each) for each in numbers)
    said = next(line for line in published_table(kind).splitlines() if line.startswith((f"| {name} |", f"| {name}<br>")))
    assert said.endswith(f"| {published()['sources'][source]} |") and said.count("|") == len(numbers) + 3
    assert ("**unverified**" in said) is (source == "unverified")


@pytest.mark.parametrize("column", CLASSES)
def test_means_are_those_of_the_groups(column: str) -> None:
    place = published()["images"]["columns"].index(column)
    for name, _, _, *numbers in published()["images"]["rows"]:
        if len(numbers[place]) == 4 and (name, column) not in AT_ODDS:
            total, *groups = numbers[place]
            sizes = CLASSES[column]
            mean = sum(size * group for size, group in zip(sizes, groups, strict=True)) / sum(sizes)
            assert mean == pytest.approx(total, abs=0.02), name

"""Description of a data set before training: its counts, and a chart of its classes that fits the screen."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from ltrun.data.describe import describe
from ltrun.data.source import Splits
from ltrun.data.stores import Resident
from ltrun.types import Labels


def splits_of(counts: list[int], names: tuple[str, ...] | None = None, skipped: int = 0, val: bool = False) -> Splits:
    def store(labels: np.ndarray) -> Resident:
        return Resident(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), Labels.hard(torch.from_numpy(labels)))

    every = np.arange(len(counts))
    held = store(every) if val else None
    return Splits(store(np.repeat(every, counts)), held, store(every), names or tuple(f"c{c}" for c in every), skipped)


def printed(splits: Splits, width: int = 100, height: int = 25, encoding: str = "utf-8", **options: bool) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    describe("mine", splits, Console(file=file, width=width, height=height), **options)
    file.flush()
    return raw.getvalue().decode(encoding)


COUNTS = [500, 120, 101, 100, 50, 20, 19, 5]


def test_a_data_set_is_described_by_its_counts() -> None:
    text = printed(splits_of(COUNTS, skipped=3, val=True))
    assert "mine: 8 classes; images: 915 training, 8 validation, 8 test" in text
    assert "500 to 5 training images per class: imbalance factor 100, Gini 0.582" in text
    assert "3 unreadable images were left out" in text
    assert "1 unreadable image was left out" in printed(splits_of(COUNTS, skipped=1))
    rows = {line.split("  ")[0]: line.split()[-3:] for line in text.splitlines() if line}
    assert rows["classes"] == ["3", "3", "2"]
    assert rows["images"] == ["721", "170", "24"]


def test_validation_and_unreadable_images_are_mentioned_only_if_there_are_any() -> None:
    text = printed(splits_of(COUNTS))
    assert "unreadable" not in text
    assert "validation" not in text


def test_the_compact_form_has_no_chart() -> None:
    assert "█" in printed(splits_of(COUNTS))
    assert "█" not in printed(splits_of(COUNTS), chart=False)


def test_each_of_a_few_classes_has_a_bar_with_its_name() -> None:
    text = printed(splits_of([3, 40, 7], ("ant", "bee", "a [red]name[/red] that is much too long for its column")))
    bars = [line for line in text.splitlines() if "█" in line or "▏" in line]
    assert [line.split()[0] for line in bars] == ["bee", "a", "ant"]  # the largest class first
    assert [line.count("█") for line in bars] == sorted((line.count("█") for line in bars), reverse=True)
    assert "[red]" in text


@pytest.mark.parametrize(
    ("classes", "width", "height"), [(10, 80, 24), (100, 80, 24), (8142, 80, 24), (8142, 50, 60), (365, 200, 50)]
)
def test_the_chart_fits_the_screen(classes: int, width: int, height: int) -> None:
    counts = np.maximum(2, 1000 * 500.0 ** (-np.arange(classes) / (classes - 1))).astype(int)
    lines = printed(splits_of(counts.tolist()), width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    bars = [line for line in lines if any(mark in line for mark in "█▏▎▍▌▋▊▉")]
    assert 10 <= len(bars) <= classes
    if classes > len(bars):
        assert f"to {classes:,}" in bars[-1]


def test_a_terminal_without_unicode_gets_plain_bars() -> None:
    text = printed(splits_of(COUNTS), encoding="ascii")
    assert "####" in text


def test_notes_of_the_data_set_are_told() -> None:
    noted = replace(splits_of(COUNTS), notes=("lists: as published", "images: below photos"))
    assert "lists: as published\nimages: below photos\n" in printed(noted)

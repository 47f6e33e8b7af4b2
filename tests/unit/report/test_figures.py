"""Figures of tables: all text is legible, lines differ in grey, too, and points lie where the numbers are."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from ltrun.report import Table, tables
from ltrun.results.record import RunRecord
from tests.support.recorded import record

pytest.importorskip("matplotlib")

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from ltrun.report.figures import classes, groups
from ltrun.report.figures.style import styled

Capture = pytest.CaptureFixture[str]
LONG = " [many=1, settings=2, that=3, make=4, a=5, long=6, name=7, as=8, ablations=9]"


def table_of(runs: Sequence[RunRecord]) -> Table:
    (table,) = tables(runs)
    return table


def methods(n: int, seeds: int = 3, more: str = "", **how: Any) -> list[RunRecord]:
    names = ["erm", *(f"method_{i}{more}" for i in range(1, n))]
    return [record(name, seed, **{"spread": 0.05, **how}) for name in names for seed in range(seeds)]


def drawn(draw: Any, runs: Sequence[RunRecord]) -> Figure:
    with styled():
        figure = draw(table_of(runs))
        figure.draw_without_rendering()
    return figure


def falling(n: int, most: int = 500, least: int = 5) -> list[int]:
    return [round(most * (least / most) ** (i / (n - 1))) for i in range(n)]


def points(line: Any) -> np.ndarray:
    """(P, 2)"""
    return np.asarray(line.get_xydata())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def bands(figure: Figure, axes: int = 0) -> list[Any]:
    return [each for each in figure.axes[axes].collections if each.get_alpha()]


@pytest.mark.parametrize("seeds", [1, 3])
def test_bands_show_the_deviation_of_each_class(seeds: int) -> None:
    runs = methods(2, seeds)
    figure = drawn(classes, runs)
    assert len(bands(figure)) == (0 if seeds == 1 else 2)
    line = figure.axes[0].lines[0]
    each = 100 * np.array([run.predictors["plain"]["splits"]["test"]["per_class"] for run in runs[:seeds]])
    assert np.allclose(line.get_ydata(), each.mean(0))
    if seeds > 1:
        heights = bands(figure)[0].get_paths()[0].vertices[:, 1]
        assert np.isclose(heights.max(), min(100, (each.mean(0) + each.std(0, ddof=1)).max()))
        assert "standard deviation" in figure.legends[0].get_title().get_text()


def test_few_classes_are_named_and_many_are_ranked() -> None:
    few = drawn(classes, methods(2))
    assert [label.get_text() for label in few.axes[1].get_xticklabels()] == [f"class {i}" for i in range(8)]
    many = drawn(classes, methods(2, counts=falling(100)))
    labels = [label.get_text() for label in many.axes[1].get_xticklabels()]
    assert labels[0] == "1" and labels[-1] == "100" and "running mean over 11 classes" in many.axes[1].get_xlabel()


def test_lines_mark_the_boundaries_of_the_shot_groups() -> None:
    figure = drawn(classes, methods(2))
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["Many", "Medium", "Few"]
    edges = [points(line)[0, 0] for line in figure.axes[0].lines if len(points(line)) == 2]
    assert edges == [2.5, 5.5] or edges == [2.5, 5.5, 2.5, 5.5]


@pytest.mark.parametrize("counts", [falling(10), falling(100), falling(300, 1000, 1), [7, 7, 7], [500, 1], [5, 0]])
def test_the_rarest_class_is_not_empty_on_the_axis_of_sizes(counts: list[int]) -> None:
    sizes = drawn(classes, methods(2, counts=counts)).axes[1]
    low, high = np.log(sizes.get_ylim())
    rarest = np.log(min(count for count in counts if count))
    assert (rarest - low) / (high - low) > 0.1


@pytest.mark.parametrize("n", [2, 6])
def test_lines_of_one_panel_differ_in_colour_dash_and_marker(n: int) -> None:
    lines = [line for line in drawn(classes, methods(n)).axes[0].lines if len(points(line)) > 2]
    assert len(lines) == n
    for looks in (
        {to_rgb(line.get_color()) for line in lines},
        {str(vars(line)["_unscaled_dash_pattern"]) for line in lines},
        {line.get_marker() for line in lines},
    ):
        assert len(looks) == n


@pytest.mark.parametrize("n", [7, 9, 30])
def test_more_methods_have_a_panel_each_with_their_names(n: int) -> None:
    figure = drawn(classes, methods(n, 2))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == n + 1 and not figure.legends
    assert sorted(axes.get_title(loc="left").replace("\n", " ") for axes in shown[:-1]) == sorted(
        ["ERM", *(f"method_{i}" for i in range(1, n))]
    )
    for axes in shown[:-1]:
        assert len(bands(figure, figure.axes.index(axes))) == 1


@pytest.mark.parametrize("more", ["", LONG])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_the_legend_lies_beside_the_lines(n: int, more: str) -> None:
    figure = drawn(classes, methods(n, more=more, counts=falling(10)))
    legend, panel = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert legend.x0 >= panel.x1 - 1 and legend.x1 <= figure.bbox.width + 1
    assert legend.y0 >= -1 and panel.height + figure.axes[1].get_window_extent().height > 0.45 * figure.bbox.height


@pytest.mark.parametrize(
    ("n", "more", "lift", "spread"),
    [(1, "", 0.0, 0.05), (3, "", 0.0, 0.05), (12, "", 0.0, 0.05), (40, LONG, 0.0, 0.05), (2, "", 0.45, 0.15)],
)
def test_the_figure_of_groups_holds_all_names_and_values(n: int, more: str, lift: float, spread: float) -> None:
    """The last methods reach 100 percent, with a wide deviation."""
    runs = methods(n, more=more, lift=lift, spread=spread)
    if n == 3:
        runs += [record("better", seed, spread=0.01, lift=0.2) for seed in range(3)]
        n += 1
    figure = drawn(groups, runs)
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == n and min(label.x0 for label in labels) >= -1
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(labels)), "they lie on each other"
    table = table_of(runs)
    for i, axes in enumerate(figure.axes):
        for row, text in zip(table.rows, axes.texts, strict=True):
            cell = row.cells[i]
            assert text.get_text() == f"{cell.mean:.1f} ± {cell.std:.1f}"
            bold = table.best(i) == {table.rows.index(row)}
            assert text.get_fontweight() == ("bold" if bold else "normal")
            own = text.get_window_extent()
            ends = [
                line.get_window_extent().x1 for line in axes.lines if abs(points(line)[0, 1] - text.get_position()[1]) < 0.5
            ]
            assert max(ends) + 1 < own.x0, "a value lies on its points or its deviation"


def test_axes_of_groups_are_truncated_to_one_scale_and_say_so() -> None:
    figure = drawn(groups, methods(3))
    widths = [high - low for low, high in (axes.get_xlim() for axes in figure.axes)]
    assert np.allclose(widths, widths[0]) and "truncated axes with one scale" in vars(figure)["_supxlabel"].get_text()
    assert not [patch for axes in figure.axes for patch in axes.patches if re.search("Rectangle", type(patch).__name__)
                and patch.get_facecolor()[:3] == to_rgb("#0072B2")], "a bar would have to begin at 0"  # fmt: skip


def test_a_group_without_classes_has_a_dash() -> None:
    figure = drawn(groups, methods(2, counts=[500, 400, 300]))
    assert [text.get_text() for text in figure.axes[3].texts] == ["\N{EN DASH}"] * 2
    assert list(figure.axes[3].get_xticks()) == []


def test_eight_thousand_classes_take_a_few_seconds() -> None:
    import time

    began = time.process_time()
    figure = drawn(classes, methods(3, counts=falling(8142, 1000, 2)))
    assert time.process_time() - began < 10
    assert max(len(points(line)) for line in figure.axes[0].lines) <= 600


@pytest.mark.parametrize("n", [2, 9])
@pytest.mark.parametrize("counts", [[200, *falling(5, 90, 30), 9, 8, 7, 6], falling(100, 500, 19), [500, 400, 300, 50, 3]])
def test_the_names_of_shot_groups_do_not_lie_on_each_other(counts: list[int], n: int) -> None:
    figure = drawn(classes, methods(n, counts=counts))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3 and all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("draw", [classes, groups])
def test_a_dagger_is_explained(draw: Any) -> None:
    runs = [record("erm"), record("sade", predictors={"plain": ["test_inputs"]})]
    figure = drawn(draw, runs)
    assert any("† saw test inputs" in text for text in texts(figure))
    assert not any("†" in text for text in texts(drawn(draw, runs[:1])))


def test_a_class_without_test_images_is_a_gap() -> None:
    runs = methods(2)
    for run in runs[:3]:
        run.predictors["plain"]["splits"]["test"]["per_class"][3] = None
    line = drawn(classes, runs).axes[0].lines[0]
    assert [i for i, value in enumerate(points(line)[:, 1]) if np.isnan(value)] == [3]

"""Declarations of metrics and of the limits of the shot groups, and a search of the package for a second declaration."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ltrun
from ltrun.engine.progress import shots
from ltrun.metrics import COST, GROUPS, SINGLE_LABEL, TASKS, Metric, Shots, is_number

PACKAGE = Path(ltrun.__file__).parent
DECLARED = {key for metrics in TASKS.values() for metric in metrics for key in metric.columns}
COMMON = {"error"}  # also the name of an action of Python's warnings and of a log level
COMPUTED = {"metrics.py", "tasks/single_label.py", "tasks/multi_label.py", "evaluation/stored.py"}
OWN = {  # the accuracy of a class during training: a part's buffer or argument, not a metric of a run
    ("reweighting/class_difficulty_balanced.py", "accuracy"),
    ("resampling/class_difficulty.py", "accuracy"),
}


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if (name := str(path.relative_to(PACKAGE))) not in COMPUTED:
            yield name, ast.parse(path.read_text())


def spelled(tree: ast.AST) -> set[Any]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def limits_in(tree: ast.AST) -> list[str]:
    """Lists defaults of parameters, keywords of calls and assignments that give 100 or 20 to a name with `many` or `few`."""
    found: list[tuple[str, ast.expr | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            found += [(a.arg, value) for a, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            positional = reversed([*node.posonlyargs, *node.args])
            found += [(a.arg, value) for a, value in zip(positional, reversed(node.defaults), strict=False)]
        elif isinstance(node, ast.keyword):
            found.append((node.arg or "", node.value))
        elif isinstance(node, ast.Assign):
            found += [(ast.unparse(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            found.append((ast.unparse(node.target), node.value))
    named = [(name, value) for name, value in found if value and {"many", "few"} & set(re.findall("[a-z]+", name.lower()))]
    return [f"{name} = {ast.unparse(value)}" for name, value in named if spelled(value) & {Shots.many, Shots.few}]


def test_a_metric_is_named_only_where_it_is_declared_and_computed() -> None:
    assert {(name, word) for name, tree in sources() for word in spelled(tree) & (DECLARED - COMMON)} == OWN


def test_the_limits_of_the_shot_groups_are_written_in_one_place() -> None:
    assert [(name, limits) for name, tree in sources() if (limits := limits_in(tree))] == []


@pytest.mark.parametrize(
    "line", ["def f(x, many=100): ...", "def f(*, few: int = 20): ...", "f(many=100)", "MANY, FEW = 100, 20", "few: int = 20"]
)
def test_a_limit_in_a_second_place_would_be_found(line: str) -> None:
    assert limits_in(ast.parse(line))


def test_the_defaults_of_functions_and_of_the_configuration_are_the_declared_limits() -> None:
    import yaml

    from ltrun.config.catalogue import folders
    from ltrun.data.describe import describe
    from ltrun.tasks.single_label import measure
    from ltrun.types import ClassStats

    for function in (ClassStats.shots, measure, describe):
        limits = inspect.signature(function).parameters
        assert Shots(limits["many"].default, limits["few"].default) == Shots()
    config = yaml.safe_load((folders()[0] / "config.yaml").read_text(encoding="utf-8"))
    assert (config["evaluation"]["many"], config["evaluation"]["few"]) == (Shots.many, Shots.few) == (100, 20)


def test_a_class_belongs_to_the_shot_group_of_its_number_of_images() -> None:
    shots = Shots(50, 10)
    assert shots.ranges() == {"many": "> 50", "medium": "10 to 50", "few": "< 10"}
    assert [shots.group(n) for n in (51, 50.5, 50, 10, 9.5, 0)] == ["many", "many", "medium", "medium", "few", "few"]


@pytest.mark.parametrize(
    ("evaluation", "limits"),
    [
        ({"many": 50, "few": 10}, (50, 10)), ({"many": 50.0}, (50, 20)), ({}, (100, 20)), (None, (100, 20)), ("x", (100, 20)),
        ({"many": "50", "few": True}, (100, 20)), ({"many": 50.5, "few": 1e999}, (100, 20)),
    ],
)  # fmt: skip
def test_the_configuration_sets_the_limits_and_an_invalid_value_leaves_the_default(
    evaluation: Any, limits: tuple[int, int]
) -> None:
    assert Shots.of({"evaluation": evaluation}) == Shots(*limits)
    assert Shots.of({}) == Shots()


def test_a_name_of_a_metric_is_declared_once() -> None:
    names = [metric.name for metrics in TASKS.values() for metric in metrics] + [metric.name for metric in COST]
    assert len({*names, *GROUPS}) == len(names) + len(GROUPS)
    for metrics in TASKS.values():
        assert {metric.complements for metric in metrics} - {None} <= {metric.name for metric in metrics}


def test_fractions_are_shown_in_percent_and_memory_in_mib() -> None:
    accuracy, error, *_ = TASKS[SINGLE_LABEL]
    assert [metric.shown(0.25, metric.name) for metric in (accuracy, error)] == [25.0, 25.0]
    assert [metric.shown(0.25, "few") for metric in (accuracy, error)] == [25.0, 75.0]
    assert [metric.shown(3 * 2**20, metric.name) for metric in COST] == [3 * 2**20] * 3 + [3] + [3.145728] * 2


def test_a_metric_improves_in_its_better_direction() -> None:
    higher, lower = Metric("a", "A", "A"), Metric("b", "B", "B", better="lower")
    assert higher.improves(0.5, 0.4) and not higher.improves(0.4, 0.5) and not higher.improves(0.4, 0.4)
    assert lower.improves(0.4, 0.5) and not lower.improves(0.5, 0.4) and not lower.improves(0.4, 0.4)


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 10**400, -1e200, [1]])
def test_only_a_finite_number_with_a_finite_square_is_a_number(value: Any) -> None:
    assert not is_number(value)


def test_the_line_of_an_epoch_shows_the_accuracy_of_each_shot_group() -> None:
    assert (
        shots({"accuracy": 0.431, "many": 0.65, "medium": 0.402, "few": None}, TASKS[SINGLE_LABEL][0])
        == "all 43.1 many 65.0 medium 40.2 few –"
    )

"""Comparison of a run with a record: equal numbers in one line, differences by their size, differing circumstances."""

import copy
from typing import Any

import pytest

from ltrun.report.comparison import circumstances, numbers
from ltrun.results.record import RunRecord
from tests.support.recorded import record


def changed(run: RunRecord, **metrics: Any) -> RunRecord:
    run = copy.deepcopy(run)
    run.predictors["plain"]["splits"]["test"].update(metrics)
    return run


def test_equal_numbers_are_one_line() -> None:
    run = record(predictors={"plain": [], "ncm": []}, splits=("test", "val"))
    assert numbers(run, run) == ["all numbers equal the record's, to the last digit"]
    assert numbers(run, changed(run, of_a_later_version=3)) == numbers(run, run)


@pytest.mark.parametrize(("accuracy", "said"), [(0.415, "1.5 points higher"), (0.3999, "0.01 points lower")])
def test_different_numbers_are_lines_with_their_difference(accuracy: float, said: str) -> None:
    run = changed(record(predictors={"plain": [], "ncm": []}), accuracy=0.4)
    first, second = sorted(numbers(run, changed(run, accuracy=accuracy)), reverse=True)
    assert first.startswith("plain on test: Top-1 accuracy") and first.endswith(said)
    assert "ncm on test" in second and "equal" in second


def test_a_difference_in_the_last_digit_counts() -> None:
    run = changed(record(), ece=0.1)
    (line,) = numbers(run, changed(run, ece=0.1 + 2e-17 * 8))
    assert "equal, but other numbers" in line


def test_circumstances_are_compared_where_both_records_have_them() -> None:
    there = {"versions": {"torch": "2.6.0", "numpy": "2"}, "device": "H100", "threads": 4, "commit": "a" * 40, "seconds": 1}
    here = {"versions": {"torch": "2.9.0", "numpy": "2"}, "device": "cpu", "threads": 4, "commit": "b" * 40, "seconds": 2}
    assert circumstances(there, here) == [
        "torch 2.6.0 there, 2.9.0 here",
        "device H100 there, cpu here",
        f"commit {'a' * 12} there, {'b' * 12} here",
    ]
    assert circumstances({}, here) == circumstances({"versions": "none"}, here) == []

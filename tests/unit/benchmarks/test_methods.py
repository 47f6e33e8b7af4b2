"""The benchmark of methods: multiplications that explain a step, and how the table marks what they do not explain."""

from __future__ import annotations

import importlib

import pytest

from tests.unit.benchmarks.test_comparison import BENCHMARKS

assert BENCHMARKS.exists()  # importing its tests makes the scripts importable
methods, subject, table = (importlib.import_module(name) for name in ("methods", "subject", "table"))


def test_a_stage_that_trains_the_classifier_alone_has_a_third_of_the_multiplications() -> None:
    words = ("batch_size=8", *subject.sized(20))
    assert methods.operations("erm", words, 1) == [1.0]
    joint, second = methods.operations("crt", words, 1)
    assert joint == 1.0 and second == pytest.approx(1 / 3, rel=0.02), "a forward pass, without the backward one"


def test_the_table_marks_more_than_15_percent_above_and_reads_old_records() -> None:
    assert table.beyond({"step": 1.2, "explained": 1.0, "above": 1.2}) == ["1.00", "**1.20**"]
    assert table.beyond({"step": 2.2, "explained": 2.0, "above": 1.1}) == ["2.00", "1.10"]
    assert table.beyond({"step": 1.2}) == ["–", "–"]

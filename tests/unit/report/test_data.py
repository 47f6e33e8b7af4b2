"""Partition of runs by their data: no table mixes runs of different data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltrun.report import tables
from ltrun.report.collect import collect
from ltrun.results.identity import Identity, identity
from tests.support.recorded import record


def data(pixels: str | None = "d", sizes: str = "c") -> Identity:
    split: Any = {"images": 5, "labels": "a" * 16, "files": "b" * 16, "sizes": sizes * 16, "pixels": None}
    return identity(("a", "b"), {"train": split | {"pixels": "e" * 16}, "test": split | {"pixels": pixels and pixels * 16}})


ONE, TWO = data("1"), data("2")
STREAMED, ELSEWHERE = data(None), data(None, "9")


def sizes(*runs: Any, by: tuple[str, ...] = ()) -> dict[str, list[tuple[str, int]]]:
    """Returns the numbers of runs of the rows of each table."""
    return {table.title: [(row.names[-1], row.n) for row in table.rows] for table in tables(list(runs), by=by)}


def test_runs_of_other_images_are_in_another_table() -> None:
    found = sizes(record(seed=0, data=ONE), record(seed=1, data=TWO), record(seed=2, data=ONE))
    assert found == {
        f"cifar100_lt (data {ONE['digest'][:8]})": [("ERM", 2)],
        f"cifar100_lt (data {TWO['digest'][:8]})": [("ERM", 1)],
    }
    (table, _) = tables([record(seed=0, data=ONE), record(seed=1, data=TWO)])
    assert table.notes[0] == "cifar100_lt names 2 data sets, which differ in test images"


@pytest.mark.parametrize("other", [{}, STREAMED], ids=["of before", "streamed"])
def test_a_run_with_less_known_data_joins_the_only_data_set_that_fits(other: Any) -> None:
    assert sizes(record(seed=0, data=other), record(seed=1, data=ONE)) == {"cifar100_lt": [("ERM", 2)]}


def test_a_run_with_less_known_data_joins_none_of_several_data_sets() -> None:
    found = sizes(record(seed=0), record(seed=1, data=ONE), record(seed=2, data=TWO), record(seed=3))
    assert found["cifar100_lt (data not recorded)"] == [("ERM", 2)]
    assert len(found) == 3
    (table, *_) = tables([record(seed=0), record(seed=1, data=ONE), record(seed=2, data=TWO)])
    assert table.notes[0].endswith("; records of earlier versions do not identify their data")
    assert len(sizes(record(seed=0, data=STREAMED), record(seed=1, data=ONE), record(seed=2, data=TWO))) == 3
    assert len(sizes(record(seed=0, data=ELSEWHERE), record(seed=1, data=ONE))) == 2


def test_each_row_of_a_table_by_data_has_one_data_set() -> None:
    runs = [record(seed=seed, data=some, config={"dataset": {"image_size": 8}}) for seed, some in enumerate((ONE, TWO, ONE))]
    (rows,) = sizes(*runs, by=("dataset.image_size",)).values()
    assert sorted(rows) == sorted([(f"8 (data {ONE['digest'][:8]})", 2), (f"8 (data {TWO['digest'][:8]})", 1)])


def test_a_run_of_other_data_is_not_a_duplicate(tmp_path: Path) -> None:
    for name, some in {"a": ONE, "b": TWO, "c": ONE}.items():
        record(data=some).save(tmp_path / name)
    runs, problems = collect([tmp_path])
    assert sorted(run.data["digest"] for run in runs) == sorted([ONE["digest"], TWO["digest"]])
    assert [problem.path.parent.name for problem in problems] == ["c"]

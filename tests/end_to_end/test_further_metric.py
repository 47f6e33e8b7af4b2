"""Additional metrics of a task: one line of metrics.py declares title and percent; an undeclared metric is shown raw."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.metrics import SINGLE_LABEL, TASKS, Metric
from ltrun.results.record import RunRecord
from ltrun.tasks.single_label import Top1Meter
from tests.support.commands import SHORT, Run

LINE = Metric("geometric", "Geometric mean of the classes", "G-mean", by_shots=True)


def test_a_further_metric_is_in_the_record_and_in_the_report(
    ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Top1Meter.compute
    monkeypatch.setattr(Top1Meter, "compute", lambda meter: compute(meter) | {"geometric": 0.3125})
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, SINGLE_LABEL, (*TASKS[SINGLE_LABEL], LINE))
        done = ltrun(*SHORT)
        assert done.returncode == 0, done.stderr
        (file,) = tmp_path.rglob("result.json")
        assert RunRecord.load(file).predictors["plain"]["splits"]["test"]["geometric"] == 0.3125
        declared = ltrun("report", "outputs", "--metric", "geometric", "--markdown").stdout
    assert "| Method | G-mean | Many | Medium | Few | n |" in declared and "| erm [epochs=3" in declared
    assert "| 31.2 |" in declared and "Geometric mean of the classes (%) on the test split" in declared
    unknown = ltrun("report", "outputs", "--metric", "geometric", "--markdown").stdout
    assert "| Method | geometric | n |" in unknown and "| 0.312 |" in unknown and "(%)" not in unknown

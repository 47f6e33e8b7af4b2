"""A metric that a task measures besides: one line of metrics.py declares it, and without that line it is shown as it is."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ltrun.metrics import SINGLE_LABEL, TASKS, Metric
from ltrun.results.record import RunRecord
from ltrun.tasks import single_label
from tests.support.commands import SHORT, Run

LINE = Metric("geometric", "Geometric mean of the classes", "G-mean", by_shots=True)


def test_a_further_metric_is_in_the_record_and_in_the_report(
    ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = single_label.measure

    def further(*arguments: Any, **named: Any) -> dict[str, Any]:
        return measure(*arguments, **named) | {"geometric": 0.3125}

    import_module("ltrun.engine.run")
    for module in [module for module in sys.modules.values() if vars(module).get("measure") is measure]:
        monkeypatch.setattr(module, "measure", further)
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

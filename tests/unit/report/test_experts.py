"""Rows and figures of the experts of an ensemble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ltrun.commands.report import main
from ltrun.errors import ConfigError
from ltrun.report import tables
from ltrun.results.record import RunRecord
from tests.support.recorded import record


def of_experts(method: str, seed: int) -> RunRecord:
    """A run with two experts, whose numbers are those of the plain prediction."""
    made = record(method=method, seed=seed)
    plain = made.predictors["plain"]
    return replace(made, predictors={**made.predictors, "expert 1": plain, "expert 2": plain})


def test_experts_are_rows_on_request_alone() -> None:
    runs = [of_experts("ride", 0), of_experts("ride", 1), record(method="erm", seed=0)]
    (usual,), (whole,) = tables(runs), tables(runs, experts=True)
    assert [row.names[0] for row in usual.rows] == ["ERM", "RIDE"]
    assert [row.names[0] for row in whole.rows] == ["ERM", "RIDE", "RIDE · expert 1", "RIDE · expert 2"]
    assert [row.n for row in whole.rows] == [1, 2, 2, 2]
    assert whole.rows[2].cells == whole.rows[1].cells
    (by,) = tables(runs, by=["predictor"], experts=True)
    assert [row.names[0] for row in by.rows] == ["expert 1", "expert 2", "plain"]


def test_the_figure_of_experts_has_the_ensemble_and_its_experts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    style = pytest.importorskip("ltrun.report.figures.style")
    (table,) = tables([of_experts("ride", 0), record(method="erm", seed=0)], experts=True)
    assert [row.names[0] for row in style.beside_experts(table)] == ["RIDE", "RIDE · expert 1", "RIDE · expert 2"]
    of_experts("ride", 0).save(tmp_path / "a")
    assert main([str(tmp_path), "--experts", "--plots", str(tmp_path / "figures")]) == 0
    assert len(list((tmp_path / "figures").glob("*-experts.png"))) == 1
    assert "RIDE · expert 2" in capsys.readouterr().out
    assert main([str(tmp_path), "--plots", str(tmp_path / "without")]) == 0
    assert not list((tmp_path / "without").glob("*-experts.png"))


def test_experts_of_runs_without_any_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(method="erm", seed=0).save(tmp_path / "a")
    assert main([str(tmp_path), "--experts"]) == 1
    assert "--experts: no run has experts; train an ensemble" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--per-class"], ["--confusion", "figures"]])
def test_experts_have_no_predictions_of_their_own(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = of_experts("ride", 0)
    made.save(tmp_path / "a")
    assert main([str(tmp_path), "--experts", *more]) == 1
    assert "--experts: --per-class and --confusion read the predictions of whole ensembles" in capsys.readouterr().err
    for name, said in (("expert 1", "is a part of the ensemble"), ("expert 9", "has no predictor 'expert 9'")):
        with pytest.raises(ConfigError, match=said):
            made.check_predictor(name)

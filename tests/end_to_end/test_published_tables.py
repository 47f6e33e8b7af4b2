"""Experiments that are published tables: each cell composes, each published number finds its row, and one table is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.experiment import sweep_of, table_of
from ltrun.report import tables
from ltrun.report.published import with_printed
from ltrun.results.address import labelled
from ltrun.sweep.experiment import commands_of
from tests.support.commands import Run
from tests.support.recorded import record

TABLES = ["bag_of_tricks", "rebalancing", "decoupling", "augmentation", "ensembles", "test_agnostic", "multi_label"]


@pytest.mark.parametrize("name", TABLES)
def test_every_published_number_has_its_cell(name: str) -> None:
    words = [f"experiment={name}"]
    table, lines = table_of(words), sweep_of(words)
    assert table.printed and not table.chooses(lines)
    dataset = next(iter(table.printed))
    with hydra_ready():
        commands = commands_of(lines, [*words, f"dataset={dataset}"], choose=False)
        jobs = [compose_job(command) for command in commands if "seed=0" in command]
    assert len(commands) == 3 * len(jobs), "three seeds"
    rows = set()
    for job in jobs:
        label = labelled(job.method, {key: value for key, value in job.changes.items() if not key.startswith("dataset")})
        rows |= {label, *(f"{label}:{predictor}" for predictor in job.config["posthoc"].get("predictors") or {})}
    for printed in table.printed.values():
        assert printed.rows.keys() <= rows and all(len(values) <= len(printed.columns) for values in printed.rows.values())


def test_published_numbers_stand_beside_their_rows() -> None:
    printed = table_of(["experiment=ensembles"]).printed
    (table,) = with_printed(tables([record("ride"), record("sade"), record("reslt")]), printed)
    assert table.beside == ("Published (All, Many, Medium, Few)", "Gap")
    beside = {row.keys["method"]: row.beside for row in table.rows}
    ours = next(row.cells[0].mean for row in table.rows if row.keys["method"] == "ride")
    assert ours is not None
    gap = f"{ours - 48.6:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert beside["ride"] == ("48.6 / 67.0 / 49.9 / 25.7", gap)
    assert beside["sade"][0] == "49.8" and beside["reslt"] == ("\N{EN DASH}", "\N{EN DASH}")
    (other,) = with_printed(tables([record("ride", dataset="digits_lt")]), printed)
    assert other.beside == ()


@pytest.mark.slow
def test_a_table_ends_in_its_own_metric_and_resumes(ltrun: Run, tmp_path: Path) -> None:
    words = ("experiment=test_agnostic", "dataset=digits_lt", "epochs=1", "seed=0", "method=erm,sade")
    done = ltrun(*words)
    assert done.returncode == 0, done.stderr
    assert "B-50" in done.stdout and len(list(tmp_path.rglob("result.json"))) == 2
    assert ltrun(*words).stdout.count("done before") == 2

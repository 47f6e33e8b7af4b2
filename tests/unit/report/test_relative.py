"""Relative accuracy: both references, their runs over seeds, runs that lack them, and the command that trains these."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltrun.commands.report import main
from tests.support.recorded import record

Capture = pytest.CaptureFixture[str]


def save(
    folder: Path, method: str, accuracy: float, seed: int = 0, balanced: bool = False, changes: dict[str, Any] | None = None
) -> None:
    profile = "balanced" if balanced else "exponential"
    all_changes = {**(changes or {}), **({"dataset.profile": "balanced"} if balanced else {})}
    config = {"dataset": {"profile": profile}}
    run = record(method, seed, changes=all_changes, config=config, counts=[50] * 8 if balanced else None)
    run.predictors["plain"]["splits"]["test"] |= {"accuracy": accuracy, "error": 1 - accuracy}
    run.save(folder / f"{method}-{profile}-{seed}-{len(changes or {})}")


def cells(folder: Path, capsys: Capture) -> tuple[dict[str, list[float | None]], str]:
    assert main([str(folder), "--relative", "--json"]) == 0
    out, err = capsys.readouterr()
    (table,) = json.loads(out)["tables"]
    assert [column["head"] for column in table["columns"]] == ["Acc", "UA", "RA"]
    return {row["names"][0]: [cell["mean"] for cell in row["cells"]] for row in table["rows"]}, err


def test_the_better_balanced_reference_divides(tmp_path: Path, capsys: Capture) -> None:
    save(tmp_path, "erm", 0.3)
    save(tmp_path, "ldam_drw", 0.4)
    save(tmp_path, "paco", 0.6)
    save(tmp_path, "erm", 0.5, balanced=True)
    save(tmp_path, "erm", 0.7, seed=1, balanced=True)  # mean 0.6
    save(tmp_path, "ldam_drw", 0.5, balanced=True)
    save(tmp_path, "paco", 0.8, balanced=True)
    found, err = cells(tmp_path, capsys)
    assert err == "" and found == {
        "ERM": pytest.approx([30, 60, 50]),
        "LDAM-DRW": pytest.approx([40, 60, 200 / 3]),
        "PaCo": pytest.approx([60, 80, 75]),
    }


def test_a_run_without_references_has_dashes_and_one_command_trains_all(tmp_path: Path, capsys: Capture) -> None:
    for method in ("erm", "ldam_drw"):
        save(tmp_path, method, 0.4, changes={"epochs": 5})
    save(tmp_path, "erm", 0.6, balanced=True)  # a reference of erm below, and of no run with other epochs
    save(tmp_path, "erm", 0.3)
    save(tmp_path, "crt", 0.4)
    assert main([str(tmp_path), "--relative", "--csv"]) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == 2 and all(
        line.startswith("relative accuracy needs balanced runs; train them with: ") for line in lines
    )
    commands = {line.partition("with: ")[2] for line in lines}
    assert commands == {
        "ltrun -m method=erm,ldam_drw dataset=cifar100_lt epochs=5 dataset.profile=balanced",
        "ltrun -m method=crt dataset=cifar100_lt dataset.profile=balanced",
    }
    assert "balanced" not in out and out.count(",relative,ra,,,0\n") == 3


def test_plain_training_keeps_the_changes_that_are_no_choice_of_a_slot(tmp_path: Path, capsys: Capture) -> None:
    save(tmp_path, "ldam_drw", 0.4, changes={"reweighting": "none", "epochs": 5})
    save(tmp_path, "ldam_drw", 0.5, balanced=True, changes={"reweighting": "none", "epochs": 5})
    save(tmp_path, "erm", 0.8, balanced=True, changes={"epochs": 5})
    found, err = cells(tmp_path, capsys)
    assert err == "" and list(found.values()) == [pytest.approx([40, 80, 50])]


def test_balanced_runs_alone_are_refused(tmp_path: Path, capsys: Capture) -> None:
    save(tmp_path, "erm", 0.6, balanced=True)
    assert main([str(tmp_path), "--relative"]) == 1
    assert "name the folder of the long-tailed runs too" in capsys.readouterr().err


def test_runs_whose_words_are_known_share_the_command_of_a_sweep_with_references(tmp_path: Path, capsys: Capture) -> None:
    words = ["dataset=cifar100_lt", "augmentation=[cmo,mixup]"]
    for method, seed in (("ldam_drw", 0), ("ldam_drw", 1), ("crt", 0), ("crt", 1), ("ride", 1)):
        config = {"dataset": {"profile": "exponential"}}
        run = replace(record(method, seed, config=config), command=[f"method={method}", f"seed={seed}", *words])
        run.save(tmp_path / f"{method}-{seed}")
    listed = replace(record("erm", dataset="lists"), command=["method=erm", "dataset=lists"])  # no profile
    listed.save(tmp_path / "listed")
    assert main([str(tmp_path), "--relative", "--csv"]) == 0
    rest = "dataset=cifar100_lt 'augmentation=[cmo,mixup]' sweep.references=true"
    begins = "relative accuracy needs balanced runs"
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"{begins}, but lists keeps its images as they are",
        f"{begins}; train them with: ltrun -m method=crt,ldam_drw seed=0,1 {rest}",
        f"{begins}; train them with: ltrun -m method=ride seed=1 {rest}",
    ]

"""Relative accuracy on demand: the command that a report names, a sweep with its references, and one that a method refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support.commands import Run, refused

WORDS = ("dataset=digits_lt", "epochs=1", "runtime.pack=1", "runtime.device=cpu")


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the process that checks the jobs of a sweep."""
    monkeypatch.setattr("ltrun.sweep.jobs.refusals", lambda jobs: {})


def test_the_command_of_a_report_trains_what_it_lacks(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("-m", "method=ldam,crt", "seed=3", *WORDS).returncode == 0
    note = ltrun("report", "--relative").stderr.strip()
    told, _, command = note.partition("; train them with: ")
    assert told == "relative accuracy needs balanced runs"
    assert command == shlex.join(["ltrun", "-m", "method=crt,ldam", "seed=3", *WORDS, "sweep.references=true"])
    words = shlex.split(command)[1:]
    done = ltrun(*words)
    assert done.returncode == 0 and done.stdout.count("done before") == 2, done.stderr
    assert "Acc" in done.stdout and "UA" in done.stdout
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert sorted(path.parts[-4] for path in written) == ["crt", "crt", "erm", "ldam", "ldam"]
    again = ltrun(*words)
    assert again.returncode == 0 and again.stdout.count("done before") == 5 and "left out" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == written
    report = ltrun("report", "--relative", "--json")
    (table,) = json.loads(report.stdout)["tables"]
    assert report.stderr == "" and len(table["rows"]) == 2
    accuracy: dict[str, list[float]] = {path.parts[-4]: [] for path in written}
    for path in written:
        record = json.loads(path.read_text())
        if record["config"]["dataset"]["profile"] == "balanced":
            accuracy[record["method"]].append(100 * record["predictors"]["plain"]["splits"]["test"]["accuracy"])
    for row, method in zip(table["rows"], ("crt", "ldam"), strict=True):
        own, upper, relative = (cell["mean"] for cell in row["cells"])
        assert upper == pytest.approx(max(*accuracy["erm"], *accuracy[method])) and relative == pytest.approx(100 * own / upper)


def test_a_method_that_refuses_balanced_data_lacks_its_reference_alone(ltrun: Run, tmp_path: Path) -> None:
    """In an experiment of one's own, which asks for references itself, and whose methods are compared on validation images."""
    (tmp_path / "options" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nsweep:\n  references: true\n  commands: ['method=imb_sam,erm']\n"
    (tmp_path / "options" / "experiment" / "mine.yaml").write_text(text)
    done = ltrun("--config-dir", "options", "experiment=mine", *WORDS)
    assert done.returncode == 1 and "1 failed:" in done.stderr.splitlines()
    assert "images of the smallest class" in done.stderr and "choose regularization=sam" in done.stderr
    (retry,) = [line for line in done.stderr.splitlines() if "to retry: " in line]
    words = shlex.split(retry.partition("to retry: ")[2])[1:]
    assert "dataset.profile=balanced" in words and not any("references" in word for word in words)
    assert "images of the smallest class" in refused(ltrun(*words)), "and not because the experiment asks for references"
    assert done.stdout.count("Take ") == 1 and "[profile=balanced" not in done.stdout, "references take no part in the choice"
    *_, table = done.stdout.split("\ndigits_lt ")
    assert "RA" in table and "on the val split" in table and "erm" in table and "imb_sam" not in table and "ImbSAM" not in table


def test_a_single_run_and_data_without_a_balanced_set_are_refused(ltrun: Run, tmp_path: Path) -> None:
    assert "this command trains one run" in refused(ltrun("method=erm", "sweep.references=true", *WORDS))
    several = ("-m", "method=erm", "dataset=digits_multi_lt", "sweep.references=true")
    assert "digits_multi_lt has several" in refused(ltrun(*several)) and not list(tmp_path.iterdir())

"""Outcome of a job, read from its folder: results, errors, forced runs, defects of plugins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ltrun.config.job import Job
from ltrun.engine.progress import Bar
from ltrun.errors import BusyError, TrainingError
from ltrun.parts import Sampler
from ltrun.results.address import ERROR
from ltrun.results.folder import locked
from ltrun.sweep.outcome import STOPPED, Outcome, attempt, forget, outcome_of
from tests.support.cases import composed


def job(folder: Path, *overrides: str) -> Job:
    config, choices = composed(*overrides)
    return Job(config, choices, {}, "erm", "digits_lt", "01234567", folder / "seed0", "plain")


def running(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """Makes every run end at once, with an error or with a result."""

    def run(job: Job, reporter: object, at_once: int) -> None:
        assert not (job.folder / ERROR).exists(), "the error of an earlier run is still there"
        if error is not None:
            raise error
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "result.json").touch()

    monkeypatch.setitem(__import__("sys").modules, "ltrun.engine.run", SimpleNamespace(run=run))


def test_a_run_that_another_process_trains_gets_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path)
    one.folder.mkdir()
    running(monkeypatch, BusyError("another process is training it"))
    assert attempt(one, Bar()) == "another process is training it"
    assert outcome_of(one).state == "unfinished"


def test_a_job_that_left_nothing_is_unfinished(tmp_path: Path) -> None:
    one = job(tmp_path)
    assert outcome_of(one) == Outcome(one.title, one.folder, "unfinished", STOPPED)
    assert outcome_of(one, "it was killed").reason == "it was killed"


def test_a_job_with_a_result_is_done_unless_it_has_an_error(tmp_path: Path) -> None:
    one = job(tmp_path)
    one.folder.mkdir()
    (one.folder / "result.json").touch()
    assert outcome_of(one) == Outcome(one.title, one.folder, "done")
    (one.folder / ERROR).write_text("a forced run was refused\n")
    assert outcome_of(one) == Outcome(one.title, one.folder, "failed", "a forced run was refused")


def test_a_forced_job_that_is_refused_keeps_its_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, "force=true")
    one.folder.mkdir()
    for name in ("result.json", "checkpoints.json"):
        (one.folder / name).write_text(name)
    forget(one)
    assert outcome_of(one).state == "unfinished", "if the sweep is interrupted now, the old result must not count"
    running(monkeypatch, TrainingError("no such device"))
    attempt(one, Bar())
    assert outcome_of(one).reason == "no such device"
    for name in ("result.json", "checkpoints.json"):
        assert (one.folder / name).read_text() == name


def test_a_run_that_is_not_forced_does_not_put_an_old_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupted forced sweep: the job fails, and the old result must not make it done."""
    forced, plain = job(tmp_path, "force=true"), job(tmp_path)
    forced.folder.mkdir()
    (forced.folder / "result.json").touch()
    forget(forced)
    running(monkeypatch, TrainingError("the loss is not finite"))
    attempt(plain, Bar())
    assert not (plain.folder / "result.json").exists() and (plain.folder / "result.json.before").exists()


def test_the_checkpoints_of_a_run_that_another_process_trains_stay(tmp_path: Path) -> None:
    one = job(tmp_path, "force=true")
    with locked(one.folder):
        (one.folder / "checkpoints.json").touch()
        forget(one)
        assert (one.folder / "checkpoints.json").exists()


def test_error_log_has_one_line_for_a_refusal_and_a_traceback_for_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path)
    running(monkeypatch, TrainingError("the loss is\nnot finite"))
    assert attempt(one, Bar()) == "the loss is not finite"
    assert (one.folder / ERROR).read_text() == "the loss is not finite\n"
    assert outcome_of(one) == Outcome(one.title, one.folder, "failed", "the loss is not finite")
    running(monkeypatch, KeyError("lr"))
    sentence = attempt(one, Bar())
    assert sentence == f"KeyError: 'lr' (a defect of ltrun or of a part; the traceback is in {one.folder / ERROR})"
    first, second, *_, last = (one.folder / ERROR).read_text().splitlines()
    assert (first, second, last) == (sentence, "Traceback (most recent call last):", "KeyError: 'lr'")
    assert outcome_of(one).reason == sentence
    running(monkeypatch, None)
    assert attempt(one, Bar()) is None
    assert outcome_of(one).state == "done" and not (one.folder / ERROR).exists()


def test_a_single_run_that_is_refused_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path)
    running(monkeypatch, TrainingError("no"))
    assert attempt(one, Bar(), alone=True) == "no"
    running(monkeypatch, KeyError("lr"))
    assert "Traceback (most recent call last)" in str(attempt(one, Bar(), alone=True))
    assert not one.folder.exists()
    one.folder.mkdir()
    attempt(one, Bar(), alone=True)
    assert outcome_of(one).state == "failed"


def test_a_failure_is_reported_even_if_its_folder_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    one = replace(job(tmp_path), folder=tmp_path / "file" / "seed0")
    running(monkeypatch, TrainingError("no"))
    assert attempt(one, Bar()) == "no"
    assert outcome_of(one, "no").reason == "no"


@pytest.mark.parametrize(
    ("force", "left"),
    [("false", {"result.json", "checkpoints.json"}), ("true", {"result.json.before", "checkpoints.json.before"})],
)
def test_a_sweep_begins_without_old_errors_and_a_forced_sweep_without_old_results(
    force: str, left: set[str], tmp_path: Path
) -> None:
    one = job(tmp_path, f"force={force}")
    forget(one)  # no folder yet
    one.folder.mkdir()
    for name in (ERROR, "result.json", "checkpoints.json"):
        (one.folder / name).touch()
    forget(one)
    assert {path.name for path in one.folder.iterdir()} - {".lock"} == left


class Odd(Sampler):
    def adapt(self, view: object) -> None:
        raise ValueError("no such season\nof the year")


def test_a_defect_of_a_plugin_names_its_part_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path)
    one.folder.mkdir()

    def run(job: Job, reporter: object, at_once: int) -> None:
        Odd().adapt(None)

    monkeypatch.setitem(__import__("sys").modules, "ltrun.engine.run", SimpleNamespace(run=run))
    said = attempt(one, Bar())
    assert said is not None and said.startswith(f"{__name__}.Odd raises ValueError: no such season ({__file__}, line ")
    assert str(one.folder / ERROR) in said and "of the year" not in said
    assert "of the year" in (one.folder / ERROR).read_text()


def test_an_error_that_is_its_own_cause_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, ring = job(tmp_path), RuntimeError("a ring")
    ring.__cause__ = ring
    running(monkeypatch, ring)
    assert "a ring" in str(attempt(one, Bar()))


def test_a_part_that_exits_the_process_fails_its_job_with_a_message(tmp_path: Path, monkeypatch: Any) -> None:
    def run(job: Job, reporter: object, at_once: int) -> None:
        raise SystemExit(3)

    monkeypatch.setitem(__import__("sys").modules, "ltrun.engine.run", SimpleNamespace(run=run))
    assert str(attempt(job(tmp_path), Bar())).startswith("SystemExit: 3 (a defect of ltrun or of a part")

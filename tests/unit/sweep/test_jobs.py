"""Jobs of a sweep, all composed and checked before the first job trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from ltrun.sweep.jobs import compose_jobs, without_refused
from ltrun.sweep.outcome import Outcome


@pytest.fixture(autouse=True)
def hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        yield


def test_a_run_that_is_named_twice_is_one_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noted: list[Outcome] = []
    commands = [["dataset=digits_lt", f"seed={seed}"] for seed in ("0", "1", "0", "1")]
    assert [job.seed for job in compose_jobs(commands, noted.append)] == [0, 1]
    assert noted == [] and not list(tmp_path.iterdir()), "composing writes nothing"
    assert capsys.readouterr().err.startswith("jobs left out, because the sweep has their runs already: 2 (")


def test_values_of_a_key_that_changes_no_result_make_one_job_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["dataset=digits_lt", f"runtime.levers={levers}"] for levers in ("[]", "[cudnn_search]")]
    assert len(compose_jobs(commands, lambda outcome: None)) == 1
    assert "already: 1 (a value is given twice, or a key such as runtime.levers changes no result)" in capsys.readouterr().err
    compose_jobs(commands[:1], lambda outcome: None)
    assert capsys.readouterr().err == ""


def test_a_job_that_does_not_compose_fails_under_the_name_of_its_command_line(tmp_path: Path) -> None:
    noted: list[Outcome] = []
    commands = [["seed=-1"], ["seed=0"], ["seed=0", "nothing=1"]]
    assert [job.seed for job in compose_jobs(commands, noted.append)] == [0]
    assert [(outcome.title, outcome.folder, outcome.state) for outcome in noted] == [
        ("ltrun seed=-1", None, "failed"),
        ("ltrun seed=0 nothing=1", None, "failed"),
    ]
    assert "seed must be 0 or more" in noted[0].reason and "nothing" in noted[1].reason


def test_hydras_refusal_of_the_first_job_refuses_the_whole_command() -> None:
    with pytest.raises(HydraException):
        compose_jobs([["nothing=1"], ["seed=0"]], lambda outcome: None)


def test_a_damaged_result_fails_its_job_unless_the_job_is_forced() -> None:
    (job,) = compose_jobs([["seed=0"]], lambda outcome: None)
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text("{")
    noted: list[Outcome] = []
    assert compose_jobs([["seed=0"]], noted.append) == []
    assert noted[0].state == "failed" and "is damaged" in noted[0].reason
    (forced,) = compose_jobs([["seed=0", "force=true"]], noted.append)
    assert forced.folder == job.folder


def test_a_job_with_a_wrong_value_fails_before_the_first_job_trains(tmp_path: Path) -> None:
    """Also if only a later stage, or the last job of the sweep, has the wrong value."""
    noted: list[Outcome] = []
    wrong = ["stages.classifier.margin.adjust.scale=0", "selection=best_val"]
    commands = [["dataset=digits_lt", "method=gcl", word] for word in ("epochs=3", *wrong)]
    jobs = compose_jobs([*commands, [*commands[1], "seed=1"]], noted.append)
    assert len(jobs) == 4 and noted == []
    assert without_refused(jobs, noted.append) == jobs[:1]
    assert [outcome.folder for outcome in noted] == [job.folder for job in jobs[1:]]
    assert {outcome.state for outcome in noted} == {"failed"}
    for outcome, said in zip(
        noted, ("scale must be above 0", "needs a validation split", "scale must be above 0"), strict=True
    ):
        assert said in outcome.reason
        assert outcome.folder is not None and said in (outcome.folder / "error.log").read_text()

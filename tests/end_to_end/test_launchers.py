"""Sweeps through Hydra launchers: jobs are passed as files, and their folders hold the outcomes."""

import json
import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ltrun.config.job import Job
from ltrun.sweep.outcome import Outcome
from tests.end_to_end.test_packed_sweep import below, gone, training, until
from tests.support.commands import PROGRAM, SHORT, Run, environment, refused

BASIC = ("-m", "hydra/launcher=basic")
joblib = pytest.mark.skipif(find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="needs hydra-joblib-launcher")


def predictors(folder: Path) -> dict[str, Any]:
    """Metrics of every run, by the path of its record in the folder."""
    files = sorted(folder.rglob("result.json"))
    return {str(file.relative_to(folder)): json.loads(file.read_text())["predictors"] for file in files}


def test_a_launched_sweep_equals_a_plain_sweep_and_skips_finished_jobs(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm,crt", "seed=0,1", *SHORT)
    assert ltrun("-m", *choices, f"outputs={tmp_path / 'without'}", "runtime.pack=1").returncode == 0
    odd = 'by, a=b "it\'s"'
    again = (*BASIC, *choices, "outputs='by, a=b \"it\\'s\"'")
    first = ltrun(*again)
    assert first.returncode == 0, first.stderr
    assert predictors(tmp_path / odd) == predictors(tmp_path / "without") and len(predictors(tmp_path / odd)) == 4
    second = ltrun(*again)
    assert second.returncode == 0 and second.stdout.count("done before") == 4 and "train 1/3" not in second.stdout
    assert first.stdout[first.stdout.rindex("Method") :] == second.stdout[second.stdout.rindex("Method") :]


def test_failed_jobs_are_named_with_their_reason_and_others_train(ltrun: Run, tmp_path: Path) -> None:
    sweep = (*BASIC, "seed=0,-1", "optimizer.lr=1e30,0.1", *SHORT)
    done = ltrun(*sweep)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "3 failed" in done.stderr and "Method" in done.stdout
    assert done.stderr.count("the loss is not finite") == 2, "each failure is reported when it happens and below the table"
    assert "seed=-1 optimizer.lr=0.1 " in done.stderr
    (log,) = tmp_path.rglob("error.log")
    assert "the loss is not finite" in log.read_text()
    log.write_text("stale\n")
    again = ltrun(*sweep)
    assert again.returncode == 1 and again.stdout.count("done before") == 1 and "stale" not in again.stderr


@pytest.mark.parametrize("launcher", ["runtime.pack=1", "hydra/launcher=basic"])
def test_a_sweep_ignores_later_edits_of_its_option_files(launcher: str, ltrun: Run, tmp_path: Path) -> None:
    option = tmp_path / "conf" / "optimizer" / "mine.yaml"
    option.parent.mkdir(parents=True)
    text = "_target_: ltrun.optimizer.SGD\nlr: {}\nmomentum: 0.9\nweight_decay: 0.0\n"
    option.write_text(text.format(0.1))
    import ltrun.sweep.jobs as jobs

    trained: list[Job] = []

    def rewriting(job: Job, alone: bool = False) -> Outcome:
        trained.append(job)
        option.write_text(text.format(0.7))
        return here(job, alone)

    here = jobs.train_here
    with pytest.MonkeyPatch.context() as patch:
        for module in ("jobs", "launchers.one"):
            patch.setattr(f"ltrun.sweep.{module}.train_here", rewriting)
        done = ltrun("-m", launcher, "--config-dir", str(tmp_path / "conf"), "optimizer=mine", "seed=0,1", *SHORT)
    assert done.returncode == 0, done.stderr
    assert len(trained) == 2 and len({job.fingerprint for job in trained}) == 1
    assert {json.loads(path.read_text())["config"]["optimizer"]["lr"] for path in tmp_path.rglob("result.json")} == {0.1}


def test_a_forced_sweep_that_fails_reports_no_old_results(ltrun: Run, tmp_path: Path) -> None:
    sweep = (*BASIC, "seed=0,1", *SHORT, "epochs=1")
    assert ltrun(*sweep).returncode == 0
    with pytest.MonkeyPatch.context() as patch:

        def lost(job: Job) -> Outcome:
            raise OSError("the node is gone\nfor good")

        patch.setattr("ltrun.sweep.launchers.one.train_here", lost)
        done = ltrun(*sweep, "force=true")
    assert done.returncode == 1 and not list(tmp_path.rglob("result.json"))
    assert "ltrun: the launcher stopped: OSError: the node is gone\n" in done.stderr
    assert "2 failed" in done.stderr and "no run of this sweep has finished" in done.stderr
    assert done.stderr.count("it had not ended when the launcher stopped (OSError: the node is gone)") == 2
    assert ltrun(*sweep).returncode == 0


def test_an_interrupted_launched_sweep_prints_the_table_of_finished_jobs(ltrun: Run) -> None:
    import ltrun.sweep.jobs as jobs

    def interrupted(job: Job) -> Outcome:
        if job.seed == 1:
            raise KeyboardInterrupt
        return here(job)

    here = jobs.train_here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ltrun.sweep.launchers.one.train_here", interrupted)
        done = ltrun(*BASIC, "seed=0,1,2", *SHORT, "epochs=1")
    assert done.returncode == 130
    assert "Method" in done.stdout and "interrupted; nothing finished is lost" in done.stdout and "failed" not in done.stderr


def test_a_single_run_follows_hydra_job_settings(ltrun: Run, tmp_path: Path) -> None:
    import ltrun.sweep.jobs as jobs

    seen = []

    def looking(job: Job, alone: bool) -> Outcome:
        seen.append(os.environ.get("LTRUN_TOLD"))
        return here(job, alone)

    here = jobs.train_here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ltrun.sweep.launch.train_here", looking)
        done = ltrun("+hydra.job.env_set.LTRUN_TOLD=yes", "method=erm", *SHORT, "epochs=1")
    assert done.returncode == 0 and seen == ["yes"], done.stderr
    (result,) = tmp_path.rglob("result.json")
    assert not (result.parent / "job.json").exists()


def test_a_refused_run_leaves_no_folder_and_a_refused_job_leaves_an_error_log(ltrun: Run, tmp_path: Path) -> None:
    wrong = ("representation=paco", "margin=ldam", *SHORT)
    for words in (wrong, ("hydra.run.dir=.", *wrong)):
        assert "margin=ldam has no effect" in refused(ltrun(*words))
        assert not (tmp_path / "outputs").exists()
    assert ltrun("-m", *wrong, "seed=0,1").returncode == 1
    logs = [path.read_text() for path in tmp_path.rglob("error.log")]
    assert len(logs) == 2 and all(log.startswith("margin=ldam has no effect") for log in logs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-m", "hydra/sweeper=ax"), "hydra/sweeper=ax: ltrun itself composes the jobs of a sweep"),
        (("-m", "hydra/launcher=joblip"), "hydra/launcher: Hydra has no 'joblip'"),
        (("--run",), "--run: a run is trained without this flag"),
    ],
)
def test_unsupported_hydra_plugins_and_flags_are_refused(words: tuple[str, ...], said: str, ltrun: Run, tmp_path: Path) -> None:
    assert said in refused(ltrun(*words, *SHORT))
    assert not list(tmp_path.rglob("job.json")) + list(tmp_path.rglob("metrics.jsonl"))


# ------------------------------------------------------------------------------------------------------- joblib's processes


def by_joblib(tmp_path: Path, *choices: str) -> subprocess.Popen[str]:
    launcher, pipe = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), subprocess.PIPE
    command = [*PROGRAM, "-m", *launcher, *SHORT, *choices]
    return subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@joblib
def test_queued_jobs_train_although_their_option_file_is_deleted(tmp_path: Path) -> None:
    option = tmp_path / "conf" / "optimizer" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: ltrun.optimizer.SGD\nlr: 0.1\nmomentum: 0.9\nweight_decay: 0.0\n")
    sweep = by_joblib(tmp_path, "--config-dir", "conf", "optimizer=mine", "seed=0,1,2,3", "epochs=5")
    until(lambda: training(tmp_path, 1))
    option.unlink()
    output, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, errors
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    assert sorted(record["seed"] for record in records) == [0, 1, 2, 3] and len({r["fingerprint"] for r in records}) == 1
    assert "mine" in output


@joblib
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_a_launcher_that_dies_names_its_jobs_and_the_same_command_resumes_them(tmp_path: Path) -> None:
    choices = ("seed=0,1,2", "epochs=24")
    sweep = by_joblib(tmp_path, *choices)
    until(lambda: len(list(tmp_path.rglob("checkpoints.json"))) == 2)  # of both jobs in training, so that both resume
    left = below(sweep.pid)
    workers = [pid for pid in left if "LokyProcess" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(workers[0], signal.SIGKILL)  # joblib then ends the other workers
    output, errors = sweep.communicate(timeout=100)
    assert sweep.returncode == 1 and "Traceback" not in output + errors, errors
    assert "ltrun: the launcher stopped: TerminatedWorkerError" in errors and "3 failed" in errors
    for seed in (0, 1, 2):
        assert f"erm [epochs=24, evaluation.every=2] on digits_lt, seed {seed}: it had not ended" in errors
    until(lambda: gone(left), 20)
    assert not list(tmp_path.rglob("result.json"))
    again = by_joblib(tmp_path, *choices)
    output, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert len(list(tmp_path.rglob("result.json"))) == 3
    assert output.count("train 1/24") == 1, "two of the three jobs resume"

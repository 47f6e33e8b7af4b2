"""hydra/launcher=slurm: on this machine by submitit's local executor, and on a real SLURM where one runs: `make slurm-test`."""

import os
import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.test_packed_sweep import below, gone, training, until
from tests.support.commands import PROGRAM, Run, environment, refused

pytestmark = [
    pytest.mark.skipif(find_spec("submitit") is None, reason="needs submitit: pip install 'ltrun[slurm]'"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc"),
]
SLURM = ("-m", "hydra/launcher=slurm", "hydra.launcher.gpus=0")
LOCAL = (*SLURM, "hydra.launcher.cluster=local")
RUN = ("dataset=digits_lt", "evaluation.every=1000", "runtime.checkpoint_seconds=1000")
LONG = 16  # epochs: of some seconds altogether
DISTURBED = (f"epochs={LONG}", "seed=3")


def runs() -> bool:
    """Whether a SLURM answers to which jobs can be submitted."""
    if shutil.which("sinfo") is None:
        return False
    return "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout


real = pytest.mark.skipif(not runs(), reason="no SLURM runs here; make slurm-test starts one")
BOTH = [pytest.param(LOCAL, id="local"), pytest.param(SLURM, id="slurm", marks=real)]


def started(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [*PROGRAM, *words]
    return subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def ended(sweep: subprocess.Popen[str]) -> str:
    output, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0 and "Traceback" not in output + errors, output + errors
    return output


def printed(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in sorted(tmp_path.rglob("*_log.*")))


def scores(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.rglob("predictions.npz")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The scores of the run that the tests disturb."""
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*PROGRAM, *RUN, *DISTURBED], env=environment(), cwd=folder, check=True, capture_output=True)
    return scores(folder)


def task_of(sweep: subprocess.Popen[str]) -> int:
    """The process of submitit that trains a run by the local executor."""
    (found,) = [pid for pid in below(sweep.pid) if "submitit.core._submit" in name_of(pid)]
    return found


def job_number(tmp_path: Path) -> str:
    (folder,) = [path for path in tmp_path.rglob(".slurm/*") if path.is_dir()]
    return folder.name


def launched(tmp_path: Path, launcher: tuple[str, ...], written: str) -> str:
    """Trains a run and one that fails, whose option is gone when they begin; returns the output.

    written: name of a file in the folder of each run that is launched.
    """
    option = tmp_path / "conf" / "optimizer" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: ltrun.optimizer.SGD\nlr: 0.1\nmomentum: 0.9\nweight_decay: 0.0\n")
    words = ("--config-dir", "conf", "optimizer=mine", "epochs=2", "seed=0", "optimizer.lr=0.1,1e30")
    sweep = started(tmp_path, *launcher, *RUN, *words)
    until(lambda: len(list(tmp_path.rglob(written))) == 2)
    option.unlink()
    output, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 1 and "Traceback" not in output + errors, errors
    assert len(list(tmp_path.rglob("result.json"))) == 1 and "Method" in output
    assert "1 failed" in errors and errors.count("the loss is not finite") == 2, "when it happens, and below the table"
    return output


@pytest.mark.parametrize("launcher", BOTH)
def test_a_sweep_trains_what_was_launched_and_a_failed_run_stops_no_other(launcher: tuple[str, ...], tmp_path: Path) -> None:
    launched(tmp_path, launcher, "task.json")
    assert not list(tmp_path.rglob("task.json"))


@pytest.mark.parametrize("launcher", BOTH)
def test_a_warned_run_saves_its_last_epoch_is_requeued_and_resumes(
    launcher: tuple[str, ...], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    sweep = started(tmp_path, *launcher, *RUN, *DISTURBED, "force=true", "outputs=out")
    until(lambda: training(tmp_path / "out", 1))
    if launcher is LOCAL:
        os.kill(task_of(sweep), signal.SIGUSR2)
    else:
        subprocess.run(["scancel", "--signal=USR2", job_number(tmp_path)], check=True)  # as --signal=USR2@180 does
    ended(sweep)
    log = printed(tmp_path)
    assert "the last finished epoch is saved" in log and "Requeued job" in log
    assert log.count(f"train 1/{LONG} ") == 1 and log.count(f"train {LONG}/{LONG} ") == 1, "the second attempt resumes"
    assert scores(tmp_path / "out") == undisturbed


@real
@pytest.mark.parametrize("how", ["requeue", "preempt"])
def test_a_preempted_run_saves_its_last_epoch_and_resumes(how: str, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    sweep = started(tmp_path, *SLURM, *RUN, *DISTURBED, "outputs=out")
    until(lambda: training(tmp_path / "out", 1))
    job = job_number(tmp_path)
    if how == "requeue":
        subprocess.run(["scontrol", "requeue", job], check=True)  # SIGTERM, and SLURM requeues by itself
    else:
        subprocess.run(["scancel", "--signal=TERM", job], check=True)  # RequeueExit=143
    ended(sweep)
    log = printed(tmp_path)
    assert log.count(f"train 1/{LONG} ") == 1 and log.count(f"train {LONG}/{LONG} ") == 1, "the second attempt resumes"
    assert scores(tmp_path / "out") == undisturbed


@real
def test_runs_outlive_their_command_which_finds_them_again_in_the_queue(tmp_path: Path) -> None:
    words = (*SLURM, *RUN, f"epochs={LONG}", "seed=0,1,2", "outputs=out")
    sweep = started(tmp_path, *words)
    until(lambda: training(tmp_path / "out", 1))
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate(timeout=60)
    again = ended(started(tmp_path, *words))
    assert re.search(r"in SLURM's queue already, from an earlier command: \d of 3 runs", again)
    assert len(list((tmp_path / "out").rglob("result.json"))) == 3
    assert printed(tmp_path).count(f"train 1/{LONG} ") == 3, "no run was trained twice"


@real
def test_a_cancelled_run_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    sweep = started(tmp_path, *SLURM, "hydra.launcher.array_parallelism=1", *RUN, "epochs=30", "seed=0,1", "outputs=out")
    until(lambda: training(tmp_path / "out", 1))
    subprocess.run(["scancel", f"{job_number(tmp_path)}_0"], check=True)
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 1 and "1 failed" in errors and "was cancelled, ran out of memory or time" in errors
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1


def test_several_ranks_train_a_run_by_torchrun(tmp_path: Path) -> None:
    words = (*LOCAL, "hydra.launcher.ranks=2", *RUN, "epochs=400", "seed=0", "outputs=out")
    sweep = started(tmp_path, *words)
    until(lambda: training(tmp_path / "out", 1))
    os.kill(task_of(sweep), signal.SIGUSR2)
    until(lambda: "Requeued job" in printed(tmp_path))
    until(lambda: re.search(r"train [2-9]\d*/400 ", printed(tmp_path).partition("Requeued job")[2]))
    log = printed(tmp_path)
    assert log.count("train 1/400 ") == 1, "two ranks save, and two others resume"
    left = below(sweep.pid)
    os.kill(task_of(sweep), signal.SIGKILL)
    until(lambda: gone({pid: 0 for pid in left if pid != sweep.pid and "torch.distributed" in name_of(pid)}), 30)
    sweep.kill()
    sweep.communicate(timeout=60)
    until(lambda: gone(left), 30)


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_senseless_keys_and_a_machine_without_slurm_are_refused(ltrun: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for word, said in [
        ("hydra.launcher.timeout_min=0", "hydra.launcher.timeout_min: expected a whole number of at least 1, got 0"),
        ("hydra.launcher.cluster=pbs", "hydra.launcher.cluster: expected slurm or local, got pbs"),
        ("hydra.launcher.partitio=x", "hydra.launcher.partitio"),
    ]:
        assert said in refused(ltrun(*LOCAL, *RUN, word))
    monkeypatch.setenv("PATH", "/nowhere")
    assert "this machine has no SLURM; run it where sbatch and srun are" in refused(ltrun(*SLURM, *RUN))

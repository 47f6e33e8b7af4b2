"""hydra/launcher=gpus: one job on each GPU. The GPUs are imagined, so the jobs train on the CPU."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_packed_sweep import below, gone, training, until, workers
from tests.support.commands import SHORT, Run, environment, refused

IMAGINED = (
    "import sys, ltrun.sweep.launchers.gpus as gpus; from ltrun.cli import dispatch\n"
    "gpus.visible_gpus = lambda: [('GPU-0', 'a'), ('GPU-1', 'b')][:{gpus}]\n"
    "sys.exit(dispatch({command!r}))"
)
GPUS = ("-m", "hydra/launcher=gpus")


def on_imagined(tmp_path: Path, gpus: int, *choices: str) -> subprocess.Popen[str]:
    script, pipe = IMAGINED.format(gpus=gpus, command=[*GPUS, *choices]), subprocess.PIPE
    more = environment(TMPDIR=str(tmp_path))
    more.pop("SLURM_JOB_ID", None)
    return subprocess.Popen([sys.executable, "-c", script], env=more, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True,
                            start_new_session=True)  # fmt: skip


def test_each_job_trains_on_a_gpu_of_its_own_and_a_failed_one_stops_no_other(tmp_path: Path) -> None:
    sweep = on_imagined(tmp_path, 2, "seed=0,1,2", "optimizer.lr=0.1,1e30", *SHORT, "epochs=2", "outputs=out")
    output, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 1 and "Traceback" not in output + errors, errors
    assert len(list(tmp_path.rglob("result.json"))) == 3 and "3 failed" in errors
    assert errors.count("the loss is not finite") == 6, "each failure is reported when it happens and below the table"
    locks = {path.name for path in (tmp_path / f"ltrun-gpu-{os.getuid()}").iterdir()}
    assert locks == {"probe", "a.0", "b.0"}
    record = json.loads(next(tmp_path.rglob("result.json")).read_text())
    assert record["provenance"]["at_once"] == 1, "no other job shares the GPU"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_two_terminals_share_a_gpu_in_turn_and_a_killed_one_leaves_no_process(tmp_path: Path) -> None:
    first = on_imagined(tmp_path, 1, "seed=0", *SHORT, "epochs=4000", "outputs=first")
    until(lambda: training(tmp_path / "first", 1))
    second = on_imagined(tmp_path, 1, "seed=0", *SHORT, "epochs=2", "outputs=second")
    until(lambda: workers(second.pid))
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(timeout=3)
    assert not list((tmp_path / "second").rglob("metrics.jsonl")), "the second terminal waits for the GPU"
    left = below(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    until(lambda: gone(left), 20)
    _, errors = second.communicate(timeout=200)
    assert second.returncode == 0 and len(list((tmp_path / "second").rglob("result.json"))) == 1, errors


def test_a_machine_without_gpu_and_senseless_keys_are_refused(ltrun: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("ltrun.sweep.launchers.gpus.answer_of", lambda tell: [])
        said = refused(ltrun(*GPUS, *SHORT, CUDA_VISIBLE_DEVICES="7"))
        assert "PyTorch finds no GPU on this machine among CUDA_VISIBLE_DEVICES=7; leave hydra/launcher=gpus out" in said
    for words, said in [
        (("hydra.launcher.slots=0",), "hydra.launcher.slots: expected a whole number of at least 1, got 0"),
        (("hydra.launcher.slts=2",), "hydra.launcher.slts"),
        (("runtime.device=cuda:1",), "runtime.device=cuda:1: hydra/launcher=gpus chooses the device of each job"),
        (("+hydra.job.env_set.A=1",), "+hydra.job.env_set.A=1: hydra/launcher=gpus is ltrun's own"),
    ]:
        assert said in refused(ltrun(*GPUS, *SHORT, *words))
    assert "starts the jobs of a sweep" in refused(ltrun(GPUS[1], *SHORT))


def test_inside_a_job_of_slurm_the_jobs_train_as_without_it(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*GPUS, *SHORT, "epochs=1", SLURM_JOB_ID="3")
    assert done.returncode == 0 and "leaves the GPUs to SLURM, in whose job 3 this command runs" in done.stderr
    assert len(list(tmp_path.rglob("result.json"))) == 1


def test_the_names_of_the_environment_are_kept_and_the_uuids_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltrun.sweep.launchers import gpus

    monkeypatch.setattr(gpus, "answer_of", lambda tell: ["u3", "u1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-1")
    assert gpus.visible_gpus() == [("3", "u3"), ("GPU-1", "u1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1,-1,2")  # CUDA stops at -1
    assert gpus.visible_gpus() == [("3", "u3"), ("1", "u1")]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpus.visible_gpus() == [("0", "u3"), ("1", "u1")]

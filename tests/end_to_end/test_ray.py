"""hydra/launcher=ray, with Ray started on this machine."""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.test_packed_sweep import below, gone, training, until
from tests.end_to_end.test_slurm import ended, launched, name_of, scores, started
from tests.support.commands import PROGRAM, Run, environment, refused

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'ltrun[ray]'"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc"),
]
RAY = ("-m", "hydra/launcher=ray")
RUN = ("dataset=digits_lt", "evaluation.every=1000", "outputs=out")
LONG = ("epochs=60", "seed=3")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The scores of the run that the tests disturb."""
    folder = tmp_path_factory.mktemp("undisturbed")
    more = {"OMP_NUM_THREADS": "1"}  # as Ray sets it for a run with one core
    subprocess.run([*PROGRAM, *RUN, *LONG], env=environment(**more), cwd=folder, check=True, capture_output=True)
    return scores(folder)


def trainers(sweep: int) -> list[int]:
    return [pid for pid in below(sweep) if "ltrun.sweep.launchers.one" in name_of(pid)]


def log_of(file: Path) -> str:
    """What the tasks of a sweep printed, whose first line names the folder."""
    folder = Path(re.search(r"what they print: (\S+)", file.read_text()).group(1))  # type: ignore[union-attr]
    return "".join(path.read_text() for path in sorted(folder.glob("worker-*.out")))


def test_a_sweep_trains_what_was_launched_and_a_failed_run_stops_no_other(tmp_path: Path) -> None:
    output = launched(tmp_path, RAY, "job.json")
    assert "1 core and no GPU each" in output


@pytest.mark.parametrize("lost", ["the run", "its task"])
def test_a_lost_run_is_trained_again_from_its_checkpoint(lost: str, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    sweep = started(tmp_path, *RAY, *RUN, *LONG, "runtime.checkpoint_seconds=0")
    until(lambda: training(tmp_path / "out", 1))
    (run,) = trainers(sweep.pid)
    task = int(Path(f"/proc/{run}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(*{"the run": (run, signal.SIGTERM), "its task": (task, signal.SIGKILL)}[lost])
    output, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0 and "Traceback" not in output + errors, output + errors
    assert scores(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_saves_the_last_epochs_and_the_same_command_resumes(
    sent: signal.Signals, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    sweep = started(tmp_path, *RAY, *RUN, *LONG, "runtime.checkpoint_seconds=1000")
    until(lambda: training(tmp_path / "out", 1))
    left = below(sweep.pid)
    os.kill(sweep.pid, sent)
    output, errors = sweep.communicate(timeout=100)
    assert sweep.returncode == 128 + sent and "Traceback" not in output + errors, output + errors
    assert list((tmp_path / "out").rglob("*.pt")), "the last epoch, though no checkpoint was due"
    until(lambda: gone(left), 30)
    again = ended(started(tmp_path, *RAY, *RUN, *LONG))
    assert "| done" in again and scores(tmp_path / "out") == undisturbed


def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    sweep = started(tmp_path, *RAY, *RUN, "epochs=4000", "seed=0,1")
    until(lambda: training(tmp_path / "out", 1))
    left, runs = below(sweep.pid), trainers(sweep.pid)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate(timeout=60)
    until(lambda: gone({pid: began for pid, began in left.items() if pid in runs}), 30)
    until(lambda: gone(left), 180)  # Ray's own processes look for the lost ones for a minute or two


def test_several_ranks_train_a_run_by_torchrun(tmp_path: Path) -> None:
    words = ("hydra.launcher.ranks=2", "hydra.launcher.cpus=2", "epochs=2", "seed=0")
    assert "2 cores and no GPU each" in ended(started(tmp_path, *RAY, *RUN, *words))
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1


def test_shares_of_imagined_gpus(tmp_path: Path) -> None:
    """Two GPUs that Ray is told of: four runs at once with half a GPU each, two on each."""
    script = (
        "import os, sys, ray; from ltrun.cli import dispatch; from ltrun.sweep.launchers import ray as launcher\n"
        "begin = ray.init\n"
        "ray.init = lambda *words, **more: begin(*words, **(more | {'num_gpus': 2, 'num_cpus': 4}))\n"
        "def tell(file, ranks):\n"
        "    import time; time.sleep(8)\n"
        "    open(os.path.join(os.path.dirname(file), 'gpu'), 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "    return 'only told'\n"
        "launcher.trained = tell\n"
        f"sys.exit(dispatch({[*RAY, *RUN, 'hydra.launcher.gpus=0.5', 'seed=0,1,2,3', 'epochs=1']!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert sorted(path.read_text() for path in tmp_path.rglob("gpu")) == ["0", "0", "1", "1"], done.stderr


def test_senseless_keys_and_clusters_are_refused(ltrun: Run, tmp_path: Path) -> None:
    for words, said in [
        (("hydra.launcher.gpus=1.5",), "hydra.launcher.gpus: expected a whole number, or a share of one, got 1.5"),
        (("hydra.launcher.cpus=0",), "hydra.launcher.cpus: expected a whole number of at least 1, got 0"),
        (("hydra.launcher.retries=many",), "hydra.launcher.retries: expected a whole number of at least 0, got many"),
        (("hydra.launcher.address=ray://x:1",), "hydra.launcher.address: expected HOST:PORT or auto, got ray://x:1"),
        (("hydra.launcher.adres=x",), "hydra.launcher.adres"),
        (("hydra.launcher.address=127.0.0.1:9",), "Ray refuses"),
        (("hydra.launcher.cpus=4096",), "no node has 4096 cores and no GPU for a run"),
    ]:
        assert said in refused(ltrun(*RAY, *RUN, *words))

"""torchrun: several processes train one run, speak with one voice, end together, and go on from where they were killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import PROGRAM, Run, environment

pytestmark = pytest.mark.slow
KEYS = ("method=erm", "dataset=digits_lt", "network=resnet8", "epochs=5", "evaluation.every=2", "runtime.device=cpu",
        "runtime.checkpoint_seconds=0")  # fmt: skip
SOON = 25  # seconds in which all ranks end, on a loaded machine; quiet ones take four


def torchrun(ranks: int, *words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "ltrun", *words]


def run(ranks: int, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(torchrun(ranks, *words), env=environment(**env), capture_output=True, text=True)


def said(errors: str) -> list[str]:
    """Returns what ltrun printed there, without the report of torchrun."""
    ours, _, report = errors.partition("torch.distributed.elastic")
    assert "ltrun/cli.py" not in errors and "ltrun: " not in report, errors
    return [line for line in ours.splitlines() if line.startswith("ltrun: ")]


def outcome(root: Path) -> tuple[dict[str, torch.Tensor], list[tuple[str, int]], dict[str, Any]]:
    """Returns the weights, the epochs of the history and the record of the only run below `root`."""
    (result,) = root.rglob("result.json")
    (checkpoint,) = result.parent.glob("*.pt")
    rows = [json.loads(line) for line in (result.parent / "metrics.jsonl").read_text().splitlines()]
    state = torch.load(checkpoint, weights_only=True)["module"]
    return state, [(row["stage"], row["epoch"]) for row in rows], json.loads(result.read_text())


def processes_of(parent: int) -> dict[int, int]:
    """Returns rank -> process, for the children of torchrun."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                given = dict(pair.partition(b"=")[::2] for pair in (folder / "environ").read_bytes().split(b"\0"))
                if b"RANK" in given:
                    found[int(given[b"RANK"])] = int(folder.name)
    return found


def lives(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def cut_short(ranks: int, root: Path, who: int | None, number: signal.Signals, *words: str) -> tuple[int, str, str]:
    """Sends a signal to a rank, or to torchrun, after the first epoch. Returns exit code and output; asserts that all end."""
    command = torchrun(ranks, *KEYS, f"outputs={root}", *words)
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not any(path.read_text() for path in root.rglob("metrics.jsonl")):
            time.sleep(0.01)
        members = processes_of(process.pid)
        assert sorted(members) == list(range(ranks)), process.communicate()
        process.send_signal(number) if who is None else signal.pidfd_send_signal(pidfd(members[who]), number)
        output, errors = process.communicate(timeout=SOON)
    end = time.monotonic() + SOON
    while any(map(lives, members.values())) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(lives, members.values()))
    assert not list(root.rglob("result.json")), "the run had ended before the signal"
    return process.returncode, output, errors


def pidfd(process: int) -> int:
    import os

    return os.pidfd_open(process)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of two ranks."""
    root = tmp_path_factory.mktemp("whole")
    return run(2, *KEYS, f"outputs={root}"), root


def test_rank_0_alone_speaks_and_the_record_says_how_many_devices(
    whole: tuple[subprocess.CompletedProcess[str], Path], ltrun: Run
) -> None:
    done, root = whole
    assert done.returncode == 0, done.stderr
    assert not said(done.stderr)
    for line in (r"digits_lt: 10 classes; ", r"train 5/5 \| ", r"done: all ", r"written to ", r"  Method "):
        assert len(re.findall(f"^{line}", done.stdout, re.MULTILINE)) == 1, done.stdout
    _, epochs, record = outcome(root)
    assert epochs == [("train", epoch) for epoch in range(1, 6)]
    assert record["provenance"]["devices"] == 2 and record["provenance"]["images_per_device"] == 16
    again = ltrun(*KEYS, f"outputs={root}")
    assert again.returncode == 0 and "done before" in again.stdout
    (folder,) = (path.parent for path in root.rglob("result.json"))
    for command in (["report", str(root)], ["status", str(root)], ["show", str(folder)]):
        shown = ltrun(*command, WORLD_SIZE="1")
        assert shown.returncode == 0 and "erm" in shown.stdout
    rerun = ltrun("rerun", str(folder), f"outputs={root.parent / 'again'}")
    assert rerun.returncode == 0, rerun.stderr
    assert "devices 2 there, 1 here" in rerun.stdout


def test_a_killed_rank_ends_all_and_the_same_command_ends_bit_equal(
    whole: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    code, _, errors = cut_short(2, tmp_path, 1, signal.SIGKILL)
    assert code == 1
    assert said(errors)[0] == "ltrun: rank 1 gave no sign of life: the process was killed, or its machine failed"
    assert "The same command resumes" in errors or "interrupted" in errors
    assert run(2, *KEYS, f"outputs={tmp_path}").returncode == 0
    (weights, epochs, record), (weights2, epochs2, record2) = outcome(whole[1]), outcome(tmp_path)
    assert weights.keys() == weights2.keys()
    assert [name for name in weights if not torch.equal(weights[name], weights2[name])] == []
    assert (epochs, record["predictors"]) == (epochs2, record2["predictors"])


def test_a_killed_rank_0_is_told_once_and_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    """With runtime.sync_bn, two, four ranks and one process compute the same, up to roundings.

    Processors round differently: up to 2e-3 was measured, and 27e-3 without runtime.sync_bn.
    """
    slow = "optimizer.lr=0.001"  # at the usual rate, roundings grow a hundredfold in an epoch
    sync = ["runtime.sync_bn=true", slow]
    code, _, errors = cut_short(4, tmp_path / "grown", 0, signal.SIGKILL, *sync)
    assert code == 1
    told = said(errors)
    assert told[0] == "ltrun: rank 0 gave no sign of life: the process was killed, or its machine failed"
    assert len(told) == 2 and told[1].startswith("ltrun: interrupted; "), told
    done = run(2, *KEYS, *sync, f"outputs={tmp_path / 'grown'}")
    assert done.returncode == 0, done.stderr
    alone = [*PROGRAM, *KEYS, slow, f"outputs={tmp_path / 'alone'}"]
    subprocess.run(alone, env=environment(), check=True, capture_output=True)
    (weights, epochs, _), (weights2, epochs2, _) = outcome(tmp_path / "alone"), outcome(tmp_path / "grown")
    assert epochs == epochs2
    for name, tensor in weights.items():
        torch.testing.assert_close(weights2[name], tensor, rtol=6e-3, atol=6e-3, msg=name)


def test_sigterm_to_torchrun_is_told_by_rank_0_with_the_command_that_resumes(tmp_path: Path) -> None:
    code, output, errors = cut_short(2, tmp_path, None, signal.SIGTERM)
    assert code != 0
    assert output.count("resumes from the last checkpoint") + errors.count("resumes from the last checkpoint") == 1
    assert "torchrun --nproc-per-node 2 -m ltrun method=erm" in output + errors


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nokey=3"], "ltrun: there is no key or group 'nokey'"),
        (["batch_size=33"], "ltrun: batch_size: 33 is the number of images of all 2 ranks together, which cannot take equal"),
    ],
)
def test_a_refusal_is_one_sentence_before_the_data_are_opened(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = run(2, *KEYS, *words, f"outputs={tmp_path}")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    (told,) = said(done.stderr)
    assert told.startswith(sentence) and "classes" not in done.stdout


PLUGIN = '''"""A part that fails on rank 1."""

import os

from ltrun.logit_adjustment import CDT


class Fails(CDT):
    def forward(self, logits, labels, outputs):
        if os.environ["RANK"] == "1":
            raise ValueError("no memory here")
        return logits
'''


def test_a_sweep_goes_on_after_a_job_that_all_refuse_and_ends_with_one_that_fails_on_a_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ranksplugin.py").write_text(PLUGIN)
    sweep = ["-m", *KEYS, "epochs=1", "batch_size=33,64", f"outputs={tmp_path / 'runs'}"]
    done = run(2, *sweep)
    assert done.returncode == 1
    (told,) = said(done.stderr)
    assert "[batch_size=33" in told and "use 32 or 34" in told
    assert done.stdout.count("  Method ") == done.stdout.count("written to ") == 1
    part = ["plugins=[ranksplugin]", "logit_adjustment=cdt", "logit_adjustment.adjust._target_=ranksplugin.Fails"]
    failed = run(2, *sweep[:-2], "batch_size=64", "seed=1,2", sweep[-1], *part, PYTHONPATH=str(tmp_path))
    assert failed.returncode == 1
    told = said(failed.stderr)[0]
    assert told.startswith("ltrun: rank 1: ranksplugin.Fails raises ValueError: no memory here"), failed.stderr
    (log,) = (tmp_path / "runs").rglob("seed1/error.log")
    assert "Traceback" in log.read_text()
    assert not list((tmp_path / "runs").rglob("seed2"))

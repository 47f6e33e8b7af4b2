"""Sentences of the command line that depend on how its processes were started."""

from __future__ import annotations

import pytest

from ltrun import cli
from ltrun.machine import Terminated


@pytest.mark.parametrize(
    ("started", "again", "command"),
    [
        ({}, "The same command resumes", "ltrun method=erm 'seed=0, 1'"),
        (
            {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1", "RANK": "0"},
            "The same command resumes",
            "torchrun --nproc-per-node 4 -m ltrun method=erm 'seed=0, 1'",
        ),
        (
            {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "first.org"},
            "The same command, on every machine, resumes",
            "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint first.org:29400 --nproc-per-node 4 -m ltrun method=erm "
            "'seed=0, 1'",
        ),
    ],
)
def test_an_interrupted_training_says_the_command_that_resumes_it(
    started: dict[str, str], again: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(command: str, argv: list[str]) -> int:
        raise Terminated

    monkeypatch.setattr(cli, "_run", interrupted)
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    assert cli.dispatch(["method=erm", "seed=0, 1"]) == 143
    said = capsys.readouterr().out
    assert again in said and said.strip().splitlines()[-1].strip() == command

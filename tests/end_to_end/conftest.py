"""Fixtures of the end-to-end tests: command lines in an empty folder, the record of a finished run."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltrun.cli import dispatch
from tests.support.commands import PROGRAM, SHORT, Run, environment


@pytest.fixture
def ltrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """ltrun("method=erm", ...) runs a command line in an empty folder and returns its exit code, stdout and stderr.

    `env` extends the environment. The console script's function runs in this process, so nothing is imported twice.
    """
    for name in [name for name in os.environ if name.startswith("LTRUN_") and name != "LTRUN_CACHE"]:
        monkeypatch.delenv(name)
    for name, value in {"COLUMNS": "200", "HYDRA_FULL_ERROR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ltrun", *arguments])
            for name, value in env.items():
                patch.setenv(name, value)
            code = dispatch(list(arguments))
        output, errors = capfd.readouterr()
        return subprocess.CompletedProcess(["ltrun", *arguments], code, output, errors)

    yield run
    logging.getLogger("ltrun").handlers.clear()  # its handlers write to a closed stream


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The result.json of a run on digits."""
    folder = tmp_path_factory.mktemp("there")
    words = [*PROGRAM, "method=ldam_drw", *SHORT, "posthoc=ncm"]
    subprocess.run(words, cwd=folder, env=environment(), check=True, capture_output=True)
    (found,) = folder.rglob("result.json")
    return found.read_bytes()


@pytest.fixture
def result(recorded: bytes, tmp_path: Path) -> Path:
    """The record as a file from another machine."""
    (tmp_path / "theirs.json").write_bytes(recorded)
    return tmp_path / "theirs.json"

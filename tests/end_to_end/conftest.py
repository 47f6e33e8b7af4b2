"""The `ltrun` fixture of the end-to-end tests."""

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
    """ltrun("method=erm", ...) in an empty folder; `env` adds to the environment. Returns exit code and output as text.

    It calls the console script's function, which saves the imports of a process of its own.
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
    logging.getLogger("ltrun").handlers.clear()  # it writes to a stream that is gone now


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The record of a run of digits."""
    folder = tmp_path_factory.mktemp("there")
    words = [*PROGRAM, "method=ldam_drw", *SHORT, "posthoc=ncm"]
    subprocess.run(words, cwd=folder, env=environment(), check=True, capture_output=True)
    (found,) = folder.rglob("result.json")
    return found.read_bytes()


@pytest.fixture
def result(recorded: bytes, tmp_path: Path) -> Path:
    """The record, as it comes from elsewhere."""
    (tmp_path / "theirs.json").write_bytes(recorded)
    return tmp_path / "theirs.json"

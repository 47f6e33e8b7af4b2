"""`ltrun status`: one line per run for pipes, a table for terminals, JSON for programs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ltrun.commands.status import main
from ltrun.errors import DataError
from ltrun.results.folder import locked
from tests.support.recorded import record


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder with a finished, a failed and an unfinished run."""
    root = tmp_path / "outputs"
    folder = root / "digits_lt" / "erm" / "01234567"
    record("erm").save(folder / "seed0")
    for seed, name in ((1, "error.log"), (2, "metrics.jsonl")):
        (folder / f"seed{seed}").mkdir()
        (folder / f"seed{seed}" / name).write_text("no\ttabs\x1b[1m\nsecond line")
    return root


def test_a_pipe_gets_one_line_per_run_and_the_counts(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed3 = outputs / "digits_lt" / "erm" / "01234567" / "seed3"
    with locked(seed3, {"title": "erm on digits_lt, seed 3", "stages": {"train": 9}}):
        (seed3 / "metrics.jsonl").write_text('{"stage": "train", "epoch": 4, "seconds": 60}\n')
        assert main([str(outputs)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    rows = [line.split("\t") for line in lines]
    assert [row[0] for row in rows] == ["done", "failed", "unfinished", "running"] and {len(row) for row in rows} == {6}
    assert rows[1][3:] == ["erm (01234567) on digits_lt, seed 1", str(seed3.with_name("seed1")), "no tabs?[1m"]
    assert rows[3][1:5] == ["4/9", "5m00s", "erm on digits_lt, seed 3", str(seed3)]
    assert last == "1 done, 1 failed, 0 waiting, 1 unfinished, 1 running"


def test_json_holds_the_runs_the_counts_and_the_unread_files(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (outputs / "foreign").mkdir()
    (outputs / "foreign" / "metrics.jsonl").write_text("{}\n")
    assert main(["--json", str(outputs)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"done": 1, "failed": 1, "waiting": 0, "unfinished": 1, "running": 0}
    assert set(found["runs"][0]) == {"folder", "state", "title", "epoch", "epochs", "left", "reason"}
    assert found["unread"] == [f"{outputs / 'foreign' / 'metrics.jsonl'} is not from a run of ltrun"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    def shown(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("NO_COLOR", "1")
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        main([])
        return terminal.getvalue()

    return shown


@pytest.mark.parametrize("columns", [200, 60, 40])
def test_a_terminal_gets_a_table(
    columns: int, outputs: Path, screen: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LTRUN_OUTPUTS", raising=False)
    monkeypatch.chdir(outputs.parent)
    text = screen(columns)
    for word in (
        "Epochs",
        "Left",
        "Run",
        "done",
        "failed",
        "unfinished",
        "1 done, 1 failed, 0 waiting, 1 unfinished, 0 running",
    ):
        assert word in text
    assert "\t" not in text and max(map(len, text.splitlines()[:-1])) < 20 * columns


def test_an_empty_folder_has_no_runs_and_a_missing_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 done, 0 failed, 0 waiting, 0 unfinished, 0 running\n"
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        main([str(tmp_path / "nowhere")])


def test_a_missing_folder_is_named_and_the_other_folders_are_listed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), str(outputs / "nowhere")]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("1 done, 1 failed, 0 waiting, 1 unfinished, 0 running\n")
    assert "nowhere is not a folder" in printed.err

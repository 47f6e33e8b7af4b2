"""Standard streams: runs survive full, closed and redirected output, closed terminals and missing file locks."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import environment

LTRUN = f"{shlex.quote(sys.executable)} -m ltrun"
ERM = f"{LTRUN} method=erm dataset=digits_lt epochs=1 outputs=runs"
BARS = "\x1b[?25l"  # hides the cursor, as long as bars are drawn


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a line in bash; the exit code comes from the first command of a pipe."""
    script = f"{line}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment(**env), capture_output=True, text=True)


def trained(folder: Path) -> bool:
    return len(list(folder.rglob("result.json"))) == 1


@pytest.mark.parametrize(
    ("redirection", "told"),
    [
        ("> /dev/full", "No space left on device"),
        ("| head -n 1", "Broken pipe"),
        ("| true", "Broken pipe"),
        (">&-", ""),
        ("> /dev/full 2>&1", ""),
        ("2> /dev/full", ""),
        ("0>&- >&- 2>&-", ""),
    ],
)
def test_a_run_outlives_its_output(redirection: str, told: str, tmp_path: Path) -> None:
    done = shell(f"{ERM} {redirection}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trained(tmp_path) and not list(tmp_path.rglob("error.log"))
    assert "Traceback" not in done.stderr
    if told:
        assert f"standard output cannot be written to ({told}); the work continues" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["runtime.pack=2", "hydra/launcher=joblib hydra.launcher.n_jobs=1", "runtime.pack=1"])
def test_a_sweep_outlives_its_output(launcher: str, tmp_path: Path) -> None:
    done = shell(f"{LTRUN} -m seed=0,1 dataset=digits_lt epochs=2 outputs=runs {launcher} | head -n 1", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.rglob("result.json"))) == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["methods", "--help", "data dataset=digits_lt"])
def test_a_command_that_only_prints_fails_if_its_output_is_lost(command: str, tmp_path: Path) -> None:
    full = shell(f"{LTRUN} {command} > /dev/full", tmp_path)
    assert full.returncode == 1
    assert full.stderr == "ltrun: standard output cannot be written to (No space left on device)\n"
    head = shell(f"{LTRUN} {command} | head -n 1", tmp_path)
    assert (head.returncode, head.stderr) == (0, "")


PRINTING = (  # evaluation.many=1000 leaves a group without classes, whose cell is a dash
    "-m seed=0,1 dataset=digits_lt epochs=1 evaluation.many=1000 posthoc=tau_norm outputs=runs", "report runs", "methods",
    "data dataset=digits_lt", "status runs", *(f"report runs --{form}" for form in ("markdown", "latex", "csv")),
)  # fmt: skip
IN_TURN = """
import sys
from ltrun import streams
from ltrun.cli import dispatch
streams.guard()
for command in sys.argv[1:]:
    code = dispatch(command.split())
    assert code == 0, (command, code)
    print("end of a command")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},  # latin-1 lacks no character that ascii has
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda env: "-".join(env.values()),
)
def test_every_table_is_written_in_any_encoding(env: dict[str, str], tmp_path: Path) -> None:
    """All commands run in one process, because each start of torch takes seconds."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, *PRINTING], cwd=tmp_path, env=environment(**env), capture_output=True
    )  # bytes, because they are not UTF-8
    assert done.returncode == 0, done.stderr
    assert b"Error" not in done.stdout + done.stderr
    *printed, last = (part.strip() for part in done.stdout.split(b"end of a command"))
    assert len(printed) == len(PRINTING) and all(printed) and not last


def test_forced_colours_draw_no_bar_in_a_file(tmp_path: Path) -> None:
    done = shell(f"{ERM} epochs=10 evaluation.every=10", tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0
    assert "\x1b[" in done.stdout, "colour"
    assert BARS not in done.stdout and "\x1b[2K" not in done.stdout and len(done.stdout) < 3000


def on_a_terminal(line: str, folder: Path, until: str = "", **env: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Runs a line in the foreground of a new terminal; closes the terminal once it has shown `until`."""
    master, slave = pty.openpty()
    command = ["setsid", "--ctty", "bash", "-c", f"exec {line}"]
    process = subprocess.Popen(command, cwd=folder, env=environment(**env), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen, end = "", time.monotonic() + 120
    while time.monotonic() < end and not (until and until in seen):
        if select.select([master], [], [], 0.2)[0]:
            try:
                seen += os.read(master, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
        elif process.poll() is not None:
            break
    os.close(master)
    return seen, process


@pytest.mark.parametrize(
    ("env", "bars"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "CI": "1"}, False)],
    ids=["xterm", "dumb", "ci"],
)
def test_a_terminal_shows_a_bar_if_it_can_redraw_lines(env: dict[str, str], bars: bool, tmp_path: Path) -> None:
    shown, process = on_a_terminal(f"{ERM} epochs=6", tmp_path, **{"CI": "", "NO_COLOR": "", **env})
    assert process.wait(60) == 0, shown
    assert (BARS in shown) is bars


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "until", "runs"), [("epochs=20", "digits_lt", 1), ("epochs=8 -m seed=0,1,2 runtime.pack=2", "1/3", 3)]
)
def test_a_closed_terminal_does_not_end_a_run(sweep: str, until: str, runs: int, tmp_path: Path) -> None:
    """The kernel sends SIGHUP to the processes of the terminal, and their writes fail."""
    line = f"{LTRUN} method=erm dataset=digits_lt outputs=runs {sweep}"
    shown, process = on_a_terminal(line, tmp_path, until=until, TERM="dumb")
    done = len(list(tmp_path.rglob("result.json")))
    assert process.wait(120) == 0
    assert until in shown and done < runs == len(list(tmp_path.rglob("result.json")))


@pytest.mark.slow
@pytest.mark.parametrize("code", [38, 22], ids=lambda code: os.strerror(code))
def test_a_sweep_trains_on_a_file_system_without_locks(code: int, tmp_path: Path) -> None:
    shim = f"import fcntl\ndef flock(*_): raise OSError({code}, {os.strerror(code)!r})\nfcntl.flock = flock\n"
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "sitecustomize.py").write_text(shim)
    path = os.pathsep.join([str(tmp_path / "shim"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = shell(f"{LTRUN} -m seed=0,1 runtime.pack=2 dataset=digits_lt epochs=1 outputs=runs", tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("files cannot be locked") == 1
    assert len(list(tmp_path.rglob("result.json"))) == 2

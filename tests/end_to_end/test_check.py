"""`ltrun check` in a process of its own, as a user types it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.support.commands import PROGRAM, environment, refused
from tests.support.files import write_files
from tests.support.mypackage import FILES, INIT, PART


def checked(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command, own = [*PROGRAM, "check", "mypackage", "--config-dir", "options", *argv], environment(PYTHONPATH=".")
    return subprocess.run(command, cwd=folder, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def test_a_class_of_a_package_that_lies_here_is_checked(tmp_path: Path) -> None:
    done = checked(write_files(tmp_path, FILES), "CDT", "mypackage")
    assert done.returncode == 0, done.stdout + done.stderr
    folder, package, part, summary = done.stdout.splitlines()
    assert folder == "options are also read from options"
    assert package.split() == ["mypackage", "6", "contracts", "hold"]
    assert part.split() == ["mypackage.CDT", "5", "contracts", "hold"]
    assert summary.startswith("11 contracts of 2 subjects, in ")


def test_a_package_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    done = checked(write_files(tmp_path, FILES | {PART: "class CDT(:\n"}))
    said = f"ltrun: mypackage cannot be imported: SyntaxError: invalid syntax ({tmp_path / PART}, line 1); correct it there"
    assert refused(done) == said


def test_an_interruption_promises_no_checkpoint(tmp_path: Path) -> None:
    write_files(tmp_path, FILES | {INIT: "import pathlib, time\n\npathlib.Path('begun').touch()\ntime.sleep(60)\n"})
    words = [*PROGRAM, "check", "mypackage"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(PYTHONPATH="."), stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "", "\nltrun: interrupted\n")


def test_on_a_terminal_progress_is_shown_and_is_not_what_the_package_prints(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    own = environment(PYTHONPATH=".", TERM="xterm-256color", CI="")
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "check", "mypackage", "--config-dir", "options", "mypackage"]
    running = subprocess.Popen(command, cwd=tmp_path, env=own, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the terminal of a process that has ended
        pass
    finally:
        os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert running.wait() == 0, text
    assert "importing mypackage" in text and "1 of 1: mypackage: every part is exported" in text
    assert "6 contracts of mypackage, in" in text

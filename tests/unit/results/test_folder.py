"""The lock of a run: one process holds and signs it; training goes on where files cannot be locked."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from socket import gethostname

import pytest

from ltrun.errors import BusyError, ConfigError
from ltrun.machine import began
from ltrun.results import folder as folders
from ltrun.results.address import LOCK
from ltrun.results.folder import failure, is_held, is_trained, locked, signed


def unlockable(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(folders, "_warned", False)


@pytest.mark.parametrize("name", ["ENOSYS", "ENOTSUP", "EINVAL", "ENOLCK", "EIO", "EPERM", "EOPNOTSUPP", "EBADF"])
def test_a_file_system_without_locks_is_warned_of_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlockable(monkeypatch, getattr(errno, name))
    with caplog.at_level(logging.INFO, "ltrun"):
        for seed in range(2):
            with locked(tmp_path / str(seed), {"title": "erm"}):
                assert is_held(tmp_path / str(seed)) is None and signed(tmp_path / str(seed))["title"] == "erm"
    assert sum("files cannot be locked" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("name", ["EWOULDBLOCK", "EACCES"])
def test_a_run_that_another_process_holds_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlockable(monkeypatch, getattr(errno, name))
    with pytest.raises(BusyError, match="another process is training"), locked(tmp_path):
        pass
    (tmp_path / LOCK).touch()
    assert is_held(tmp_path) is True


def test_the_refusal_names_the_process_and_leaves_what_it_wrote(tmp_path: Path) -> None:
    with locked(tmp_path, {"title": "erm", "stages": {"train": 3}}):
        with pytest.raises(BusyError, match=rf"another process \({os.getpid()} on .+\) is training"), locked(tmp_path):
            pass
        assert signed(tmp_path)["stages"] == {"train": 3} and is_held(tmp_path)
    assert is_held(tmp_path) is False and signed(tmp_path)["title"] == "erm", "of a run that has been cut short, too"


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from ltrun.results.folder import locked\n"
    code += "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with locked(tmp_path):
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_without_locks_a_living_process_of_this_machine_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlockable(monkeypatch, errno.ENOLCK)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    said = {"title": "erm", "process": other.pid, "machine": gethostname(), "since": began(other.pid)}
    (tmp_path / LOCK).write_text(json.dumps(said))
    try:
        with pytest.raises(BusyError, match=rf"another process \({other.pid} on "), locked(tmp_path, {"title": "mine"}):
            pass
        assert is_trained(tmp_path) and signed(tmp_path) == said, "the refused process signs nothing"
        (tmp_path / LOCK).write_text(json.dumps(said | {"since": 1}))
        assert not is_trained(tmp_path), "another process that has its number by now"
        (tmp_path / LOCK).write_text(json.dumps(said))
    finally:
        other.communicate(b"\n", timeout=60)
    with locked(tmp_path, {"title": "mine"}):
        assert signed(tmp_path)["process"] == os.getpid() and not is_trained(tmp_path), "its own run"
    assert "process" not in signed(tmp_path), "this process goes on with other runs"


def test_asking_who_trains_refuses_no_run(tmp_path: Path) -> None:
    stop = threading.Event()
    with locked(tmp_path):
        pass

    def ask() -> None:
        while not stop.is_set():
            is_held(tmp_path)
            time.sleep(0.0005)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            with locked(tmp_path):
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("said", [b"", b"{", b"[1]", b"\xff\0", b"null", b"[" * 60_000])
def test_an_empty_or_damaged_lock_is_no_error(said: bytes, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(said)
    assert signed(tmp_path) == {}
    with locked(tmp_path), pytest.raises(BusyError), locked(tmp_path):
        pass


def test_a_full_disk_does_not_prevent_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path, {"title": "erm"}):
        assert is_held(tmp_path)


def test_a_folder_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="outputs: cannot write to"), locked(tmp_path / "file" / "run"):
        pass


def test_a_reason_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert failure(tmp_path) is None
    (tmp_path / "error.log").write_bytes("Bär – no\nTraceback".encode())
    assert failure(tmp_path) == "Bär – no"

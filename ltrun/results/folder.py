"""The folder of a run: its lock, the old results that a forced run sets aside, and why its job failed."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from typing import Any

from ltrun.errors import BusyError, ConfigError
from ltrun.machine import began
from ltrun.results.address import ERROR, LOCK, MANIFEST, RESULT

ASIDE = ".before"  # suffix of an old result and its manifest until a forced sweep reaches their run
HELD = {errno.EWOULDBLOCK, errno.EACCES}  # any other error means that files cannot be locked
PAUSES = 0.02, 0.05, 0.1  # seconds between attempts, because `is_held` holds the lock for a moment, too
SETTLED = 0.1  # seconds after which two processes that begin at once have both written
LARGEST = 2**16  # bytes of a lock file that are read

log = logging.getLogger(__name__)
_warned = False  # whether the warning that files cannot be locked was given


def made(folder: Path) -> Path:
    """Makes the folder if it is missing, and returns it. Raises ConfigError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


@contextmanager
def locked(folder: Path, job: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Makes the folder of a run and locks it, so that two processes never train the same run. A kill frees the lock.

    job: content of the lock file beside the process and its machine: `title`, and `stages` with the epochs of each stage.
    If files cannot be locked, warns once, and relies on the content of the lock file, which says who trains on this machine.
    Raises ConfigError for a folder that cannot be written to, and BusyError for a folder that another process holds.
    """
    try:
        lock = os.open(made(folder) / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(folder, error) from None
    exact = True
    try:
        exact = _hold(lock, folder)
        if job is not None:
            mine = {**job, "process": os.getpid(), "machine": gethostname(), "since": began(os.getpid())}
            _sign(lock, mine)
            if not exact:
                time.sleep(SETTLED)
                if lives(signed(folder)):  # of two processes that begin in the same moment, the later writer trains
                    raise _busy(folder)
        try:
            yield
        finally:
            if not exact and job is not None:
                _sign(lock, job)
    finally:
        os.close(lock)


def _sign(lock: int, content: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the disk is full: the first checkpoint will say so
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(content).encode(), 0)


def _hold(lock: int, folder: Path) -> bool:
    """Returns whether the lock is held, or else files cannot be locked. Raises BusyError."""
    for pause in (*PAUSES, None):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                _warn_once(error)
                if lives(signed(folder)):
                    raise _busy(folder) from None
                return False
            if pause is None:
                raise _busy(folder) from None
            time.sleep(pause)
        else:
            break
    return True


def _busy(folder: Path) -> BusyError:
    return BusyError(f"another process{whose(folder)} is training {folder}; wait for it, or stop it")


def lives(said: Mapping[str, Any]) -> bool:
    """Whether another process of this machine is the one that wrote this into a lock file, as far as the system shows it."""
    process = said.get("process")
    if said.get("machine") != gethostname() or not isinstance(process, int) or process == os.getpid():
        return False
    since = began(process)
    return since is not None and since == said.get("since")


def is_trained(folder: Path) -> bool:
    """Whether another process is training the run of a folder; where files cannot be locked, another one of this machine."""
    held = is_held(folder)
    return lives(signed(folder)) if held is None else held


def is_held(folder: Path) -> bool | None:
    """Returns whether a process is training the run of a folder; None if files cannot be locked there."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in HELD else None
    finally:
        os.close(lock)
    return False


def signed(folder: Path) -> dict[str, Any]:
    """Returns what the last process that held a folder wrote into the lock file; {} if there is nothing readable."""
    try:
        with (folder / LOCK).open("rb") as file:
            said = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def whose(folder: Path) -> str:
    """Returns ' (PROCESS on MACHINE)' of the process that holds a folder, or held it last; '' if that is not known."""
    said = signed(folder)
    return f" ({said['process']} on {said['machine']})" if {"process", "machine"} <= said.keys() else ""


def _warn_once(error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        log.warning(
            f"files cannot be locked where results are written ({error.strerror}); the run goes on, but ltrun would not notice "
            "a second machine that trains the same run: start each run on one machine"
        )


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"outputs: cannot write to {folder} ({error.strerror}); give a folder of your own with outputs=DIR")


def set_aside(folder: Path) -> None:
    """Renames the old result and manifest, so that they do not count as the result of a forced sweep; see `put_back`.

    Leaves alone a run that another process is training.
    """
    if not folder.is_dir():
        return
    try:
        with locked(folder):
            for name in (MANIFEST, RESULT):
                if (folder / name).exists():
                    (folder / name).replace(folder / f"{name}{ASIDE}")
    except (BusyError, ConfigError):  # the run itself will report the error
        return


def put_back(folder: Path) -> None:
    """Restores what `set_aside` renamed, for a run that was refused before it restarted."""
    for name in (MANIFEST, RESULT):
        aside = folder / f"{name}{ASIDE}"
        if aside.exists() and not (folder / name).exists():
            aside.replace(folder / name)


def reset(folder: Path) -> None:
    """Deletes the old result and checkpoints, so that a run that is interrupted resumes from its own checkpoints."""
    aside = folder / f"{MANIFEST}{ASIDE}"  # while it exists, checkpoints do not count: a kill may come at any moment
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).replace(aside)
    else:
        aside.touch()
    for path in (folder / RESULT, *folder.glob("*.pt")):
        path.unlink(missing_ok=True)
    drop_aside(folder)


def has_begun(folder: Path) -> bool:
    """Whether a forced run, for which `set_aside` made room, has checkpoints of its own."""
    return (folder / MANIFEST).exists() and not (folder / f"{MANIFEST}{ASIDE}").exists()


def drop_aside(folder: Path) -> None:
    for name in (MANIFEST, RESULT):
        (folder / f"{name}{ASIDE}").unlink(missing_ok=True)


def failure(folder: Path) -> str | None:
    """Returns why the job of a folder failed, or None."""
    try:
        return (folder / ERROR).read_text("utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None

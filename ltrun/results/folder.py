"""The folder of a run: who holds it, what it held before a forced run, and why its job failed."""

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
from ltrun.results.address import ERROR, LOCK, MANIFEST, RESULT

ASIDE = ".before"  # added to the names of a result and its checkpoints while a forced sweep has not come to their run
HELD = {errno.EWOULDBLOCK, errno.EACCES}  # any other error of a lock says that there are no locks
PAUSES = 0.02, 0.05, 0.1  # seconds: `is_held` holds a lock for a moment, too
LARGEST = 2**16  # bytes of a lock's file that are read

log = logging.getLogger(__name__)
_warned = False  # that files cannot be locked


def made(folder: Path) -> Path:
    """The folder, which is made if it is missing. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


@contextmanager
def locked(folder: Path, job: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Makes the folder of a run and holds it: two processes never train the same run. The kernel frees the lock on a kill.

    job: what the lock's file says of the run, beside the process and its machine: `title`, and `stages`, the epochs of each.
    Where files cannot be locked, says so once and goes on. Raises ConfigError for a folder that cannot be written to, and
    BusyError for one that another process holds.
    """
    try:
        lock = os.open(made(folder) / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        _hold(lock, folder)
        if job is not None:
            with suppress(OSError):  # the disk is full: the first checkpoint will say so
                os.ftruncate(lock, 0)
                os.pwrite(lock, json.dumps({**job, "process": os.getpid(), "machine": gethostname()}).encode(), 0)
        yield
    finally:
        os.close(lock)


def _hold(lock: int, folder: Path) -> None:
    for pause in (*PAUSES, None):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                _warn_once(error)
                return
            if pause is None:
                raise BusyError(f"another process{_whose(folder)} is training {folder}; wait for it, or stop it") from None
            time.sleep(pause)
        else:
            return


def is_held(folder: Path) -> bool | None:
    """Whether a process is training the run of a folder; None where that cannot be known, as files cannot be locked there."""
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
    """What the last process that held a folder has written about its run; {} for nothing, or nothing that can be read."""
    try:
        with (folder / LOCK).open("rb") as file:
            said = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _whose(folder: Path) -> str:
    said = signed(folder)
    return f" ({said['process']} on {said['machine']})" if {"process", "machine"} <= said.keys() else ""


def _warn_once(error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        log.warning(
            f"files cannot be locked where results are written ({error.strerror}); the run goes on, but ltrun would not notice "
            "a second process that trains the same run: start each run once"
        )


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"outputs: cannot write to {folder} ({error.strerror}); give a folder of your own with outputs=DIR")


def set_aside(folder: Path) -> None:
    """Has nothing of before pass for the result of a forced sweep, and loses nothing: see `put_back`.

    A run that another process is training is left alone.
    """
    if not folder.is_dir():
        return
    try:
        with locked(folder):
            for name in (MANIFEST, RESULT):
                if (folder / name).exists():
                    (folder / name).replace(folder / f"{name}{ASIDE}")
    except (BusyError, ConfigError):  # of which the run itself will tell
        return


def put_back(folder: Path) -> None:
    """Gives a run that was refused before it began anew what was set aside."""
    for name in (MANIFEST, RESULT):
        aside = folder / f"{name}{ASIDE}"
        if aside.exists() and not (folder / name).exists():
            aside.replace(folder / name)


def reset(folder: Path) -> None:
    """Has a run begin anew: if it is cut short, nothing of before passes for its result, and it goes on from its own."""
    aside = folder / f"{MANIFEST}{ASIDE}"  # while it lies there, checkpoints count no more: a kill may come at any moment
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).replace(aside)
    else:
        aside.touch()
    for path in (folder / RESULT, *folder.glob("*.pt")):
        path.unlink(missing_ok=True)
    drop_aside(folder)


def drop_aside(folder: Path) -> None:
    for name in (MANIFEST, RESULT):
        (folder / f"{name}{ASIDE}").unlink(missing_ok=True)


def failure(folder: Path) -> str | None:
    """Why the job of a folder failed, or None."""
    try:
        return (folder / ERROR).read_text("utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None

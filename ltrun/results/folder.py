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
from ltrun.results.address import ERROR, LOCK, MANIFEST, RESULT

ASIDE = ".before"  # suffix of an old result and its manifest until a forced sweep reaches their run
HELD = {errno.EWOULDBLOCK, errno.EACCES}  # any other error means that files cannot be locked
PAUSES = 0.02, 0.05, 0.1  # seconds between attempts, because `is_held` holds the lock for a moment, too
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
    If files cannot be locked, warns once and goes on. Raises ConfigError for a folder that cannot be written to, and
    BusyError for a folder that another process holds.
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

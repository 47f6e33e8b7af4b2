"""The folder of a run: who holds it, what it held before a forced run, and why its job failed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltrun.errors import BusyError, ConfigError
from ltrun.results.address import ERROR, MANIFEST, RESULT

ASIDE = ".before"  # added to the names of a result and its checkpoints while a forced sweep has not come to their run


def made(folder: Path) -> Path:
    """The folder, which is made if it is missing. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder of a run and holds it: two processes never train the same run. The kernel frees the lock on a kill.

    Raises ConfigError for a folder that cannot be written to, and BusyError for one that another process holds.
    """
    try:
        lock = (made(folder) / ".lock").open("w")
    except OSError as error:
        raise _unwritable(folder, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"another process is training {folder}; wait for it, or stop it") from None
        yield


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
    for name in (MANIFEST, RESULT):
        (folder / name).unlink(missing_ok=True)
    drop_aside(folder)


def drop_aside(folder: Path) -> None:
    for name in (MANIFEST, RESULT):
        (folder / f"{name}{ASIDE}").unlink(missing_ok=True)


def failure(folder: Path) -> str | None:
    """Why the job of a folder failed, or None."""
    try:
        return (folder / ERROR).read_text(errors="replace").partition("\n")[0]
    except OSError:
        return None

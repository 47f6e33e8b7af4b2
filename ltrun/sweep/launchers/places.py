"""Places on the GPUs of a machine: file locks that all commands of a user share, so that no two jobs train on one place."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltrun.errors import ConfigError

PAUSE = 0.2  # seconds between two looks for a free place
_held: list[int] = []  # descriptors of the locks of this process, which it keeps until it ends


@dataclass(frozen=True)
class Place:
    """A slot of a GPU. visible: the GPU's name in CUDA_VISIBLE_DEVICES. lock: the place's name, the same in all commands."""

    visible: str
    lock: str


def places_of(gpus: Sequence[tuple[str, str]], slots: int) -> list[Place]:
    """Returns the places of GPUs, the first slot of each GPU before any second one.

    gpus: the name of each in CUDA_VISIBLE_DEVICES, and an identifier that does not depend on it.
    """
    return [Place(visible, f"{identifier}.{slot}") for slot in range(slots) for visible, identifier in gpus]


def folder_of_locks() -> Path:
    """Returns the folder of the locks, below the user's temporary folder.

    Raises ConfigError if it cannot be made, belongs to somebody else, or is on a file system without locks.
    """
    folder = Path(tempfile.gettempdir()) / f"ltrun-gpu-{os.getuid()}"
    way_out = "give another folder with TMPDIR=DIR, the same in all commands that share the GPUs"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise ConfigError(f"{folder} belongs to somebody else, who could keep the GPUs from this command: {way_out}")
        os.close(_locked(folder / "probe", wait=True))
    except OSError as error:
        raise ConfigError(f"the GPUs cannot be shared by file locks in {folder} ({error.strerror}): {way_out}") from None
    return folder


def occupy(folder: Path, places: Sequence[Place]) -> Place:
    """Waits for a free place, and has CUDA see no other GPU than its own. CUDA must not have begun in this process.

    The place is free again as soon as this process and the processes forked from it have ended, however they end.
    """
    while True:
        for place in places:
            try:
                _held.append(_locked(folder / place.lock, wait=False))
            except BlockingIOError:
                continue
            os.environ["CUDA_VISIBLE_DEVICES"] = place.visible
            return place
        time.sleep(PAUSE)


def _locked(file: Path, wait: bool) -> int:
    """Returns the descriptor of a locked file. The file stays: a removed one could be locked twice. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor

"""Memory-mapped temporary files: tensors of a whole split that need not fit into memory."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.results.atomic import FULL

LARGE = 2**28  # bytes; a larger tensor lies in a file


def empty(shape: Sequence[int], dtype: torch.dtype, what: str) -> Tensor:
    """Returns a tensor on the host without values: in memory, or, if it is large, in a file that is unlinked at once.

    The file is in $TMPDIR, or else in /var/tmp, which lies on a disk where /tmp may lie in memory. It has no name, so that
    nothing is left behind even after a kill; its space is taken at once, so that a full disk is found here. what: names the
    contents in the sentence. Raises TrainingError if the disk lacks room.
    """
    size = prod(shape) * torch.empty((), dtype=dtype).element_size()
    if size <= LARGE:
        return torch.empty(*shape, dtype=dtype)
    folder = _folder()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            space = mmap.mmap(file.fileno(), size)
    except OSError as error:
        reason = f"{folder} has {_shown(_room(folder))} left" if error.errno in FULL else f"{folder}: {error.strerror or error}"
        raise TrainingError(
            f"TMPDIR: {what} take {_shown(size)}, and {reason}; set TMPDIR to a folder of a disk with more room, and repeat "
            "the command"
        ) from None
    return torch.frombuffer(space, dtype=dtype).view(*shape)


def _folder() -> Path:
    there = os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
    return Path(there)


def _room(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB"

"""Image files decoded while the network trains, by processes of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.data.images import Decoding, decode_all, unreadable
from ltrun.errors import DataError
from ltrun.machine import end_with_parent, shorten_sockets

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

MOST = 16  # processes, unless told otherwise
Read = tuple[Tensor, dict[int, str]]


class Files:
    """Image files as a loader's data set. An array of names, because a list of paths would be copied to every process bit by
    bit, as each counts its references."""

    def __init__(self, paths: Sequence[Path], how: Decoding) -> None:
        self.names, self.how = np.array([os.fsencode(path) for path in paths]), how

    def path(self, row: int) -> Path:
        return Path(os.fsdecode(self.names[row]))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: list[int]) -> Read:
        """(B, 3, size, size) uint8, and the reasons of the rows that cannot be read: an exception would come with the
        worker's traceback instead of the file's name."""
        images, reasons = decode_all([self.path(row) for row in rows], self.how, threads=1)
        return torch.from_numpy(images), {rows[i]: reason for i, reason in reasons.items()}


class Decoders:
    """Loaders that live as long as this object: as many as were ever open at once, each with `workers` processes.

    A loader whose epoch is over, or was given up midway, waits for the next, so that no epoch pays for starting processes.
    The processes end with the one that started them. workers: 0 decodes in the caller's process; None is as many as torch
    has threads, up to MOST, so that runs that share a machine share its cores. pinned: batches lie in page-locked memory,
    from which a GPU copies by itself.
    """

    def __init__(self, paths: Sequence[Path], how: Decoding, workers: int | None, pinned: bool) -> None:
        self.files, self.pinned = Files(paths, how), pinned
        self.workers = min(torch.get_num_threads(), MOST) if workers is None else workers
        self.idle: list[DataLoader[Read]] = []

    def read(self, plan: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """(B, 3, size, size) uint8 for each array of file numbers, in that order. Raises DataError."""
        loader = self.idle.pop() if self.idle else self._loader()
        loader.sampler[:] = [rows.tolist() for rows in plan]  # type: ignore[index]
        try:
            for images, reasons in loader:
                for row, reason in reasons.items():
                    raise unreadable(self.files.path(row), reason)
                yield images
        except RuntimeError as error:  # so DataLoader says that a process of its own was killed
            loader = self._loader()  # which starts processes only when it is read
            raise DataError(self._died(error)) from None
        finally:
            self.idle.append(loader)

    def _loader(self) -> DataLoader[Read]:
        from torch.utils.data import DataLoader

        if self.workers:
            try:
                shorten_sockets()  # batches come through one
            except OSError as error:
                raise DataError(f"no process can decode images ({error.strerror}): dataset.workers=0 decodes without") from None
        return DataLoader(
            self.files,  # type: ignore[arg-type]
            batch_size=None,  # the sampler's items are whole batches
            sampler=[],
            num_workers=self.workers,
            # Children of this process; in a packed sweep, Python's default would be children of a server.
            multiprocessing_context="fork" if self.workers and sys.platform == "linux" else None,
            persistent_workers=self.workers > 0,
            pin_memory=self.pinned,
            worker_init_fn=_begin,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            generator=torch.Generator(),  # or it would draw from torch's own, on which training depends
        )

    def _died(self, error: RuntimeError) -> str:
        reason = str(error).partition(". ")[0]
        return (
            f"a process that decodes images was killed, perhaps for want of memory, or of room in /dev/shm ({reason}): "
            f"give fewer than dataset.workers={self.workers}, or 0 to decode without"
        )


def _begin(worker: int) -> None:
    """Workers look for a parent that was killed every five seconds only."""
    end_with_parent()


def _as_it_is(read: Read) -> Read:
    return read

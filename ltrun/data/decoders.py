"""Decoding of image files in worker processes, while the network trains."""

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

MOST = 16  # worker processes, unless `workers` says otherwise
Read = tuple[Tensor, dict[int, str]]


class Files:
    """Image files as the data set of a DataLoader. Their names are one array, because reading a list of paths counts references
    and so copies the list's memory to every worker."""

    def __init__(self, paths: Sequence[Path], how: Decoding) -> None:
        self.names, self.how = np.array([os.fsencode(path) for path in paths]), how

    def path(self, row: int) -> Path:
        return Path(os.fsdecode(self.names[row]))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: list[int]) -> Read:
        """Returns (B, 3, size, size) uint8, and row -> why its file is unreadable: an exception would show the worker's
        traceback instead of the file's name."""
        images, reasons = decode_all([self.path(row) for row in rows], self.how, threads=1)
        return torch.from_numpy(images), {rows[i]: reason for i, reason in reasons.items()}


class Decoders:
    """A pool of DataLoaders, as many as were ever open at once, each with `workers` processes. They live as long as the pool.

    A loader whose epoch has ended, or was given up midway, serves the next epoch, so that no epoch pays for starting processes.
    The processes end with their parent. workers: 0 decodes in the caller's process; None is one process per thread of torch, up
    to MOST, so that runs that share a machine share its cores. pinned: whether batches lie in page-locked memory, from which a
    GPU copies by itself.
    """

    def __init__(self, paths: Sequence[Path], how: Decoding, workers: int | None, pinned: bool) -> None:
        self.files, self.pinned = Files(paths, how), pinned
        self.workers = min(torch.get_num_threads(), MOST) if workers is None else workers
        self.idle: list[DataLoader[Read]] = []

    def read(self, plan: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """Yields (B, 3, size, size) uint8 for each array of file numbers, in that order. Raises DataError."""
        for images, reasons in self.attempt(plan):
            for row, reason in reasons.items():
                raise unreadable(self.files.path(row), reason)
            yield images

    def attempt(self, plan: Sequence[NDArray[np.int64]]) -> Iterator[Read]:
        """Yields what `read` yields, and file number -> why the file is unreadable; the pixels of such a row are zero."""
        loader = self.idle.pop() if self.idle else self._loader()
        loader.sampler[:] = [rows.tolist() for rows in plan]  # type: ignore[index]
        try:
            yield from loader
        except RuntimeError as error:  # DataLoader raises it when a worker was killed
            loader = self._loader()  # starts processes only when it is read
            raise DataError(self._died(error)) from None
        finally:
            self.idle.append(loader)

    def _loader(self) -> DataLoader[Read]:
        from torch.utils.data import DataLoader

        if self.workers:
            try:
                shorten_sockets()  # batches come through a socket
            except OSError as error:
                raise DataError(f"no worker can decode images ({error.strerror}): dataset.workers=0 decodes without") from None
        return DataLoader(
            self.files,  # type: ignore[arg-type]
            batch_size=None,  # the sampler's items are whole batches
            sampler=[],
            num_workers=self.workers,
            # Fork, for children of this process: in a packed sweep, Python's default would start children of a server.
            multiprocessing_context="fork" if self.workers and sys.platform == "linux" else None,
            persistent_workers=self.workers > 0,
            pin_memory=self.pinned,
            worker_init_fn=_begin,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            generator=torch.Generator(),  # the default would draw from torch's generator, on which training depends
        )

    def _died(self, error: RuntimeError) -> str:
        reason = str(error).partition(". ")[0]
        return (
            f"a worker that decodes images was killed, perhaps because memory or /dev/shm was full ({reason}): "
            f"give fewer than dataset.workers={self.workers}, or 0 to decode without workers"
        )


def _begin(worker: int) -> None:
    """Ends a worker with its parent. A worker itself looks only every five seconds whether its parent was killed."""
    end_with_parent()


def _as_it_is(read: Read) -> Read:
    return read

"""Decoding of images in worker processes, while the network trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.data.containers import Container
from ltrun.data.crop import Draws, uniform
from ltrun.data.images import Decoding, Encoded, decode_all, explained, quiet, unreadable
from ltrun.errors import DataError
from ltrun.machine import end_with_parent, shorten_sockets

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

MOST = 16  # worker processes, unless `workers` says otherwise
Read = tuple[Tensor, dict[int, str]]


class Order(NamedTuple):
    """What a worker decodes: (B,) numbers of images, and their random crops; None for the view of evaluation."""

    images: NDArray[np.int64]
    draws: Draws | None = None


class Images:
    """A container as the data set of a DataLoader, whose items are whole batches."""

    def __init__(self, container: Container, how: Decoding) -> None:
        self.container, self.how = container, how

    def __len__(self) -> int:
        return len(self.container)

    def __getitem__(self, order: Order) -> Read:
        """Returns (B, 3, size, size) uint8, and image -> why it is unreadable: an exception would show the worker's traceback
        instead of the image's name."""
        numbers = order.images.tolist()
        sources: list[Encoded] = [partial(self.container.read, number) for number in numbers]
        if order.draws is None:
            images, found = decode_all(sources, self.how, threads=1)
        else:
            images, found = self._cropped(sources, order.draws)
        return torch.from_numpy(images), {numbers[row]: reason for row, reason in found.items()}

    def _cropped(self, sources: Sequence[Encoded], draws: Draws) -> tuple[NDArray[np.uint8], dict[int, str]]:
        from ltrun.data.views import crop

        size, uniforms = draws.crop.size, uniform(draws.keys)
        images, reasons = np.zeros((len(sources), 3, size, size), dtype=np.uint8), dict[int, str]()
        with quiet():
            for row, (source, numbers) in enumerate(zip(sources, uniforms, strict=True)):
                pixels = explained(source, lambda content, numbers=numbers: crop(content, self.how, draws.crop, numbers))  # type: ignore[misc]
                if isinstance(pixels, str):
                    reasons[row] = pixels
                else:
                    images[row] = pixels
        return images, reasons


class Decoders:
    """A pool of DataLoaders, as many as were ever open at once, each with `workers` processes. They live as long as the pool.

    A loader whose epoch has ended, or was given up midway, serves the next epoch, so that no epoch pays for starting processes.
    The processes end with their parent. workers: 0 decodes in the caller's process; None is one process per thread of torch, up
    to MOST, so that runs that share a machine share its cores. pinned: whether batches lie in page-locked memory, from which a
    GPU copies by itself.
    """

    def __init__(self, container: Container, how: Decoding, workers: int | None, pinned: bool) -> None:
        self.images, self.pinned = Images(container, how), pinned
        self.workers = min(torch.get_num_threads(), MOST) if workers is None else workers
        self.idle: list[DataLoader[Read]] = []

    def read(self, plan: Sequence[Order]) -> Iterator[Tensor]:
        """Yields (B, 3, size, size) uint8 for each order, in turn. Raises DataError for an unreadable image."""
        for images, reasons in self.attempt(plan):
            for number, reason in reasons.items():
                raise unreadable(self.images.container.shown(number), reason)
            yield images

    def attempt(self, plan: Sequence[Order]) -> Iterator[Read]:
        """Yields what `read` yields, and image -> why it is unreadable; its pixels are zero. Raises DataError for a worker."""
        loader = self.idle.pop() if self.idle else self._loader()
        loader.sampler[:] = plan  # type: ignore[index]
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
            self.images,  # type: ignore[arg-type]
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

"""Decoding of images in worker processes, while the network trains."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.data.containers import Container
from ltrun.data.crop import Draws, uniform
from ltrun.data.decoding import Decoding
from ltrun.data.images import Encoded, Unreadable, decode_all, explained, is_plain_jpeg, photograph, quiet, unreadable
from ltrun.errors import DataError
from ltrun.machine import WARNINGS, cores, end_with_parent, processes_here, shorten_sockets
from ltrun.parts import Crop

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

MOST = 16  # worker processes, unless `workers` says otherwise


class Order(NamedTuple):
    """What a worker decodes: (B,) numbers of images, and their random crops; None for the view of evaluation."""

    images: NDArray[np.int64]
    draws: Draws[Crop] | None = None


class Read(NamedTuple):
    """What a worker returns: (B, 3, size, size) uint8 pixels; number of an image -> why it is unreadable, because an exception
    would show the worker's traceback instead of the image's name; and row -> bytes of a JPEG that is left to the device."""

    pixels: Tensor
    reasons: dict[int, str]
    jpegs: dict[int, Tensor]


class Images:
    """A container as the data set of a DataLoader, whose items are whole batches. leave: leave JPEGs to a device."""

    def __init__(self, container: Container, how: Decoding, leave: bool = False) -> None:
        self.container, self.how, self.leave = container, how, leave

    def __len__(self) -> int:
        return len(self.container)

    def __getitem__(self, order: Order) -> Read:
        numbers = order.images.tolist()
        sources: list[Encoded] = [partial(self.container.read, number) for number in numbers]
        if order.draws is None and not (self.leave and self.how.whole):
            pixels, found = decode_all(sources, self.how, threads=1)
            return Read(torch.from_numpy(pixels), {numbers[row]: reason for row, reason in found.items()}, {})
        return self._views(numbers, sources, order.draws)

    def _views(self, numbers: Sequence[int], sources: Sequence[Encoded], draws: Draws[Crop] | None) -> Read:
        from ltrun.data.views import view

        crop, uniforms = (draws.crop, uniform(draws.keys)) if draws else (None, [None] * len(sources))
        size = crop.size if crop else self.how.size
        read = Read(torch.zeros(len(sources), 3, size, size, dtype=torch.uint8), {}, {})

        def one(content: bytes, row: int) -> None:
            if self.leave and is_plain_jpeg(content, self.how):
                read.jpegs[row] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            else:
                read.pixels[row] = view(photograph(content, self.how), self.how, crop, uniforms[row])

        with quiet():
            for row, (number, source) in enumerate(zip(numbers, sources, strict=True)):
                if reason := explained(source, partial(one, row=row)):
                    read.reasons[number] = reason
        return read


class Decoders:
    """A pool of DataLoaders, as many as were ever open at once, each with `workers` processes. They live as long as the pool.

    A loader whose epoch has ended, or was given up midway, serves the next epoch, so that no epoch pays for starting processes.
    The processes end with their parent. workers: 0 decodes in the caller's process; None is one process per thread of torch, up
    to MOST, so that runs that share a machine share its cores; processes of torchrun have one thread each, and share all cores.
    pinned: whether batches lie in page-locked memory, from which a GPU copies by itself. device: decodes the JPEGs, in place of
    the workers; None for none. setting: how the user gives their number, up to the number.
    """

    def __init__(
        self, container: Container, how: Decoding, workers: int | None, pinned: bool, device: torch.device | None = None,
        setting: str = "dataset.workers=",
    ) -> None:  # fmt: skip
        self.images, self.pinned, self.device = Images(container, how, leave=device is not None), pinned, device
        self.setting = setting
        threads, ranks = torch.get_num_threads(), processes_here()
        usual = threads if ranks == 1 else max(threads, cores() // ranks)
        self.workers = min(usual, MOST) if workers is None else workers
        self.idle: list[DataLoader[Read]] = []

    def read(self, plan: Sequence[Order]) -> Iterator[Tensor]:
        """Yields (B, 3, size, size) uint8 for each order, in turn. Raises DataError for an unreadable image."""
        for order, read in zip(plan, self.attempt(plan), strict=True):
            for number, reason in read.reasons.items():
                raise self._refused(number, reason)
            yield self._on_device(order, read) if read.jpegs else read.pixels

    def attempt(self, plan: Sequence[Order]) -> Iterator[Read]:
        """Yields what the workers return for each order, unreadable images among it. Raises DataError for a lost worker."""
        loader = self.idle.pop() if self.idle else self._loader()
        loader.sampler[:] = plan  # type: ignore[index]
        try:
            for read in loader:
                if read is None:
                    raise DataError(self._full())
                yield read
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
                raise DataError(f"no worker can decode images ({error.strerror}): {self.setting}0 decodes without") from None
        # torch warns of more workers than cores, which the user may ask for.
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
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
            collate_fn=_shared if self.workers else _as_it_is,  # type: ignore[arg-type]
            generator=torch.Generator(),  # the default would draw from torch's generator, on which training depends
        )

    def _refused(self, number: int, reason: str) -> DataError:
        """Returns the error for an image: it is damaged, or its disk is gone, which a second attempt to read it tells."""
        container = self.images.container
        try:
            container.read(number)
        except OSError as error:
            return DataError(
                f"{container.shown(number)} cannot be read any more ({error.strerror or error}): make its disk readable and "
                "give the same command again, which resumes the run"
            )
        except Unreadable:
            pass
        return unreadable(container.shown(number), reason)

    def _on_device(self, order: Order, read: Read) -> Tensor:
        """Returns the pixels of a batch whose JPEGs the device decodes. Raises DataError for a JPEG that it cannot read."""
        from ltrun.data.jpeg import jpegs
        from ltrun.data.views import view

        assert self.device is not None
        draws, how = order.draws, self.images.how
        pixels, uniforms = read.pixels.to(self.device), uniform(draws.keys) if draws else None
        try:
            whole = jpegs(list(read.jpegs.values()), self.device)
        except (RuntimeError, ImportError):  # of any of them, which decoding them one by one tells
            whole = [self._alone(int(order.images[row]), jpeg) for row, jpeg in read.jpegs.items()]
        for row, decoded in zip(read.jpegs, whole, strict=True):
            numbers = None if uniforms is None else uniforms[row]
            pixels[row] = view(decoded, how, draws.crop if draws else None, numbers)
        return pixels

    def _alone(self, number: int, jpeg: Tensor) -> Tensor:
        """Returns one photograph, decoded by a worker's way and copied to the device."""
        whole = explained(jpeg.numpy().tobytes(), lambda content: photograph(content, self.images.how))
        if isinstance(whole, str):
            raise self._refused(number, whole)
        return whole.to(self.device)

    def _full(self) -> str:
        return (
            f"/dev/shm has no room for the batches that workers decode ahead: give fewer than {self.setting}{self.workers}, "
            "0 to decode without workers, or enlarge /dev/shm (for a container, --shm-size), and repeat the command"
        )

    def _died(self, error: RuntimeError) -> str:
        reason = str(error).partition(". ")[0]
        return (
            f"a worker that decodes images was killed, perhaps because memory or /dev/shm was full ({reason}): "
            f"give fewer than {self.setting}{self.workers}, or 0 to decode without workers"
        )


def _begin(worker: int) -> None:
    """Ends a worker with its parent. A worker itself looks only every five seconds whether its parent was killed.

    A scheduler's first warning, which reaches every process of a job, is for the parent alone.
    """
    end_with_parent()
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(read: Read) -> Read:
    return read


def _shared(read: Read) -> Read | None:
    """Moves a batch to shared memory; returns None if that is full. DataLoader itself would move it in a thread, and lose a
    batch that has no room, for which the run would wait without end."""
    try:
        for tensor in (read.pixels, *read.jpegs.values()):
            tensor.share_memory_()
    except RuntimeError:
        return None
    return read

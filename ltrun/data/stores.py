"""Stores of the images of a split during training: resident in memory, or streamed from files that are decoded each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.data.crop import Draws
from ltrun.data.decoders import Decoders, Order
from ltrun.data.files import Files
from ltrun.types import Batch, Targets, targets_of

Rows = NDArray[np.int64]
Decodes = Literal["", "photographs", "videos"]
CHUNK = 64 * 2**20  # bytes that are copied to the device at a time


class Store(Protocol):
    """Images and labels of one split. targets: of all N rows. files: the name of each row's file, on the host.

    decodes: what each batch is read from: files of photographs or of videos; empty for inputs in memory.
    """

    targets: Targets
    files: Files
    decodes: Decodes

    def open(self, rows: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None) -> Iterator[Batch]:
        """Yields one batch for each tensor of row numbers, in that order, on the device.

        late: allows batches that gather their images and labels when these are first read: within a step, rather than before.
        cuts: of each batch, the random crops or frames that replace the view of evaluation; only a store that decodes has them.
        """

    def __len__(self) -> int: ...


class Resident:
    """All images of a split as one uint8 tensor on the device: a batch is an index, without a loader or a copy from the host.

    pixels: (P, channels, H, W) uint8. targets: of the N rows. index: (N,) int64, the row of `pixels` for each row of the
    split; all rows in order if not given. All three are on one device. files: the names of the N rows, their numbers if not
    given.
    """

    decodes: Decodes = ""

    def __init__(self, pixels: Tensor, targets: Targets, index: Tensor | None = None, files: Files | None = None) -> None:
        assert pixels.dtype == torch.uint8 and len(targets) == len(pixels if index is None else index)
        self.pixels, self.targets, self.index = pixels, targets, index
        self.files = Files.numbered("row", len(targets)) if files is None else files

    @classmethod
    def of(
        cls, images: NDArray[np.uint8], labels: NDArray[Any], rows: Rows, device: torch.device, files: Files | None = None
    ) -> Resident:
        """Returns a store of the given rows, in their order. On a CPU it indexes `images` itself, so that splits, and runs that
        have mapped `images` from the cache, share memory; to another device it copies these rows alone. labels: as `targets_of`
        takes them. labels, files: of all `images`.
        """
        targets, files = targets_of(torch.from_numpy(labels[rows])).to(device), files and files.take(rows)
        if device.type == "cpu":
            return cls(_canonical(images), targets, torch.from_numpy(rows), files)
        return cls(_copied(images, rows, device), targets, files=files)

    @property
    def images(self) -> Tensor:
        """(N, channels, H, W) uint8, in the order of the rows; a copy where the store shares its pixels with other stores."""
        return self.pixels if self.index is None else self.pixels[self.index]

    def __len__(self) -> int:
        return len(self.targets)

    def open(self, rows: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None) -> Iterator[Batch]:
        """Yields one batch for each tensor of int64 row numbers, in that order; its `rows` are on the device too."""
        assert cuts is None
        if not rows:
            return
        # The whole plan crosses to the device in one copy, so that no step waits for its row numbers.
        plan = torch.cat(list(rows)).to(self.pixels.device)
        for batch in plan.split([len(some) for some in rows]):
            drawn = Drawn(self, batch)
            yield drawn if late else drawn.replace()


class Drawn(Batch):
    """A batch of a resident store that gathers its images and labels when they are first read.

    A copy has gathered nothing, so a captured step that reads a copy gathers them itself, by the row numbers of each replay.
    """

    store: Resident

    def __init__(self, store: Resident, rows: Tensor) -> None:
        self.__dict__.update(store=store, rows=rows)  # the fields of a batch are frozen

    @cached_property
    def inputs(self) -> Tensor:
        pixels, places = self.source
        return pixels[places]

    @cached_property
    def targets(self) -> Targets:
        return self.store.targets.take(self.rows)

    @property
    def source(self) -> tuple[Tensor, Tensor]:
        index = self.store.index
        return self.store.pixels, self.rows if index is None else index[self.rows]

    def replace(self, **changes: object) -> Batch:
        kept = {field.name: getattr(self, field.name) for field in fields(Batch) if field.name not in changes}
        return Batch(**kept | changes)

    def clone(self) -> Drawn:
        return Drawn(self.store, self.rows.clone())

    def tensors(self) -> list[Tensor]:
        return [self.rows]


class Streamed:
    """Images of a split that do not fit into memory, decoded each time by processes that read ahead.

    Its batches equal the batches of a `Resident` of the decoded images, bit for bit and in the same order, unless they are cut
    at random. decoders: decoders of the images of all splits. index: (N,) number of each row's image. targets: of the N rows,
    on the device. files: the names of the N rows.
    """

    decodes: Decodes = "photographs"

    def __init__(self, decoders: Decoders, index: Rows, targets: Targets, files: Files) -> None:
        assert len(index) == len(targets) == len(files)
        self.decoders, self.index, self.targets, self.files = decoders, index, targets, files

    def __len__(self) -> int:
        return len(self.index)

    def open(self, rows: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None) -> Iterator[Batch]:
        """Yields one batch for each tensor of int64 row numbers, in that order, on the device of the targets. No batch is late.

        Several iterators may be open at once, each with processes of its own. Raises DataError for an unreadable file.
        """
        if not rows:
            return
        device, lengths = self.targets.device, [len(some) for some in rows]
        plan = torch.cat(list(rows))
        files = np.split(self.index[plan.cpu().numpy()], np.cumsum(lengths)[:-1])
        orders = [Order(some) for some in files] if cuts is None else list(map(Order, files, cuts))
        batches = plan.to(device).split(lengths)
        for batch, images in zip(batches, self.decoders.read(orders), strict=True):
            # Images for a CUDA device are in pinned memory: the copy does not block the host, which queues the step meanwhile.
            yield Batch(images.to(device, non_blocking=True), self.targets.take(batch), batch)


def _canonical(images: NDArray[np.uint8]) -> Tensor:
    """Returns a contiguous tensor, without a copy where possible. Strides of grey images can pass for channels-last, whose
    convolutions round differently."""
    return torch.from_numpy(np.ascontiguousarray(images).reshape(-1)).view(images.shape)


def _copied(images: NDArray[np.uint8], rows: Rows, device: torch.device) -> Tensor:
    """Returns images[rows] on the device, in chunks, without a copy of all rows on the host."""
    copy = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    step = max(1, CHUNK // max(1, images[:1].nbytes))
    for first in range(0, len(rows), step):
        copy[first : first + step] = torch.from_numpy(images[rows[first : first + step]])
    return copy

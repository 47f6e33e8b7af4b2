"""Stand-ins for pieces of ltrun in benchmarks: random images for a data set, and the plain loop's counterparts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ltrun.data.profiles import LongTail, Profile, Rows
from ltrun.data.source import Source, Splits
from ltrun.data.stores import Resident, Store
from ltrun.optimizer.groups import groups_of
from ltrun.optimizer.sgd import SGD, FusedSGD
from ltrun.types import Batch, Labels

SHAPE = (3, 32, 32)
TEST_IMAGES = 10_000


class RandomLT(Source):
    """Random images with the class counts and the arguments of `ltrun.data.CIFARLT`.

    largest_class: training images of the largest class. test_images: number of test images, for benchmarks that time a part of
    the evaluation. root and download are not used.
    """

    def __init__(
        self,
        num_classes: Literal[10, 100] = 100,
        root: str = "",
        profile: Profile = "exponential",
        imbalance: float = 100.0,
        validation_per_class: int = 0,
        download: bool = False,
        largest_class: int | None = None,
        test_images: int = TEST_IMAGES,
        shots: int | None = None,
    ) -> None:
        self.name = f"random_cifar{num_classes}_lt"
        self.num_classes, self.test_images = num_classes, test_images
        self.largest_class = largest_class or 50_000 // num_classes
        self.tail = LongTail(profile, imbalance, validation_per_class, shots)

    def open(self, device: torch.device) -> Splits:
        names = tuple(f"class {c}" for c in range(self.num_classes))
        generator = np.random.default_rng(0)

        def store(labels: Rows) -> Resident:
            images = generator.integers(0, 256, (len(labels), *SHAPE), dtype=np.uint8)
            return Resident.of(images, labels, np.arange(len(labels)), device)

        pool = np.arange(self.largest_class * self.num_classes) % self.num_classes
        train, val = (pool[rows] for rows in self.tail.split(pool, names))
        test = np.arange(self.test_images) % self.num_classes
        return Splits(store(train), store(val) if len(val) else None, store(test), names)


class UntilFirstStep(RandomLT):
    """Random images that end the process after the first training step."""

    def open(self, device: torch.device) -> Splits:
        splits = super().open(device)
        return replace(splits, train=_Once(cast(Resident, splits.train)))


class _Once(Resident):
    def __init__(self, store: Resident) -> None:
        super().__init__(store.pixels, store.targets, store.index, store.files)

    def open(self, rows: Sequence[Tensor], late: bool = False) -> Iterator[Batch]:
        for number, batch in enumerate(super().open(rows, late)):
            if number:
                if batch.inputs.device.type == "cuda":
                    torch.cuda.synchronize()
                os._exit(0)
            yield batch


class LoopSGD(SGD):
    """ltrun's SGD with three kernels for each parameter instead of one for all. No Nesterov momentum."""

    def build(self, parameters: Mapping[str, nn.Parameter]) -> FusedSGD:
        return _Loop(groups_of(parameters), self.lr, self.momentum, self.weight_decay, self.nesterov)


class _Loop(FusedSGD):
    @torch.no_grad()
    def step(self) -> None:
        rate = self.param_groups[0]["lr"]
        for parameter, buffer in zip(self.parameters, self.buffers, strict=True):
            assert parameter.grad is not None
            buffer.mul_(self.momentum).add_(parameter.grad.add(parameter, alpha=self.param_groups[0]["weight_decay"]))
            parameter.sub_(buffer * rate)


class PerImage:
    """A store that crops and flips images one by one through PIL, and batches them by a DataLoader."""

    def __init__(self, store: Store, workers: int):
        from plain import AUGMENT, Images
        from torchvision import transforms

        batch = next(store.open([torch.arange(len(store))]))
        self.targets, self.files, self.workers, self.device = store.targets, store.files, workers, batch.inputs.device
        pixels = batch.inputs.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        labels = batch.targets.labels.tolist()
        self.images = Images(pixels, labels, transforms.Compose([*AUGMENT, transforms.PILToTensor()]))

    def __len__(self) -> int:
        return len(self.images)

    def open(self, rows: Sequence[Tensor], late: bool = False) -> Iterator[Batch]:
        plan, pin = [batch.tolist() for batch in rows], self.device.type == "cuda"
        loader = torch.utils.data.DataLoader(self.images, batch_sampler=plan, num_workers=self.workers, pin_memory=pin)
        for (images, labels), batch in zip(loader, rows, strict=True):
            targets = Labels.hard(labels.to(self.device, non_blocking=True))
            yield Batch(images.to(self.device, non_blocking=True), targets, batch.to(self.device))


class Waiting:
    """A store that waits for the device before each next batch, as a loop does that fetches the loss of each step."""

    def __init__(self, store: Store):
        self.store, self.targets, self.files = store, store.targets, store.files

    def __len__(self) -> int:
        return len(self.store)

    def open(self, rows: Sequence[Tensor], late: bool = False) -> Iterator[Batch]:
        for batch in self.store.open(rows, late):
            torch.cuda.synchronize()
            yield batch

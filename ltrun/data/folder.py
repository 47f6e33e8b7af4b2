"""Image folders: the user's own data, in one folder of images per class."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.class_folders import Folder, find_unreadable, named, read_images, scan
from ltrun.data.decoders import Decoders
from ltrun.data.files import Digests, Files
from ltrun.data.images import MAX_PIXELS, Decoding, shown, unreadable
from ltrun.data.layout import splits_of
from ltrun.data.profiles import LongTail, Profile, Rows, hold_out, refuse_ignored, share
from ltrun.data.sample import look_at
from ltrun.data.source import Source, Splits, folder_of, reading
from ltrun.data.stores import Resident, Store, Streamed
from ltrun.errors import ConfigError, DataError
from ltrun.machine import free_memory
from ltrun.types import Labels

RESIDENT_SHARE = 0.5  # share of the free memory that decoded images may take
LARGEST = 4096  # pixels a side
TEST_FRACTION = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The readable images of a folder, decoded: (N, 3, size, size) uint8. skipped: number of unreadable images."""

    images: NDArray[np.uint8]
    labels: Rows
    files: Files
    skipped: int

    def store(self, rows: Rows, device: torch.device) -> Store:
        return Resident.of(self.images, self.labels, rows, device, self.files)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The readable images of a folder, decoded when needed. index: (N,) number of each file among the decoders' files."""

    decoders: Decoders
    index: Rows
    labels: Rows
    files: Files
    skipped: int

    def store(self, rows: Rows, device: torch.device) -> Store:
        targets = Labels.hard(torch.from_numpy(self.labels[rows])).to(device)
        return Streamed(self.decoders, self.index[rows], targets, self.files.take(rows))


Images = Pixels | Encoded


class ImageFolder(Source):
    """Folders of images, one per class: root/train/<class>/* with root/test/<class>/* or root/val/<class>/*, or root/<class>/*.

    With both test and val, val is the validation split; `ltrun.data.layout` knows other names of the three folders. Without
    either, test_fraction of each class, at least one image, is held out for testing: always the same images. A class without
    images in test or val is not measured there. Classes are in the order of their names, numerical where all names are numbers;
    a profile cuts them in the order of their sizes. An image becomes RGB: its centre square, scaled to image_size; of an
    animation or a file of several pages, the first image. Only images in the class folders themselves count.

    validation_fraction: share of each class, at least one image where the class has two, for the validation split.
    validation_per_class: images of each class for the validation split; the rarest class limits it.
    grey_range: [black, white], the values of both in all grey images of more than 8 bits whose files do not say them; None:
    [0, 65535] in 16-bit files, which are refused if all are far darker; other files are refused. max_pixels: of an image as it
    is decoded (a JPEG at the size that its scaling needs); larger images count as unreadable.
    skip_unreadable: leave out unreadable images, and count them, instead of refusing the data set.
    streamed: decode an image each time that it is needed, in `workers` processes for each stream (None: one per thread of the
    run, up to 16), instead of once; 'auto' streams if all decoded images would take more than half of the free memory. The
    results are the same, bit for bit. An unreadable image is then found only when it is needed; with skip_unreadable, a pass
    over all files finds it before training.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        test_fraction: float = TEST_FRACTION,
        profile: Profile = "as_is",
        imbalance: float = 100.0,
        validation_per_class: int = 0,
        validation_fraction: float = 0.0,
        grey_range: list[float] | None = None,
        max_pixels: int = MAX_PIXELS,
        skip_unreadable: bool = False,
        streamed: bool | Literal["auto"] = "auto",
        workers: int | None = None,
    ) -> None:
        if not 1 <= image_size <= LARGEST:
            raise ConfigError(f"image_size must be from 1 to {LARGEST} pixels, got {image_size}")
        if not 0 < test_fraction < 1:
            raise ConfigError(f"test_fraction must lie between 0 and 1, got {test_fraction:g}")
        if not 0 <= validation_fraction < 1:
            raise ConfigError(f"validation_fraction must be from 0 to below 1, got {validation_fraction:g}")
        if validation_fraction and validation_per_class:
            raise ConfigError("validation_fraction and validation_per_class both hold images out: give one of them")
        if grey_range is not None and not (len(grey_range) == 2 and -math.inf < grey_range[0] < grey_range[1] < math.inf):
            raise ConfigError(f"grey_range must be two numbers, black before white, such as [0,4095], got {grey_range}")
        if max_pixels < 1:
            raise ConfigError(f"max_pixels must be at least 1, got {max_pixels}")
        refuse_ignored(profile, imbalance, usual=100)
        if workers is not None and workers < 0:
            raise ConfigError(f"workers must be 0 or more, or null for one per thread, got {workers}")
        self.root = folder_of(root)
        self.how = Decoding(image_size, True, None if grey_range is None else (grey_range[0], grey_range[1]), max_pixels)
        self.test_fraction, self.validation_fraction = test_fraction, validation_fraction
        self.tail = LongTail(profile, imbalance, validation_per_class)
        self.skip_unreadable = skip_unreadable
        self.streamed, self.workers = streamed, workers

    @property
    def view(self) -> Decoding:
        return self.how

    def open(self, device: torch.device) -> Splits:
        with reading(self.root):
            layout = self._layout()
            folder = scan(layout.pop("train"), self.root)
            tested = {split: scan(path, self.root, folder.names, partial=True) for split, path in layout.items()}
            folders = {"train": folder} | tested
            look_at([path for some in folders.values() for path in some.paths], self.how)
            streams = self._streams(folders, device)
            own = dict((self._encoded if streams else self._decoded)(folders, device))
        train = own["train"]
        pool, held = hold_out(train.labels, self._held(folder, train.labels, own))
        labels = train.labels[pool]
        kept = self.tail.split(labels, folder.names, by_size=True, held=self._validation(folder, labels))
        rows, val_rows = (pool[some] for some in kept)
        whole = {split: own[split].store(np.arange(len(own[split].labels)), device) for split in layout}
        val = whole.get("val") or (train.store(val_rows, device) if len(val_rows) else None)
        test = whole.get("test") or train.store(held, device)
        stamps = tuple(some.stamps for some in folders.values()) if streams else ()
        skipped = sum(images.skipped for images in own.values())
        return Splits(train.store(rows, device), val, test, folder.names, skipped, stamps)

    def _streams(self, folders: Mapping[str, Folder], device: torch.device) -> bool:
        if self.streamed != "auto":
            return self.streamed
        decoded = sum(len(folder.paths) for folder in folders.values()) * 3 * self.how.size**2
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
        streams = decoded > RESIDENT_SHARE * free
        if streams:
            log.info("%.1f GB of decoded images are too many to hold: streaming them (dataset.streamed)", decoded / 1e9)
        return streams

    def _decoded(self, folders: Mapping[str, Folder], device: torch.device) -> Iterator[tuple[str, Images]]:
        for split, folder in folders.items():
            images, digests, reasons = read_images(folder, self.how)
            readable = self._readable(split, folder, reasons)
            kept = images if readable.all() else images[readable]
            yield split, Pixels(kept, folder.labels[readable], self._files(folder, readable, digests), len(reasons))

    def _encoded(self, folders: Mapping[str, Folder], device: torch.device) -> Iterator[tuple[str, Images]]:
        paths = [path for folder in folders.values() for path in folder.paths]
        decoders = Decoders(paths, self.how, self.workers, pinned=device.type == "cuda")
        first = 0
        for split, folder in folders.items():
            reasons = find_unreadable(folder, self.how) if self.skip_unreadable else {}
            readable = self._readable(split, folder, reasons)
            index, files = first + np.flatnonzero(readable), self._files(folder, readable)
            yield split, Encoded(decoders, index, folder.labels[readable], files, len(reasons))
            first += len(folder.paths)

    def _files(self, folder: Folder, readable: NDArray[np.bool_], digests: Digests | None = None) -> Files:
        files = Files.below(self.root, folder.paths).holding(folder.stamps.sizes, digests, folder.stamps.times)
        return files.take(np.flatnonzero(readable))

    def _layout(self) -> dict[str, Path]:
        """Returns split -> its folder of class folders: train, and test and val where they exist."""
        if not self.root.is_dir():
            raise DataError(
                f"{shown(self.root)} is not a folder: give dataset.root=FOLDER, a folder with one folder of images per class"
            )
        layout = splits_of(self.root)
        if "test" in layout and self.test_fraction != TEST_FRACTION:
            path, given = shown(layout["test"]), self.test_fraction
            raise ConfigError(f"{path} is the test split, so dataset.test_fraction={given:g} has no effect: remove it")
        for key, value in {"per_class": self.tail.validation_per_class, "fraction": self.validation_fraction}.items():
            if "val" in layout and value:
                raise ConfigError(f"{shown(layout['val'])} is the validation split already: give dataset.validation_{key}=0")
        return layout

    def _held(self, folder: Folder, labels: NDArray[np.int64], own: Collection[str]) -> NDArray[np.int64]:
        """Returns (C,) numbers of images held out for testing: none where there is a test folder."""
        if "test" in own:
            return np.zeros(len(folder.names), dtype=np.int64)
        counts = np.bincount(labels, minlength=len(folder.names))
        if (lone := np.flatnonzero(counts < 2)).size:
            name = folder.names[lone[0]]
            where = shown(folder.root)
            raise DataError(f"class '{name}' in {where} has one readable image, so none is left to test it: add images")
        held = share(counts, self.test_fraction)
        log.info(
            "%s has no test folder: %s of its %s images are held out for testing (dataset.test_fraction=%g of each class)",
            shown(folder.root), f"{held.sum():,}", f"{counts.sum():,}", self.test_fraction,
        )  # fmt: skip
        return held

    def _validation(self, folder: Folder, labels: Rows) -> Rows:
        """Returns (C,) numbers of training images held out for validation. Raises DataError if a class has too few."""
        counts, each = np.bincount(labels, minlength=len(folder.names)), self.tail.validation_per_class
        if self.validation_fraction:
            held = share(counts, self.validation_fraction)
            if (lone := np.flatnonzero(held == 0)).size == len(held):
                raise DataError(
                    f"no class in {shown(folder.root)} has more than one image to train on, so none is left for validation: "
                    "give dataset.validation_fraction=0, or add images"
                )
            if lone.size:
                which = named([folder.names[label] for label in lone])
                log.warning("%s: one image to train on, so none is held out for validation", which)
            return held
        if each >= counts.min():
            name, most = folder.names[counts.argmin()], counts.min() - 1
            images = "1 image" if most == 0 else f"{counts.min()} images"
            raise DataError(
                f"the rarest class, '{name}', has {images} to train on, too few to leave {each} for validation: give "
                f"dataset.validation_per_class={most}{' or less' if most else ''}, or a share of each class by "
                "dataset.validation_fraction=0.1"
            )
        return np.full(len(counts), each)

    def _readable(self, split: str, folder: Folder, reasons: Mapping[int, str]) -> NDArray[np.bool_]:
        """Returns an (N,) mask of the readable images. Raises DataError for an unreadable image that may not be left out."""
        if reasons and not self.skip_unreadable:
            row, reason = next(iter(reasons.items()))
            raise unreadable(folder.paths[row], reason, others=len(reasons) - 1)
        readable = np.ones(len(folder.paths), dtype=bool)
        readable[list(reasons)] = False
        left = set(folder.labels[readable].tolist())
        if lost := sorted(set(folder.labels.tolist()) - left):
            sentence = f"class '{folder.names[lost[0]]}' in {shown(folder.root)} has no readable image"
            if split == "train" or not left:
                row, reason = next((row, said) for row, said in reasons.items() if folder.labels[row] == lost[0])
                raise DataError(f"{sentence}, because {shown(folder.paths[row].name)} {reason}: repair it or remove it")
            log.warning("%s, so it is not measured there", sentence)
        return readable

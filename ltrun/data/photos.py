"""Base of the data sets of photographs: from listed images to the stores of the splits."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields in the modules of subclasses.
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.containers import Joined
from ltrun.data.decoded import find_unreadable, read_images
from ltrun.data.decoders import Decoders
from ltrun.data.decoding import MAX_PIXELS, Decoding
from ltrun.data.files import Files
from ltrun.data.images import shown, unreadable
from ltrun.data.label_arrays import LabelArray, counts_of, having
from ltrun.data.listed import Found, Listed
from ltrun.data.missing import check_limit
from ltrun.data.profiles import LongTail, Profile, Rows, refuse_ignored
from ltrun.data.sample import look_at
from ltrun.data.source import Source, Splits, folder_of, reading
from ltrun.data.stores import Resident, Store, Streamed
from ltrun.data.withheld import check_tested, check_trained, for_testing, for_validation
from ltrun.errors import ConfigError, DataError
from ltrun.machine import MOST_WORKERS, free_memory
from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL
from ltrun.types import targets_of

RESIDENT_SHARE = 0.5  # share of the free memory that decoded images may take
LARGEST = 4096  # pixels a side
TEST_FRACTION = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The readable images of a split, decoded: (N, 3, size, size) uint8. skipped: number of unreadable images."""

    images: NDArray[np.uint8]
    labels: LabelArray
    files: Files
    skipped: int

    def store(self, rows: Rows, device: torch.device) -> Store:
        return Resident.of(self.images, self.labels, rows, device, self.files)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The readable images of a split, decoded when needed. index: (N,) number of each image among the decoders' images."""

    decoders: Decoders
    index: Rows
    labels: LabelArray
    files: Files
    skipped: int

    def store(self, rows: Rows, device: torch.device) -> Store:
        targets = targets_of(torch.from_numpy(self.labels[rows])).to(device)
        return Streamed(self.decoders, self.index[rows], targets, self.files.take(rows))


Images = Pixels | Encoded


@dataclass(eq=False)
class Photos(Source):
    """Images in files, archives or tables, of any size and kind. A subclass finds them; all else happens here.

    An image becomes RGB: its centre square, scaled to image_size; with `resize`, its shorter side scaled to so many pixels and
    the centre cut out, as ImageNet is evaluated. Where training cuts photographs at random (RandomResizedCrop), they are cut
    from whole photographs. Of an animation or a file of several pages, the first image counts.

    test_fraction: share of each class, at least one image, that is held out for testing where there is no test split: always
    the same images. validation: share of each class for the validation split: at least one image where the class has two, and
    never more than half of a class. Images of several labels are held out by iterative stratification. validation_per_class:
    images of each class for the validation split; the rarest class limits it. profile, imbalance, shots: a long tail, cut in
    the order of the sizes of the classes: see `LongTail`. These four are for images of one label.
    stretch: scale whole images to image_size x image_size, without keeping their aspect, in place of the centre square.
    grey_range: [black, white], the values of both in all grey images of more than 8 bits whose files do not say them; None:
    [0, 65535] in 16-bit files, which are refused if all are far darker; other files are refused. max_pixels: of an image as it
    is decoded (a JPEG at the size that its scaling needs); larger images count as unreadable.
    skip_unreadable: leave out unreadable images, and count them, instead of refusing the data set.
    streamed: decode an image each time that it is needed, in `workers` processes for each stream (None: one per thread of the
    run, up to 16), instead of once; 'auto' streams if all decoded images would take more than half of the free memory, or are
    cut at random. The results are the same, bit for bit. An unreadable image is then found only when it is needed; with
    skip_unreadable, a pass over all files finds it before training.
    """

    root: str
    image_size: int = 224
    test_fraction: float = TEST_FRACTION
    profile: Profile = "as_is"
    imbalance: float = 100.0
    validation_per_class: int = 0
    validation: float = 0.0
    grey_range: list[float] | None = None
    max_pixels: int = MAX_PIXELS
    skip_unreadable: bool = False
    streamed: bool | Literal["auto"] = "auto"
    workers: int | None = None
    resize: int | None = None
    stretch: bool = field(default=False, kw_only=True)
    shots: int | None = field(default=None, kw_only=True)
    task: str = field(default=SINGLE_LABEL, kw_only=True)
    random_crops: bool = field(default=False, kw_only=True)
    device_decodes: bool = field(default=False, kw_only=True)

    of_splits: ClassVar[str] = "split"  # what a split is made of, in sentences
    upright: ClassVar[bool] = True  # whether images are turned as their EXIF orientation says

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= LARGEST:
            raise ConfigError(f"image_size must be from 1 to {LARGEST} pixels, got {self.image_size}")
        if self.resize is not None and not self.image_size <= self.resize <= LARGEST:
            raise ConfigError(f"resize must be from image_size ({self.image_size}) to {LARGEST} pixels, got {self.resize}")
        if self.stretch and self.resize is not None:
            raise ConfigError("stretch scales whole images, so resize has no effect: give dataset.resize=null")
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction must lie between 0 and 1, got {self.test_fraction:g}")
        if not 0 <= self.validation <= 0.5:
            raise ConfigError(f"validation must be from 0 to 0.5, half of each class, got {self.validation:g}")
        if self.validation and self.validation_per_class:
            raise ConfigError("validation and validation_per_class both hold images out: give one of them")
        ends = self.grey_range
        if ends is not None and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise ConfigError(f"grey_range must be two numbers, black before white, such as [0,4095], got {ends}")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels must be at least 1, got {self.max_pixels}")
        refuse_ignored(self.profile, self.imbalance, usual=100, shots=self.shots)
        if self.workers is not None and not 0 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"workers must be from 0 to {MOST_WORKERS}, or null for one per thread, got {self.workers}")
        if self.random_crops and self.streamed is False:
            raise ConfigError("streamed is false, but training cuts whole photographs at random: give dataset.streamed=auto")
        if self.task == MULTI_LABEL:
            self._refuse_counts()
        self.tail = LongTail(self.profile, self.imbalance, self.validation_per_class, self.shots)

    def _refuse_counts(self) -> None:
        """Raises ConfigError for keys that choose a number of images of each class."""
        given = {
            "profile": (self.profile != "as_is", "profile=as_is"),
            "shots": (self.shots is not None, "shots=null"),
            "validation_per_class": (self.validation_per_class > 0, "validation=0.1"),
        }
        for key, (asked, other) in given.items():
            if asked:
                raise ConfigError(
                    f"{key} chooses a number of images of each class, and images of several labels count for several classes: "
                    f"give dataset.{other}"
                )

    @property
    def folder(self) -> Path:
        return folder_of(self.root)

    @property
    def how(self) -> Decoding:
        """How images are decoded for evaluation."""
        grey_range = None if self.grey_range is None else (self.grey_range[0], self.grey_range[1])
        size, resize = self.image_size, self.resize
        return Decoding(size, True, grey_range, self.max_pixels, resize, self.upright, self.stretch)

    def refuse_ineffective(self, places: Mapping[str, str]) -> None:
        """Raises ConfigError if images are to be held out for a split that is there. places: split -> where, in a sentence."""
        if "test" in places and self.test_fraction != TEST_FRACTION:
            given = f"dataset.test_fraction={self.test_fraction:g}"
            raise ConfigError(f"{places['test']} is the test split, so {given} has no effect: remove it")
        for key, value in {"validation_per_class": self.validation_per_class, "validation": self.validation}.items():
            if "val" in places and value:
                raise ConfigError(f"{places['val']} is the validation split already: give dataset.{key}=0")

    def find(self) -> Found:
        """Returns the images of each split. Raises DataError or ConfigError, naming the file and the way out."""
        raise NotImplementedError

    def open(self, device: torch.device) -> Splits:
        with reading(self.folder):
            found = self.find()
            look_at(Joined(listed.images for listed in found.splits.values()), self.how)
            streams = self._streams(found.splits, device)
            own = dict((self._encoded if streams else self._decoded)(found, device))
        train, names = own["train"], found.names
        pool, held = np.arange(len(train.labels)), np.arange(0)
        if "test" not in own:
            root = shown(found.splits["train"].root)
            pool, held = for_testing(train.labels, names, self.test_fraction, root, self.of_splits)
        check_trained(train.labels[pool], names, shown(self.folder))
        kept = for_validation(train.labels[pool], names, self.validation, self.tail, shown(self.folder))
        rows, val_rows = (pool[some] for some in kept)
        check_tested(own["test"].labels if "test" in own else train.labels[held], names)
        whole = {split: own[split].store(np.arange(len(own[split].labels)), device) for split in own if split != "train"}
        val = whole.get("val") or (train.store(val_rows, device) if len(val_rows) else None)
        test = whole.get("test") or train.store(held, device)
        stamps = tuple(listed.stamps for listed in found.splits.values() if streams and listed.stamps is not None)
        skipped = sum(images.skipped for images in own.values())
        return Splits(train.store(rows, device), val, test, names, skipped, stamps, found.notes)

    def _streams(self, splits: Mapping[str, Listed], device: torch.device) -> bool:
        if self.streamed != "auto" or self.random_crops:
            return bool(self.streamed)
        decoded = sum(len(listed.images) for listed in splits.values()) * 3 * self.image_size**2
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
        streams = decoded > RESIDENT_SHARE * free
        if streams:
            log.info("%.1f GB of decoded images are too many to hold: streaming them (dataset.streamed)", decoded / 1e9)
        return streams

    def _decoded(self, found: Found, device: torch.device) -> Iterator[tuple[str, Images]]:
        for split, listed in found.splits.items():
            images, digests, reasons = read_images(listed, self.how)
            readable = self._readable(split, found, reasons)
            kept = images if readable.all() else images[readable]
            files = listed.files.holding(listed.files.sizes, digests, listed.files.times).take(np.flatnonzero(readable))
            yield split, Pixels(kept, listed.labels[readable], files, len(reasons))

    def _encoded(self, found: Found, device: torch.device) -> Iterator[tuple[str, Images]]:
        images = Joined(listed.images for listed in found.splits.values())
        decodes = device if self.device_decodes else None
        decoders = Decoders(images, self.how, self.workers, pinned=device.type == "cuda", device=decodes)
        first = 0
        for split, listed in found.splits.items():
            reasons = find_unreadable(listed, self.how) if self.skip_unreadable else {}
            readable = self._readable(split, found, reasons)
            index, files = first + np.flatnonzero(readable), listed.files.take(np.flatnonzero(readable))
            yield split, Encoded(decoders, index, listed.labels[readable], files, len(reasons))
            first += len(listed.images)

    def _readable(self, split: str, found: Found, reasons: Mapping[int, str]) -> NDArray[np.bool_]:
        """Returns an (N,) mask of the readable images. Raises DataError for an unreadable image that may not be left out."""
        listed = found.splits[split]
        if reasons and not self.skip_unreadable:
            row, reason = next(iter(reasons.items()))
            raise unreadable(listed.images.shown(row), reason, others=len(reasons) - 1)
        readable = np.ones(len(listed.images), dtype=bool)
        readable[list(reasons)] = False
        before, left = (counts_of(labels, len(found.names)) for labels in (listed.labels, listed.labels[readable]))
        if (lost := np.flatnonzero((before > 0) & (left == 0))).size:
            sentence = f"class '{found.names[lost[0]]}' in {shown(listed.root)} has no readable image"
            if split == "train" or not left.any():
                has = having(listed.labels, int(lost[0]))
                row, reason = next((row, said) for row, said in reasons.items() if has[row])
                raise DataError(f"{sentence}, because {listed.images.shown(row)} {reason}: repair it or remove it")
            log.warning("%s, so it is not measured there", sentence)
        return readable


@dataclass(eq=False)
class NamedPhotos(Photos):
    """Photographs that a list, a table or a Parquet file names; the images of some may be missing.

    missing: number of images, or share of them below 1, that may be missing and are left out.
    """

    missing: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit(self.missing)

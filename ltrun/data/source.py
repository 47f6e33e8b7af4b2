"""Interface of a data set: its training, validation and test images in stores, and the names of its classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from ltrun.data.decoding import Decoding
from ltrun.data.images import shown
from ltrun.data.stamps import Stamps
from ltrun.data.stores import Store
from ltrun.errors import DataError
from ltrun.machine import at_home
from ltrun.metrics import SINGLE_LABEL
from ltrun.types import ClassStats


@dataclass(frozen=True, eq=False)
class Splits:
    """train is long-tailed; test is not, nor val if there is a validation split. names: the classes in label order.

    skipped: number of unreadable images that were left out (only where the user allows it). stamps: stamps of streamed files.
    notes: sentences on what was found, for `ltrun data`. unlabelled: images that the other splits leave over, where training
    reads them; their labels are all 0, so that no true label can leak.
    """

    train: Store
    val: Store | None
    test: Store
    names: tuple[str, ...]
    skipped: int = 0
    stamps: tuple[Stamps, ...] = ()
    notes: tuple[str, ...] = ()
    unlabelled: Store | None = None

    @property
    def stats(self) -> ClassStats:
        """The number of training images of each class."""
        return ClassStats.of(self.train.targets, len(self.names), self.names)

    def check_files(self) -> None:
        """Raises DataError if a streamed file has changed since the data set was opened."""
        for stamps in self.stamps:
            stamps.check()

    @property
    def input_shape(self) -> torch.Size:
        """The shape of one stored input, such as (channels, H, W) of an image."""
        return next(iter(self.train.open([torch.tensor([0])]))).inputs.shape[1:]


class Source:
    """A data set. Its constructor takes plain values and checks them, touching no file; `open` reads the files."""

    tasks: ClassVar[frozenset[str]] = frozenset({SINGLE_LABEL})  # what its labels can be
    lacks_validation: bool = False  # True where the arguments alone say that there will be no validation split

    @property
    def how(self) -> Decoding | None:
        """How an image file becomes a stored input of evaluation; None where stored inputs do not come from image files."""
        return None

    def open(self, device: torch.device) -> Splits:
        """Returns the splits, on the device. They depend on the constructor's arguments and the files alone, and on no seed.

        Raises DataError, naming the file and the way out, for data that are missing, damaged or refused.
        """
        raise NotImplementedError


def folder_of(root: str) -> Path:
    """Returns the folder that dataset.root names. Raises ConfigError for a ~ without a home."""
    return Path(at_home(root, "dataset.root"))


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Turns an OSError into a DataError that names the file or folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{shown(error.filename or root)} cannot be read ({error.strerror or error}): make it readable, or set dataset.root"
        ) from None

"""What every data set gives: training, validation and test images in stores, and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ltrun.data.images import shown
from ltrun.data.stamps import Stamps
from ltrun.data.stores import Store
from ltrun.errors import DataError
from ltrun.machine import at_home
from ltrun.types import ClassStats


@dataclass(frozen=True, eq=False)
class Splits:
    """train is long-tailed; val, where there is one, and test are not. names: one for each class, in label order.

    skipped: how many images could not be read and were left out (only where the user allowed it). stamps: of the files that
    are decoded anew for each epoch.
    """

    train: Store
    val: Store | None
    test: Store
    names: tuple[str, ...]
    skipped: int = 0
    stamps: tuple[Stamps, ...] = ()

    @property
    def stats(self) -> ClassStats:
        """Training images of each class."""
        return ClassStats.of(self.train.targets, len(self.names), self.names)

    def check_files(self) -> None:
        """Raises DataError where a file that is read again and again is no longer what it was."""
        for stamps in self.stamps:
            stamps.check()

    @property
    def input_shape(self) -> torch.Size:
        """Of one stored input, such as (channels, H, W) of an image."""
        return next(iter(self.train.open([torch.tensor([0])]))).inputs.shape[1:]


class Source:
    """A data set. Its constructor takes plain values and checks them, touching no file; `open` reads the files."""

    name: str
    lacks_validation: bool = False  # True where the arguments alone say that there will be no validation split

    def open(self, device: torch.device) -> Splits:
        """The splits, on the device. A function of the constructor's arguments and the files alone: no seed enters.

        Raises DataError, naming the file and the way out, for data that are missing, damaged or refused.
        """
        raise NotImplementedError


def folder_of(root: str) -> Path:
    """The folder that a user means. Raises ConfigError for a ~ without a home."""
    return Path(at_home(root, "dataset.root"))


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Names the file or folder that the system does not let ltrun read."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{shown(error.filename or root)} cannot be read ({error.strerror or error}): mend it, or set dataset.root"
        ) from None

"""Images that a data set has found and not yet decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ltrun.data.containers import Container
from ltrun.data.files import Files
from ltrun.data.label_arrays import LabelArray
from ltrun.data.stamps import Stamps


@dataclass(frozen=True, eq=False)
class Listed:
    """The N images of one split. root: the folder below which they lie. labels: (N,) int64, or (N, C) bool. files: the names of
    the images in records, relative with POSIX separators, with sizes and times where known. stamps: of the files on disk that
    hold the images, one for each image or a few archives; None where they are too many to ask, so that nothing is kept in the
    cache.
    """

    root: Path
    images: Container
    labels: LabelArray
    files: Files
    stamps: Stamps | None = None

    @cached_property
    def place(self) -> tuple[str, str]:
        """The resolved root and a digest of the names, whatever the files contain. Only the root is resolved, because
        resolving each file takes longer than reading it."""
        names = b"\0".join(self.files.names[self.files.rows].tolist())
        return str(self.root.resolve()), hashlib.sha256(names).hexdigest()


@dataclass(frozen=True, eq=False)
class Found:
    """What a data set finds before it decodes an image. splits: train, and test and val where they exist. names: of the C
    classes, in label order. notes: sentences for `ltrun data`: what was found, and how it compares with the publication.
    """

    splits: Mapping[str, Listed]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

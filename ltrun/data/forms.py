"""Forms of CIFAR on disk: official pickles, official archive, parquet files, class folders.

Each form's function returns the splits, or None where a place does not hold its form. Raises DataError for a form that is
there but incomplete, damaged or refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data import official, parquet
from ltrun.data.cache import Arrays, cached
from ltrun.data.class_folders import Folder, has_folders, scan
from ltrun.data.decoded import read_images
from ltrun.data.decoding import Decoding
from ltrun.data.export import Note
from ltrun.data.files import Files, digests_of
from ltrun.data.official import Raw
from ltrun.data.profiles import LongTail
from ltrun.data.releases import Release
from ltrun.data.stamps import Stamps
from ltrun.errors import DataError

SIZE = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """The splits in a place. tail: the long tail of an export, which is cut already and brings its own validation split."""

    train: Raw
    test: Raw
    validation: Raw | None = None
    tail: LongTail | None = None


def pickles(release: Release, place: Path) -> Found | None:
    """Reads the official files, in a folder of the official name or in the place itself."""
    if (place / release.folder).is_dir():
        return Found(*official.read(release, place / release.folder))
    there = any((place / name).is_file() for name in (*release.train, *release.test))
    return Found(*official.read(release, place)) if there else None


def archive(release: Release, place: Path) -> Found | None:
    """Unpacks the official archive and reads its files."""
    path = place / release.archive
    if not path.is_file():
        return None
    try:
        official.unpack(release, path, place)
    except OSError as error:
        raise DataError(f"{path} cannot be unpacked there ({error}): move it to a folder that you may write to") from None
    return Found(*official.read(release, place / release.folder))


def parquet_files(release: Release, place: Path) -> Found | None:
    """Reads train*.parquet and test*.parquet, one or several files each, in the official order of the images; or an export."""
    for folder in (place, place / "data", place / place.name):
        train, test = sorted(folder.glob("train*.parquet")), sorted(folder.glob("test*.parquet"))
        if train and test:
            (images, tail), (test_images, _) = _parquet(release, train, "train"), _parquet(release, test, "test")
            validation = None
            if tail and tail.validation_per_class:
                validation, of = _parquet(release, [folder / "validation.parquet"], "validation")
                if of != tail:
                    raise DataError(f"{folder} holds parts of two exports: export to a new folder")
            return Found(images, test_images, validation, tail)
        if train or test:
            other = "test" if train else "train"
            raise DataError(f"{(train + test)[0]} lies there without a {other}.parquet: put {other}.parquet beside it")
    return None


def _parquet(release: Release, files: Sequence[Path], split: str) -> tuple[Raw, LongTail | None]:
    """Returns the images of the files, and the long tail if the files are an export."""

    def decode() -> Arrays:
        note = Note.of(files[0])
        if note and note.dataset != release.title:
            raise DataError(f"{files[0]} was exported from {note.dataset}, not {release.title}: set dataset.root or dataset")
        raw = parquet.read(files, release.columns, SIZE, split)
        if note:
            note.check(raw, files[0])
        tail = json.dumps(asdict(note.tail)) if note else ""
        arrays: Arrays = {"images": raw.images, "labels": raw.labels, "files": raw.files.names}
        arrays["digests"] = digests_of(raw.images)
        return arrays | {"tail": np.frombuffer(tail.encode(), np.uint8)}

    place = files[0].parent
    names = [str(place.resolve()), *(file.name for file in files)]
    arrays = cached(decode, "parquet or export", split, release.columns, names, stamps=Stamps.of(files, place))
    _check_labels(release, arrays["labels"], files[0])
    tail = bytes(arrays["tail"])
    raw = Raw(arrays["images"], arrays["labels"], Files(arrays["files"], digests=arrays["digests"]))
    return raw, LongTail(**json.loads(tail)) if tail else None


def _check_labels(release: Release, labels: NDArray[np.int64], file: Path) -> None:
    last, doubt = len(release.names) - 1, f"is it {release.title}? Replace it, or set dataset.root"
    if (wrong := np.flatnonzero((labels < 0) | (labels > last))).size:
        raise DataError(f"{file}, row {wrong[0]}: the label is {labels[wrong[0]]}, not one of 0 to {last}; {doubt}")
    if (absent := np.flatnonzero(np.bincount(labels, minlength=last + 1) == 0)).size:
        raise DataError(f"{file} has no image of class {absent[0]} ('{release.names[absent[0]]}'); {doubt}")


def class_folders(release: Release, place: Path) -> Found | None:
    """Reads train/<class>/* and test/<class>/*, whose folder names are in the order of the official class names, or numbers."""
    if not (has_folders(place / "train") and has_folders(place / "test")):
        return None
    train = scan(place / "train", place)
    if len(train.names) != len(release.names):
        counts = f"{len(train.names)} class folders, but {release.title} has {len(release.names)} classes"
        raise DataError(f"{train.root} holds {counts}: set dataset.root to the folder of {release.title}")
    test = scan(place / "test", place, train.names)
    log.warning("%s: file names do not tell CIFAR's order; the long-tailed subset has the usual counts but other images", place)
    return Found(_folder(train, place), _folder(test, place))


def _folder(folder: Folder, place: Path) -> Raw:
    listed = folder.listed(place)
    decoded = read_images(listed, Decoding(SIZE, crop=False))
    for row, reason in decoded.reasons.items():
        raise DataError(f"{listed.images.shown(row)} {reason}: replace it")
    return Raw(decoded.images, folder.labels, listed.files.holding(listed.files.sizes, decoded.digests))


FORMS = (pickles, archive, parquet_files, class_folders)

"""CIFAR-10-LT and CIFAR-100-LT, from any form of CIFAR that lies under the root."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ltrun.data import official
from ltrun.data.forms import FORMS, Found
from ltrun.data.official import Raw
from ltrun.data.profiles import LongTail, Profile, Rows, left_over, refuse_ignored
from ltrun.data.releases import RELEASES
from ltrun.data.source import Source, Splits, folder_of, reading
from ltrun.data.stores import Resident
from ltrun.errors import DataError

log = logging.getLogger(__name__)


class CIFARLT(Source):
    """CIFAR-10 or CIFAR-100 with a long-tailed training split of the same images as in the literature, and a whole test split.

    Looks in root/cifar100, root/cifar-100 (or 10) and root, in this order, for the official pickles, in their own folder or in
    the place itself; the official archive; parquet files; class folders. If there is none and download is true, downloads the
    official archive to root. Class folders have lost the official order of the images, so that their subset has the usual
    counts but other images; a warning says so. An export of `ltrun data export` is found as parquet files: it is used as it is
    for profile=as_is or for its own profile, and refused for any other profile.

    The images that the long tail and validation leave over are unlabelled images for a training that reads them: 500 - n_c of
    class c of CIFAR-100, the reverse of the labelled shares. An export, like profile=as_is, has none.

    (Krizhevsky, 2009; Cui et al., 2019, arXiv 1901.05555; Cao et al., 2019, arXiv 1906.07413)
    """

    def __init__(
        self,
        num_classes: Literal[10, 100] = 100,
        root: str = "data",
        profile: Profile = "exponential",
        imbalance: float = 100.0,
        validation_per_class: int = 0,
        download: bool = True,
        *,
        shots: int | None = None,
        reads_unlabelled: bool = False,
    ) -> None:
        self.release = RELEASES[num_classes]
        self.root = folder_of(root)
        self.tail = LongTail(profile, imbalance, validation_per_class, shots)
        self.lacks_validation = validation_per_class == 0
        self.download = download
        self.reads_unlabelled = reads_unlabelled

    def open(self, device: torch.device) -> Splits:
        stores = {
            split: Resident.of(raw.images, raw.labels, rows, device, raw.files) for split, (raw, rows) in self.splits().items()
        }
        names, unlabelled = self.release.names, stores.get("unlabelled")
        return Splits(stores["train"], stores.get("validation"), stores["test"], names, unlabelled=unlabelled)

    def splits(self) -> dict[str, tuple[Raw, Rows]]:
        """Returns split -> (all its images, the rows to use), for train, test and, if asked for, validation and unlabelled."""
        with reading(self.root):
            found = self._find()
            if found is None:
                self._download()
                found = self._find()
        assert found is not None
        whole = {"train": found.train, "test": found.test} | ({"validation": found.validation} if found.validation else {})
        splits = {split: (raw, np.arange(len(raw.labels))) for split, raw in whole.items()}
        if found.tail:
            self._check_tail(found.tail)
            return splits
        refuse_ignored(self.tail.profile, self.tail.imbalance, usual=100, shots=self.tail.shots)
        rows, held = self.tail.split(found.train.labels, self.release.names)
        splits |= {"train": (found.train, rows)} | ({"validation": (found.train, held)} if len(held) else {})
        rest = left_over(len(found.train.labels), rows, held)
        hidden = found.train._replace(labels=np.zeros_like(found.train.labels))
        return splits | ({"unlabelled": (hidden, rest)} if self.reads_unlabelled and len(rest) else {})

    def _check_tail(self, tail: LongTail) -> None:
        """Raises DataError unless the settings are as_is or the export's own.

        Cutting a tail again would give other images; other values would file the results under another name.
        """
        if self.tail not in (tail, replace(tail, profile="as_is")):
            raise DataError(
                f"{self.root.absolute()} holds an exported long tail, which must not be cut again: give "
                f"{' '.join(tail.words())}, or set dataset.root to the whole {self.release.title}"
            )
        log.info("%s: a long tail exported by ltrun (%s, imbalance %g), used as it is", self.root, tail.profile, tail.imbalance)

    def _find(self) -> Found | None:
        """Returns the first form found, or None; folders named after the data set come before root, which others may share."""
        if self.root.exists() and not self.root.is_dir():
            raise DataError(f"{self.root.absolute()} is not a folder: give dataset.root=FOLDER, or LTRUN_DATA")
        places = [*(self.root / slug for slug in self.release.slugs), self.root]
        return next((found for place in places for form in FORMS if (found := form(self.release, place))), None)

    def _download(self) -> None:
        release = self.release
        looked = (
            f"no {release.title} in {self.root.absolute()}: looked for {release.folder}/, {release.archive}, "
            "train.parquet with test.parquet, and train/<class>/ with test/<class>/"
        )
        way_out = "put one of these there, or give its place as dataset.root=FOLDER or LTRUN_DATA"
        if not self.download:
            raise DataError(f"{looked}; {way_out}, or allow a download with dataset.download=true")
        log.info("downloading %s to %s", release.url, self.root)
        try:
            official.download(release, self.root)
        except OSError as error:
            reason = getattr(error, "reason", None) or error  # urllib's errors wrap the informative one
            raise DataError(f"{looked}; downloading {release.url} failed ({reason}); {way_out}") from None

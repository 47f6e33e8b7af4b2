"""Present data of finished jobs, opened once for all jobs of a command that share them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ltrun.config.job import Job
from ltrun.errors import LtrunError

if TYPE_CHECKING:
    from ltrun.data.identity import Listing


class DataNow:
    """Listings by the configuration of their data set."""

    def __init__(self) -> None:
        self.listings: dict[str, Listing | None] = {}
        self.told: set[str] = set()

    def difference(self, job: Job, before: Mapping[str, Any]) -> str | None:
        """Describes how the data of a job differ from its record's. None if they do not, or if they cannot be opened any
        more: a result outlives its data."""
        listing = self._listing(job)
        return None if listing is None else listing.difference(before, job.folder)

    def written(self, job: Job, before: Mapping[str, Any]) -> str | None:
        """Describes streamed images that were written since a job began; None if there are none, or they were reported."""
        listing = self._listing(job)
        told = None if listing is None else listing.written(before, job.folder)
        if told is None or told in self.told:
            return None
        self.told.add(told)
        return told

    def _listing(self, job: Job) -> Listing | None:
        key = json.dumps([job.config["dataset"], job.settings.plugins])
        if key not in self.listings:
            self.listings[key] = _listing(job)
        return self.listings[key]


def _listing(job: Job) -> Listing | None:
    import torch  # imported here, because it takes two seconds

    from ltrun.data.identity import Listing
    from ltrun.recipe.read import dataset_of

    dataset = dict(job.config["dataset"])
    if "download" in dataset:
        dataset["download"] = False
    try:
        source = dataset_of({**job.config, "dataset": dataset}, job.settings.plugins)
        return Listing.of(source.open(torch.device("cpu")))
    except (LtrunError, OSError):
        return None

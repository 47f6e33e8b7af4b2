"""Missing images of a list or a table: how many may be left out, and the sentence that names the first of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ltrun.data.files import Rows
from ltrun.errors import ConfigError, DataError

FIRST = 5  # missing images that a sentence names

log = logging.getLogger(__name__)


def check_limit(missing: float) -> None:
    """Raises ConfigError for a `dataset.missing` that is neither a number of images nor a share of them below 1."""
    if not (0 <= missing < 1 or (1 <= missing < math.inf and missing % 1 == 0)):
        raise ConfigError(f"missing must be a number of images, or a share below 1, got {missing:g}")


def leave_out(
    present: NDArray[np.bool_], limit: float, of: str, named: Callable[[int], str], looked: str, what: str = "image"
) -> Rows:
    """Returns the rows whose images are present, and warns of the others.

    present: (N,) whether the image of each row was found. limit: `dataset.missing`, the most rows that may be left out, or
    their share below 1. of: what has the rows, such as a list's path. named: row -> its name in a sentence. looked: where the
    images were looked for. what: the word for one of them. Raises DataError, with the first five names, if more rows lack
    their images than the limit allows, or all.
    """
    lost = np.flatnonzero(~present)
    if not lost.size:
        return np.arange(len(present))
    first = [named(int(row)) for row in lost[:FIRST]]
    listed = ", ".join(first) if lost.size <= FIRST else f"the first of them {', '.join(first)}"
    count = f"{lost.size:,} of the {len(present):,} {what}s of {of} {'is' if lost.size == 1 else 'are'} missing"
    sentence = f"{count} ({listed}); looked in {looked}"
    if lost.size == len(present):
        raise DataError(f"{sentence}: give the folder that holds them as dataset.root=FOLDER")
    if lost.size > (limit * len(present) if limit < 1 else limit):
        raise DataError(f"{sentence}: put them there, or leave them out with dataset.missing={lost.size}")
    log.warning("%s: they are left out (dataset.missing=%g)", sentence, limit)
    return np.flatnonzero(present)

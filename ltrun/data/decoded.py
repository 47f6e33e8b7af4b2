"""Images that are decoded once, and kept in the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.decoding import Decoding
from ltrun.data.files import digests_of
from ltrun.data.images import decode_all
from ltrun.data.listed import Listed

AT_ONCE = 1000  # images that `find_unreadable` decodes together

log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """images: (N, 3, size, size) uint8. digests: (N, 16) uint8 of their pixels. reasons: row -> why its image is unreadable."""

    images: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    reasons: dict[int, str]


def read_images(listed: Listed, how: Decoding) -> Decoded:
    """Returns the images of a split, decoded once and then read from the cache."""

    def decode() -> Arrays:
        images, reasons = decode_all(_sources(listed), how)
        return {"images": images, "digests": digests_of(images)} | _arrays(reasons)

    arrays = _kept(decode, "folder", how, listed)
    return Decoded(arrays["images"], arrays["digests"], _reasons(arrays))


def find_unreadable(listed: Listed, how: Decoding) -> dict[int, str]:
    """Returns row -> why its image is unreadable. Keeps no images; the reasons are cached."""

    def check() -> Arrays:
        log.info("looking for unreadable images among %s", f"{len(listed.images):,}")
        sources, reasons = _sources(listed), dict[int, str]()
        for first in range(0, len(sources), AT_ONCE):
            _, found = decode_all(sources[first : first + AT_ONCE], how)
            reasons |= {first + row: reason for row, reason in found.items()}
        return _arrays(reasons)

    return _reasons(_kept(check, "unreadable", how, listed))


def _kept(make: Callable[[], Arrays], what: str, how: Decoding, listed: Listed) -> Arrays:
    """Returns the arrays of `make`, from the cache where stamps of the files would show a change."""
    return make() if listed.stamps is None else cached(make, what, how, listed.place, stamps=listed.stamps)


def _sources(listed: Listed) -> list[partial[bytes]]:
    return [partial(listed.images.read, row) for row in range(len(listed.images))]


def _arrays(reasons: Mapping[int, str]) -> Arrays:
    rows = np.array(list(reasons), dtype=np.int64)
    return {"unreadable": rows, "reasons": np.array(list(reasons.values()), dtype=np.str_)}


def _reasons(arrays: Arrays) -> dict[int, str]:
    return dict(zip(arrays["unreadable"].tolist(), arrays["reasons"].tolist(), strict=True))

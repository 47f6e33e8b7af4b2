"""Columns of a table or a Parquet file: which holds the images, the labels and the splits."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from ltrun.errors import ConfigError, did_you_mean

# In lower case, without blanks, dashes and underscores; the first that the table has is taken.
KNOWN = {
    "image": (
        "image", "img", "file", "filename", "path", "filepath", "imagepath", "imagefile", "imagefilename", "imagename",
        "imageid", "imgpath", "imgname", "imgfile", "photo", "photopath", "picture", "idcode", "relpath",
    ),
    "label": (
        "label", "class", "target", "category", "species", "y", "finelabel", "coarselabel", "labelname", "classname",
        "categoryname", "labels", "classlabel", "labelid", "classid", "categoryid", "diagnosis",
    ),
    "split": ("split", "subset", "partition", "set", "datasplit"),
}  # fmt: skip

log = logging.getLogger(__name__)


def column(role: str, names: Sequence[str], given: str | None, of: str) -> str | None:
    """Returns the column for image, label or split: the given one, or the first that is called like it; None if none is.

    of: how a sentence names the table. Raises ConfigError, with the nearest names, for a given column that is not there.
    """
    if given is not None:
        if given not in names:
            raise ConfigError(f"dataset.{role}: {of} has no column '{given}'{did_you_mean(given, names)}")
        return given
    alike = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    found = [alike[name] for name in KNOWN[role] if name in alike]
    if len(found) > 1:
        others = " and ".join(f"'{name}'" for name in found[1:])
        log.info("%s: the column '%s' holds the %ss, not %s (dataset.%s)", of, found[0], role, others, role)
    return found[0] if found else None


def needed(role: str, names: Sequence[str], given: str | None, of: str) -> str:
    """Returns the column for image or label, as `column` does. Raises ConfigError, with the names of all, if there is none."""
    found = column(role, names, given, of)
    if found is None:
        known = ", ".join(KNOWN[role][:6])
        way_out = f"give dataset.{role}=COLUMN, one of {', '.join(names)}"
        raise ConfigError(f"dataset.{role}: no column of {of} is called {known} or alike: {way_out}")
    return found

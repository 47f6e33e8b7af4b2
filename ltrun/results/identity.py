"""Identity of the data of a run: digests in records and checkpoints, and the differences between two identities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

UNLABELLED = "unlabelled"
SPLITS = {"train": "training images", "val": "validation images", "test": "test images", UNLABELLED: "unlabelled images"}
HEX = 16


class SplitIdentity(TypedDict):
    """Digests of a split, in the order of its rows. images: their number. files: digest of their names. sizes: digest of the
    sizes of the files, None unless each image has a file. pixels: digest of the decoded images, None for streamed images."""

    images: int
    labels: str
    files: str
    sizes: str | None
    pixels: str | None


class Identity(TypedDict):
    """The identity of a data set. digest: of labels and pixels, or names and sizes of files where there are no pixels; not of
    unlabelled images, which only some methods read, so that their runs and others share a table.

    classes: digest of the names of the classes in label order.
    """

    digest: str
    classes: str
    splits: dict[str, SplitIdentity]


def digest(content: bytes) -> str:
    """Returns 16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:HEX]


def identity(classes: Sequence[str], splits: Mapping[str, SplitIdentity]) -> Identity:
    """Returns the identity of data; equal on every machine and device, because no time, path or random number enters."""
    named = digest(json.dumps(list(classes)).encode())
    decides = {
        split: [found["labels"], *([found["pixels"]] if found["pixels"] else [found["files"], found["sizes"]])]
        for split, found in splits.items()
        if split != UNLABELLED
    }
    whole = json.dumps([named, decides], sort_keys=True)
    return {"digest": digest(whole.encode()), "classes": named, "splits": dict(splits)}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Returns how `other`, the present data, differ from `one`: "classes" or split -> a clause, for each that differs.

    Pixels decide if both identities have them: names may then differ, as they do between the formats of CIFAR. Records of
    earlier formats have no identity, `{}`, and differ from nothing. Unlabelled images are compared where both runs read them.
    """
    if not one or not other:
        return {}
    hidden = [data["splits"].get(UNLABELLED) for data in (one, other)]
    if one["digest"] == other["digest"] and (None in hidden or hidden[0] == hidden[1]):
        return {}
    found = {"classes": "the names of the classes, or their order, differ"} if one["classes"] != other["classes"] else {}
    for split, title in SPLITS.items():
        before, now = one["splits"].get(split), other["splits"].get(split)
        if before and now:
            if told := _split_difference(title, before, now):
                found[split] = told
        elif (before or now) and split != UNLABELLED:
            found[split] = f"there are {title} now" if now else f"there are no {title} any more"
    return found


def _split_difference(title: str, one: SplitIdentity, other: SplitIdentity) -> str | None:
    if one["images"] != other["images"]:
        return f"the {title} differ: {other['images']:,} now, {one['images']:,} then"
    if one["labels"] != other["labels"]:
        return f"the labels of the {title}, or their order, differ"
    if one["pixels"] and other["pixels"]:
        if one["pixels"] == other["pixels"]:
            return None
        told = ", although their files have the same names" if one["files"] == other["files"] else ""
        return f"the pixels of the {title} differ{told}"
    if one["files"] != other["files"]:
        return f"the names of the {title} differ"
    if one["sizes"] and other["sizes"] and one["sizes"] != other["sizes"]:
        return f"the sizes of the files of the {title} differ"
    return None

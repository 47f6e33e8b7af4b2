"""Identity of the data of a run: the digests that records and checkpoints carry, and what differs between two of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

SPLITS = {"train": "training images", "val": "validation images", "test": "test images"}
HEX = 16


class SplitIdentity(TypedDict):
    """Digests of a split in the order of its rows. images: how many. files: of their names. sizes: of the bytes of each file,
    where each image has one. pixels: as they were decoded; None where they are decoded anew for each epoch."""

    images: int
    labels: str
    files: str
    sizes: str | None
    pixels: str | None


class Identity(TypedDict):
    """classes: digest of their names in label order. digest: of what decides: pixels, or else names and sizes of files."""

    digest: str
    classes: str
    splits: dict[str, SplitIdentity]


def digest(content: bytes) -> str:
    """16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:HEX]


def identity(classes: Sequence[str], splits: Mapping[str, SplitIdentity]) -> Identity:
    """The same on every machine and device: no time, no place and no random number enters."""
    named = digest(json.dumps(list(classes)).encode())
    decides = {
        split: [found["labels"], *([found["pixels"]] if found["pixels"] else [found["files"], found["sizes"]])]
        for split, found in splits.items()
    }
    whole = json.dumps([named, decides], sort_keys=True)
    return {"digest": digest(whole.encode()), "classes": named, "splits": dict(splits)}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """In words, how `other`, the data of now, differ from `one`: a clause for the classes and for each split that differs.

    Pixels decide where both know them: then names may differ, as they do between the forms of CIFAR. Records of before have
    no identity, `{}`, and differ from nothing.
    """
    if not one or not other or one["digest"] == other["digest"]:
        return {}
    found = {"classes": "the classes have other names, or another order"} if one["classes"] != other["classes"] else {}
    for split, title in SPLITS.items():
        before, now = one["splits"].get(split), other["splits"].get(split)
        if before and now:
            if told := _split_difference(title, before, now):
                found[split] = told
        elif before or now:
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
        told = ", though their files have the same names" if one["files"] == other["files"] else ""
        return f"the pixels of the {title} differ{told}"
    if one["files"] != other["files"]:
        return f"the names of the {title} differ"
    if one["sizes"] and other["sizes"] and one["sizes"] != other["sizes"]:
        return f"the files of the {title} have other sizes"
    return None

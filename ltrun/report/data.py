"""Partition of runs by their data, because no table mixes runs of different data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltrun.results.identity import SPLITS, differences
from ltrun.results.record import RunRecord

UNKNOWN = "not recorded"
SHOWN = 8  # hex digits of a digest


def parted(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Returns the records of each data set, by the first digits of its digest.

    A record that identifies its data less exactly, because the run streamed them or an earlier version wrote it, joins the
    data set from which it does not differ, if there is exactly one.
    """
    parts: list[tuple[Mapping[str, Any], list[RunRecord]]] = []
    for record in sorted(records, key=lambda record: _known(record.data), reverse=True):
        same = [members for data, members in parts if data.get("digest") == record.data.get("digest")]
        fitting = same or [members for data, members in parts if not differences(data, record.data)]
        if len(fitting) == 1:
            fitting[0].append(record)
        else:
            parts.append((record.data, [record]))
    return {data["digest"][:SHOWN] if data else UNKNOWN: members for data, members in parts}


def _known(data: Mapping[str, Any]) -> int:
    """Returns how exactly a record identifies its data: 2 by pixels, 1 by names and sizes, 0 not at all."""
    return 0 if not data else 2 if all(split["pixels"] for split in data["splits"].values()) else 1


def note(name: str, parts: Sequence[RunRecord]) -> str:
    """Returns `photos names 2 data sets, which differ in training images and test images`. parts: a record of each."""
    known = [part.data for part in parts if part.data]
    differing = {key for other in known[1:] for key in differences(known[0], other)}
    told = [title for key, title in {"classes": "classes", **SPLITS}.items() if key in differing]
    unknown = "" if len(known) == len(parts) else "; records of earlier versions do not identify their data"
    return f"{name} names {len(known)} data sets, which differ in {' and '.join(told)}{unknown}"

"""Reader of metrics.jsonl, which has a line for each epoch of a run. Needs no NumPy."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltrun.metrics import is_number
from ltrun.results.address import EPOCHS


def epochs_of(folder: Path, tail: int | None = None) -> list[dict[str, Any]]:
    """Returns the epochs of a run, each with its stage and number, without damaged lines; none without the file.

    tail: bytes of the end of the file to read; None for all.
    """
    try:
        with (folder / EPOCHS).open("rb") as file:
            if tail is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("stage"), str) and is_number(row.get("epoch")):
                found.append(row)
    return found

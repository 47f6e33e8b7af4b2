"""Reader of files that torch.save wrote."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch


def read(path: Path) -> Any:
    """Returns the tensors and plain values of a file, on the CPU, without running code that the file may hold.

    Raises FileNotFoundError, and errors of any kind for foreign bytes.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)  # a refusal follows
        return torch.load(path, map_location="cpu", weights_only=True)

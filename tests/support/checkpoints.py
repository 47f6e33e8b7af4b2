"""Checkpoints with one number each, and the ways to damage a file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.engine.checkpoint import Checkpoints
from tests.support.cases import CPU


def state(value: int, size: int = 500) -> dict[str, Any]:
    return {"stage": 0, "epoch": value, "module": {"weight": torch.full((size,), float(value))}, "best": None}


def never(sentence: str) -> None:
    pytest.fail(f"unexpected warning: {sentence}")


def load(folder: Path, warn: Callable[[str], None] = never) -> int | None:
    """Returns the value of the state that a new process would resume from; fails if it mixes two checkpoints."""
    found = Checkpoints(folder).load(CPU, warn)
    if found is None:
        return None
    assert found["module"]["weight"].unique().tolist() == [found["epoch"]]
    return found["epoch"]


def saved(folder: Path, *values: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for value in values:
        checkpoints.save(f"0-train-{value}", state(value))
    return checkpoints


def flipped(where: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        place = min(int(where * len(data)), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "first bit": flipped(0.0),
    "middle bit": flipped(0.5),
    "last bit": flipped(1.0),
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "foreign": lambda data: b"PK\3\4 a zip file of somebody else",
    "a pickle": lambda data: pickle.dumps({"epoch": 9}),
    "gone": lambda data: None,
}


def harm(path: Path, damage: Callable[[bytes], bytes | None]) -> None:
    data = damage(path.read_bytes())
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)

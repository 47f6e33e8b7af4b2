"""Memory-mapped temporary files: values, room on the disk, nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.errors import TrainingError
from ltrun.results import mapped


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mapped, "LARGE", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def maps() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bfloat16])
def test_a_large_tensor_lies_in_a_file_without_a_name(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.arange(60).view(3, 4, 5).to(dtype)
    tensor = mapped.empty((3, 4, 5), dtype, "the values")
    tensor.copy_(values)
    assert torch.equal(tensor, values) and tensor.is_contiguous() and tensor.dtype is dtype
    assert list(tmp_path.iterdir()) == [], "a kill would leave it behind"
    assert str(tmp_path) in maps()
    del tensor
    assert str(tmp_path) not in maps(), "the space is given back with the tensor"


def test_a_small_tensor_lies_in_memory(tmp_path: Path) -> None:
    tensor = mapped.empty((5, 5), torch.float32, "the values")
    assert tensor.shape == (5, 5) and str(tmp_path) not in maps()


def test_a_full_disk_is_found_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"^TMPDIR: the scores take 4\.0 GB, and .* has [\d.]+ GB left; set TMPDIR to"):
        mapped.empty((10**6, 1000), torch.float32, "the scores")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(TrainingError, match=r"/gone: No such file or directory; set TMPDIR"):
        mapped.empty((1000,), torch.float32, "the scores")

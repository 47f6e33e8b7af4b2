"""Memory: 8,142 classes pass through predictors, files and reports in a process whose memory is limited."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_DATA") or sys.platform != "linux", reason="limits memory as Linux does")
def test_many_classes_take_little_memory(tmp_path: Path) -> None:
    """A matrix of all pairs of classes would take 0.53 GB, and the scores of one predictor 0.13 GB."""
    command = [sys.executable, "-m", "tests.support.many_classes", str(tmp_path), "0.12", "4000"]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # glibc gives freed blocks back, so that none fragment its heap
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["8142", "4000", "100"]

"""Provenance of a result: time, versions, platform, processor, commit."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ltrun import __version__
from ltrun.machine import processor


def provenance() -> dict[str, Any]:
    """Returns time (UTC), versions, platform, processor and, if ltrun is a checkout, its commit; names no machine or user."""
    versions = {"ltrun": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "hydra-core", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "platform": platform.platform(),
        "processor": processor(),
        **_commit(Path(__file__).resolve().parents[2]),
    }


def _commit(root: Path) -> dict[str, Any]:
    """Returns {"commit": ..., "dirty": ...} if `root` is the top of a git checkout, else {}.

    A virtual environment may lie inside a checkout, whose commit says nothing about ltrun.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return {}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {}

"""Checkpoints that survive a kill at any moment: written whole or not at all, held against their digest when read."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.results.address import MANIFEST
from ltrun.results.atomic import write_atomically

NAME = re.compile(r"[\w-][\w.-]{0,100}\.pt")


class Checkpoints:
    """The newest checkpoint of a run and the one before it, named in a manifest with their SHA-256.

    A checkpoint is written under a new name, the manifest is replaced, and only then is the oldest file removed: whenever
    the process dies, the manifest names files that are whole. Contents are plain types and tensors.
    """

    def __init__(self, folder: Path, resume: bool = True):
        """resume: whether to go on from what is there, rather than from nothing."""
        self.folder = folder
        self.entries: list[dict[str, str]] = self._read_manifest() if resume else []

    def _read_manifest(self) -> list[dict[str, str]]:
        path = self.folder / MANIFEST
        try:
            entries = json.loads(path.read_text())["checkpoints"]
            if not all(NAME.fullmatch(entry["file"]) for entry in entries):
                raise ValueError("a checkpoint lies in the folder of its run")
            return [{"file": entry["file"], "sha256": str(entry["sha256"])} for entry in entries]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise TrainingError(f"{path} is damaged; remove the folder {self.folder} to train this run again") from None

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Raises TrainingError when the disk is full or the folder unwritable; the previous checkpoint is then intact."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        write_atomically(self.folder / f"{name}.pt", data)
        entry = {"file": f"{name}.pt", "sha256": hashlib.sha256(data).hexdigest()}
        entries = [entry, *(e for e in self.entries if e["file"] != entry["file"])][:2]
        write_atomically(self.folder / MANIFEST, json.dumps({"checkpoints": entries}, indent=1).encode())
        self.entries = entries
        self._remove_others()

    def load(self, device: torch.device, warn: Any) -> dict[str, Any] | None:
        """The newest checkpoint that is whole, or None for a run that has none yet. `warn` is told of a damaged one."""
        for entry in self.entries:
            path = self.folder / entry["file"]
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                if entry is not self.entries[-1]:
                    warn(f"{path} is damaged; going on from the checkpoint before it")
                continue
            try:
                state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            except Exception:  # the reader raises errors of any kind on foreign bytes
                state = None
            if not isinstance(state, dict):
                raise TrainingError(f"{path} is not a checkpoint of ltrun; remove {self.folder} to train this run again")
            return state
        if self.entries:
            raise TrainingError(f"no checkpoint in {self.folder} is whole; remove the folder to train this run again")
        return None

    def keep_last_only(self) -> None:
        """After the run is done: the checkpoint before the last has served."""
        if len(self.entries) > 1:
            self.entries = self.entries[:1]
            write_atomically(self.folder / MANIFEST, json.dumps({"checkpoints": self.entries}, indent=1).encode())
        self._remove_others()

    def _remove_others(self) -> None:
        kept = {entry["file"] for entry in self.entries}
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.tmp*")]:
            if path.name not in kept:
                path.unlink(missing_ok=True)


def on_host(tree: Any) -> Any:
    """Nested mappings and lists with their tensors copied to the host, where they are not there."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, Mapping):
        return {key: on_host(value) for key, value in tree.items()}
    return [on_host(value) for value in tree] if isinstance(tree, list) else tree

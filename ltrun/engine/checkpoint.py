"""Checkpoints that survive a kill at any moment: written atomically, and verified by their SHA-256 when read."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.results.address import MANIFEST, MODEL
from ltrun.results.atomic import write_atomically
from ltrun.results.folder import ASIDE

NAME = re.compile(r"[\w-][\w.-]{0,100}\.pt")
ORDER = re.compile(r"(\d+)-.*-(\d+)\.pt")  # index of the stage, epoch
DIGEST = re.compile("[0-9a-f]{64}")


class Checkpoints:
    """The last two checkpoints of a run, named in a manifest with their SHA-256.

    A checkpoint is written under a new name, the manifest is replaced, and only then is the oldest file removed: whenever
    the process dies, the manifest names intact files. A checkpoint holds plain types and tensors only.
    """

    def __init__(self, folder: Path, resume: bool = True):
        """resume: whether to read the checkpoints in the folder, rather than start without any."""
        self.folder = folder
        self.rebuilt = ""  # "missing" or "damaged", where the manifest was rebuilt from the checkpoint files
        self.entries: list[dict[str, str]] = self._read_manifest() if resume else []

    def _read_manifest(self) -> list[dict[str, str]]:
        path = self.folder / MANIFEST
        try:
            entries = json.loads(path.read_bytes())["checkpoints"]
            if not all(NAME.fullmatch(entry["file"]) and DIGEST.fullmatch(entry["sha256"]) for entry in entries):
                raise ValueError("an entry needs the name of a file in this folder and its SHA-256")
            if not entries:
                raise ValueError("the manifest names no checkpoint")
            return [{"file": entry["file"], "sha256": entry["sha256"]} for entry in entries]
        except FileNotFoundError:
            begun_anew = path.with_name(f"{MANIFEST}{ASIDE}").exists()
            return [] if begun_anew else self._found("missing")
        except OSError as error:
            raise TrainingError(
                f"{path} cannot be read ({error.strerror}): make it readable and give the same command again"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            if found := self._found("damaged"):
                return found
            raise TrainingError(
                f"{path} is damaged, and no checkpoint beside it is intact: give the command again with force=true to train "
                "this run from scratch"
            ) from None

    def _found(self, wrong: str) -> list[dict[str, str]]:
        """Returns the entries of the checkpoints that are intact by their own check sums, the newest first.

        wrong: the manifest's fault, "missing" or "damaged".
        """
        names = sorted((path.name for path in self.folder.glob("*.pt") if ORDER.fullmatch(path.name)), key=_order, reverse=True)
        found = [{"file": name, "sha256": _digest(self.folder / name)} for name in names if _is_whole(self.folder / name)]
        self.rebuilt = wrong if found else ""
        return found

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes a checkpoint and removes all but the last two.

        Raises TrainingError when the disk is full or the folder not writable; the previous checkpoint is then intact.
        """
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
        """Returns the newest intact checkpoint, or None for a run without checkpoints. Raises TrainingError if none is intact.

        warn: takes a sentence about a damaged file.
        """
        if self.rebuilt:
            warn(f"{self.folder / MANIFEST} is {self.rebuilt}; resuming from the intact checkpoint {self.entries[0]['file']}")
        for entry in self.entries:
            path = self.folder / entry["file"]
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                if entry is not self.entries[-1]:
                    warn(f"{path} is damaged; resuming from the checkpoint before it")
                continue
            try:
                state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            except Exception:  # torch.load raises errors of any kind on foreign bytes
                state = None
            if not isinstance(state, dict):
                raise TrainingError(f"{path} is not a checkpoint of ltrun; force=true trains this run from scratch")
            return state
        if self.entries:
            raise TrainingError(f"no checkpoint in {self.folder} is intact; force=true trains this run from scratch")
        return None

    def keep_last_only(self) -> None:
        """Removes all checkpoints but the last, once the run is done."""
        if len(self.entries) > 1:
            self.entries = self.entries[:1]
            write_atomically(self.folder / MANIFEST, json.dumps({"checkpoints": self.entries}, indent=1).encode())
        self._remove_others()

    def _remove_others(self) -> None:
        kept = {MODEL, *(entry["file"] for entry in self.entries)}
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.tmp*")]:
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _order(name: str) -> tuple[int, ...]:
    found = ORDER.fullmatch(name)
    return tuple(map(int, found.groups())) if found else ()


def _is_whole(path: Path) -> bool:
    """Returns whether each member of a checkpoint, a zip archive, matches its CRC-32."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile raises errors of any kind on foreign bytes
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def on_host(tree: Any) -> Any:
    """Returns nested mappings and lists with their tensors copied to the host, out of reach of further training."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: on_host(value) for key, value in tree.items()}
    return [on_host(value) for value in tree] if isinstance(tree, list) else tree

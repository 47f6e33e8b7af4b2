"""The address of a run: which configurations are one and the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltrun.errors import ConfigError
from ltrun.taxonomy import SLOTS

RESULT = "result.json"
MANIFEST = "checkpoints.json"  # names the checkpoints of a run that may be gone on from
INERT = (
    "seed", "outputs", "force", "plugins", "evaluation.batch_size",
    "dataset.name", "dataset.root", "dataset.download", "dataset.source.root", "dataset.source.download",
    "dataset.streamed", "dataset.source.streamed", "dataset.workers", "dataset.source.workers",
    "runtime.device", "runtime.threads", "runtime.channels_last", "runtime.compile", "runtime.pack", "runtime.tensorboard",
    "runtime.checkpoint_seconds",
)  # fmt: skip
"""Keys that name a run, or change where, how fast or how visibly it runs. Any other key of `runtime` changes results."""


ORDERED = ("augments", "mixers")  # mappings whose parts follow each other, wherever they stand: their order changes results


def labelled(name: str, changes: Mapping[str, Any]) -> str:
    """`name [key=value, ...]`, in an order that does not depend on how the changes were typed; inert keys are left out."""

    def order(key: str) -> tuple[int, str]:
        return (SLOTS.index(key) if key in SLOTS else len(SLOTS), key)

    shown = [f"{key}={as_typed(changes[key])}" for key in sorted(changes, key=order) if key not in INERT]
    return f"{name} [{', '.join(shown)}]" if shown else name


def as_typed(value: object) -> str:
    """A value as it is typed on the command line; 50.0 and 5e1 as 50, true as true."""
    return value if isinstance(value, str) else json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False)


def _whole(node: object) -> object:
    """A value in which whole floats are integers."""
    if isinstance(node, Mapping):
        return {key: _whole(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_whole(item) for item in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def fingerprint(config: Mapping[str, Any]) -> str:
    """8 hex digits of the SHA-256 of whatever in a resolved configuration changes results; 50 and 50.0 are the same."""
    text = json.dumps(_canonical(config, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _canonical(node: Any, path: str) -> Any:
    if isinstance(node, Mapping):
        paths = {str(key): f"{path}.{key}" if path else str(key) for key in node}
        kept = {str(k): _canonical(v, paths[str(k)]) for k, v in node.items() if paths[str(k)] not in INERT}
        return list(kept.items()) if path.rpartition(".")[2] in ORDERED else kept
    if isinstance(node, (list, tuple)):
        return [_canonical(item, f"{path}.{i}") for i, item in enumerate(node)]
    if isinstance(node, float) and math.isfinite(node):
        return int(node) if node.is_integer() else node
    if node is None or isinstance(node, (str, bool, int)):
        return node
    raise ConfigError(f"{path} must be a finite number, text, list or mapping, got {node!r}")


def address(outputs: Path, dataset: str, method: str, fingerprint: str, seed: int) -> Path:
    """outputs/<dataset>/<method>/<fingerprint>/seed<k>. Raises ConfigError for names that would lie elsewhere."""
    for key, name in {"dataset": dataset, "method": method, "fingerprint": fingerprint}.items():
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\:") or len(name.encode()) > 200:
            raise ConfigError(
                f"{key} {name!r} cannot name a folder of {outputs}: it must not be empty, start with a dot, "
                "contain / \\ : or control characters, or be longer than 200 bytes"
            )
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    return outputs / dataset / method / fingerprint / f"seed{seed}"


def reset(folder: Path) -> None:
    """Has a run begin anew: if it is cut short, nothing of before passes for its result, and it goes on from its own."""
    for name in (MANIFEST, RESULT):
        (folder / name).unlink(missing_ok=True)

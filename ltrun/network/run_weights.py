"""Weights of ltrun's own runs: the model of a finished run, named by its folder or its address, or one of its checkpoints.

Their place begins with `run:`, so that the rest of a configuration knows, also where the file is gone, that images are prepared
as the data set says, and not as for published weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ltrun.errors import ConfigError, DataError
from ltrun.machine import at_home
from ltrun.results.address import MODEL, RESULT
from ltrun.results.find import run_at
from ltrun.results.record import RunRecord

KEY, RUN = "network.weights", "run:"
KINDS = ({"fingerprint", "network", "posthoc"}, {"stage", "epoch", "module", "optimizer"})  # keys of models and of checkpoints
WHERE = "backbone."


def of_run(weights: str | None) -> bool:
    """Whether weights of a resolved configuration are those of a run."""
    return weights is not None and weights.startswith(RUN)


def model_of(given: str, outputs: str) -> Path | None:
    """Returns the model of a finished run, given as its folder or as its address below outputs; None for another name.

    Raises ConfigError for a folder without a finished run, or without its model.
    """
    places = (Path(at_home(given, KEY)), Path(at_home(outputs, "outputs")) / given)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        return None
    try:
        file, _ = run_at(folder)
    except DataError as error:
        raise ConfigError(f"{KEY}: {error}") from None
    model = file.with_name(MODEL)
    if not model.is_file():
        raise ConfigError(f"{KEY}: {file.parent} has no {MODEL}: train the run of its {RESULT} again with force=true")
    return model.resolve()


def marked(path: Path) -> str:
    """Returns the place of a file of weights as a configuration names it: `run:` and the path, for a file of a run of ltrun.

    Raises ConfigError for a run that began with published weights, because its images were prepared for these.
    """
    if not _is_of_run(path):
        return str(path)
    result = path.with_name(RESULT)
    network = RunRecord.load(result).config.get("network") if result.is_file() else None
    began = network.get("weights") if isinstance(network, Mapping) else None
    if began is not None and not of_run(began):
        raise ConfigError(
            f"{KEY}: the run in {path.parent} began with {began} itself, for which its images were prepared in another way; "
            f"give {KEY}={began}, or a run that began without weights"
        )
    return f"{RUN}{path}"


def _is_of_run(path: Path) -> bool:
    try:
        return _has_keys_of_run(path, path.stat().st_mtime_ns)
    except Exception:  # foreign bytes raise errors of any kind; whoever reads the file says why it cannot be used
        return False


@lru_cache
def _has_keys_of_run(path: Path, written: int) -> bool:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # reads no tensor
    return isinstance(content, Mapping) and any(keys <= content.keys() for keys in KINDS)


def backbone_in(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Returns the tensors of the first backbone among those of a network or a stage. Raises ConfigError if it was forked."""
    first = next((name for name in tensors if WHERE in name), None)
    if first is None:
        raise ConfigError(
            f"{KEY}: {path} holds the branches of an ensemble, of which none is a whole network; give a run with ensemble=none"
        )
    prefix = first[: first.index(WHERE) + len(WHERE)]
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

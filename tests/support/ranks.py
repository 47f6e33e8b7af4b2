"""Presets trained on several ranks, processes of this machine that speak over gloo, and in one process.

    python -m tests.support.ranks STORE FOLDER RANK WORLD "BATCH_SIZE PRESET"...

A preset may have further words: "32 erm dataset=digits_multi_lt".
Every process writes FOLDER/RANK.json: preset -> `Findings`. A process per rank trains all presets, because its start takes
longer than they do.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltrun.contracts.device import unevaluated
from ltrun.contracts.trial import prepared
from ltrun.data import Resident
from ltrun.engine.checkpoint import on_host
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.stage import Row, StageRun
from ltrun.engine.step import leaves
from ltrun.parts import Prepare
from ltrun.recipe.stage import Recipe
from ltrun.targets import Labels, MultiHot, one_label
from tests.support.cases import bound, composed, digits, small, trainer

EPOCHS = 3


@dataclass
class Findings:
    """apart: tensors whose bits differ between ranks after an epoch, before the ranks agree. losses: of the terms, after each
    epoch in float64 with sync_bn; alone: the same in one process. distance: the largest difference of a number of the trained
    network and its parts between the two. error: why the preset was not trained.
    """

    apart: list[str] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    alone: list[dict[str, float]] = field(default_factory=list)
    distance: float = 0.0
    error: str = ""


def findings(sizes: Mapping[str, int], world: int, folder: Path) -> list[dict[str, Findings]]:
    """Trains presets on so many ranks. Returns the findings of each rank; asserts that each of them ends well.

    sizes: preset -> its batch size.
    """
    command = [sys.executable, "-m", "tests.support.ranks", str(folder / "store"), str(folder)]
    words = [f"{size} {preset}" for preset, size in sizes.items()]
    ranks = [
        subprocess.Popen([*command, str(rank), str(world), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for rank in range(world)
    ]
    told = [process.communicate()[0].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0] * world, "\n".join(told)
    files = [json.loads((folder / f"{rank}.json").read_bytes()) for rank in range(world)]
    return [{preset: Findings(**found) for preset, found in file.items()} for file in files]


def main(store: str, folder: str, rank: str, world: str, *words: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, int(world)), rank=int(rank), world_size=int(world))
    found = {}
    for word in words:
        size, _, preset = word.partition(" ")
        ranks = Compared(int(rank), int(world))
        found[preset] = asdict(_found(preset, ranks, Path(folder, rank, preset), int(size)))
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


class Compared(Ranks):
    """Ranks that remember which tensors have other bits on other ranks when they are about to agree."""

    apart: list[str]

    def agree(self, tensors: Mapping[str, Tensor]) -> None:
        digests = [hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest() for tensor in tensors.values()]
        everyone: list[list[str]] = [[] for _ in range(self.world)]
        dist.all_gather_object(everyone, digests)
        self.apart += [name for name, *same in zip(tensors, *everyone, strict=True) if len(set(same)) > 1]
        super().agree(tensors)


def _found(preset: str, ranks: Compared, folder: Path, size: int) -> Findings:
    found = Findings()
    ranks.apart = found.apart
    try:
        _trained(preset, ranks, folder / "local", batch_size=size)
        with doubled():
            found.losses, together = _trained(preset, ranks, folder / "whole", batch_size=size, sync_bn=True)
            found.alone, alone = _trained(preset, ALONE, folder / "alone", batch_size=size)
        assert together.keys() == alone.keys()
        found.distance = max(float((together[name].double() - alone[name].double()).abs().max()) for name in alone)
    except Exception:
        found.error = traceback.format_exc()
    return found


def _trained(preset: str, ranks: Ranks, folder: Path, **changes: Any) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Returns the losses of each epoch, and the trained state: network, parts and optimizer of the last stage."""
    rows: list[Row] = []
    recipe = bound(small(composed(*f"method={preset}".split()), EPOCHS))
    if torch.get_default_dtype() is torch.float64:
        changes |= {"prepare": Doubled(recipe), "train_set": doubled_targets(recipe)}
    made = trainer(recipe, folder, ranks=ranks, evaluate=unevaluated, **changes)
    states: list[dict[str, Tensor]] = []
    epoch = made._epoch

    def watched(running: Any, index: int, clock: Any) -> None:
        if torch.get_default_dtype() is torch.float64 and clock.epoch == 0:
            narrow_augments(running)
        epoch(running, index, clock)
        rows.append(running.monitor.means(clock, 1))
        optimizer = {f"optimizer.{n}": tensor for n, tensor in enumerate(leaves(running.optimizer.state_dict()))}
        states.append(on_host(running.state_dict() | optimizer))

    made._epoch = watched  # type: ignore[method-assign]
    made.run()
    return rows, states[-1]


def narrow_augments(running: StageRun) -> None:
    """Makes augmentations, which compute with bytes, work in float32 where all else is float64."""
    chains = [cast(nn.Sequential, chain) for chain in running.objective.augments.float().values()]
    for augment in (part for chain in chains for part in chain):
        augment.register_forward_pre_hook(lambda *_: torch.set_default_dtype(torch.float32))
        augment.register_forward_hook(lambda *_: torch.set_default_dtype(torch.float64))


def doubled_targets(recipe: Recipe) -> Resident:
    """Returns the small set with weights of its labels in float64."""
    train, _ = digits(recipe.task, recipe.backbone.target.videos)
    if isinstance(train.targets, MultiHot):
        return Resident(train.pixels, DoubledHot(train.targets.hot))
    labels = one_label(train.targets)
    return Resident(train.pixels, Labels(labels.index, labels.weight.double()))


class DoubledHot(MultiHot):
    """Several labels of each row, in float64."""

    def take(self, rows: Tensor | slice) -> MultiHot:
        return MultiHot(self.hot[rows].double())


class Doubled(Prepare):
    """The inputs of the small set in float64."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.narrow = prepared(recipe.backbone.target.videos)

    def forward(self, inputs: Tensor) -> Tensor:
        narrow: Tensor = self.narrow(inputs)
        return narrow.double()


@contextmanager
def doubled() -> Iterator[None]:
    """Makes new parameters and buffers float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    main(*sys.argv[1:])

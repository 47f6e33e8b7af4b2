"""Two ranks, processes of this machine, that train on the imagined CUDA device.

    python -m tests.support.ranks_on_device STORE FOLDER RANK PRESET...

Each writes FOLDER/RANK.json: preset -> names of the trained tensors whose bits are not those of two ranks on CPUs, and
"agree" -> what `Ranks.agree` said of states that differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor

from ltrun.contracts.device import on_device, on_host
from ltrun.contracts.imagined import DEVICE, imagined_cuda
from ltrun.contracts.trial import differing
from ltrun.engine.distributed import Ranks
from ltrun.engine.step import Step, no_waiting
from ltrun.errors import TrainingError
from ltrun.types import Streams
from tests.support.cases import bound, composed, small

WORLD = 2


def main(store: str, folder: str, rank: str, *presets: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, WORLD), rank=int(rank), world_size=WORLD)
    ranks = Ranks(int(rank), WORLD)
    found = {preset: _trained(preset, ranks, Path(folder, rank, preset)) for preset in presets}
    Path(folder, f"{rank}.json").write_text(json.dumps(found | {"agree": _agreed(ranks)}))
    dist.barrier()
    dist.destroy_process_group()


def _trained(preset: str, ranks: Ranks, folder: Path) -> list[str]:
    recipe = bound(small(composed(f"method={preset}"), epochs=2))
    with imagined_cuda(), _steps_that_may_not_wait():
        state = on_device(recipe, folder / "device", ranks=ranks)
    return sorted(differing(state, on_host(recipe, folder / "host", ranks=ranks)))


@contextmanager
def _steps_that_may_not_wait() -> Iterator[None]:
    take = Step.take

    def strict(step: Step, streams: Streams) -> None:
        with no_waiting():
            take(step, streams)

    with patch.object(Step, "take", strict):
        yield


def _agreed(ranks: Ranks) -> list[str]:
    """States of a device, with tensors of the host among them, as optimizers have."""
    said = []
    with imagined_cuda():
        ones, masked = torch.ones(2, 3, device=DEVICE), torch.tensor([1.0, -torch.inf, torch.nan], device=DEVICE)
        same = {"same": ones, "masked": masked, "flag": torch.tensor(True, device=DEVICE), "empty": ones[:0]}
        ours = torch.full((3,), 1.0 + 1e-6 * ranks.rank, device=DEVICE)
        theirs = 1.0 + ranks.rank * torch.ones(2, device=DEVICE)
        lost = torch.tensor([1.0, torch.nan if ranks.rank else 1.0], device=DEVICE)
        count = torch.tensor(float(ranks.rank))
        states: list[dict[str, Tensor]] = [
            same | {"host": torch.ones(()), "ours": ours}, same | {"theirs": theirs}, same | {"lost": lost},
            {"masked": masked + ranks.rank}, same | {"count": count},
        ]  # fmt: skip
        for state in states:
            try:
                ranks.agree(state)
            except TrainingError as error:
                said.append(str(error).partition(" differs")[0])
            else:
                said.append("")
        said.append(str(ours.tolist()))
    return said


if __name__ == "__main__":
    main(*sys.argv[1:])

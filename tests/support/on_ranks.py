"""Functions `check_*` of a test module, run on several ranks: processes of this machine that speak over gloo.

    python -m tests.support.on_ranks MODULE FOLDER RANK WORLD

Every process writes FOLDER/RANK.json: name of a function -> its traceback, or "" where it passes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ltrun.engine.distributed import Ranks

PREFIX = "check_"
PATIENCE = timedelta(seconds=40)  # for a rank whose check has failed


def checks_of(names: Mapping[str, object]) -> list[str]:
    return [name for name in names if name.startswith(PREFIX)]


def verdicts(module: str, world: int, folder: Path) -> dict[str, list[str]]:
    """Runs the checks of a module. Returns name -> what is wrong on each rank."""
    command = [sys.executable, "-m", "tests.support.on_ranks", module, str(folder)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(world)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for rank in range(world)
    ]
    told = [process.communicate()[0].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0] * world, "\n".join(told)
    files = [json.loads((folder / f"{rank}.json").read_bytes()) for rank in range(world)]
    return {name: [file[name] for file in files] for name in files[0]}


def main(module: str, folder: str, rank: str, world: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", int(world))
    dist.init_process_group("gloo", store=store, rank=int(rank), world_size=int(world), timeout=PATIENCE)
    ranks, found = Ranks(int(rank), int(world)), {}
    names = vars(importlib.import_module(module))
    for name in checks_of(names):
        torch.manual_seed(0)
        try:
            names[name](ranks)
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()  # else another rank may miss the last message
    dist.destroy_process_group()
    os._exit(0)  # a thread of gloo's may still free the last message, which aborts an orderly end


if __name__ == "__main__":
    main(*sys.argv[1:])

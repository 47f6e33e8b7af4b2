"""Device of a run: `runtime.device` as a torch device."""

from __future__ import annotations

import torch

from ltrun.engine.distributed import ALONE, Ranks
from ltrun.errors import ConfigError


def device_of(name: str, ranks: Ranks = ALONE) -> torch.device:
    """Returns the device of that name; 'auto' is CUDA where there is a GPU. Each rank of a machine has a GPU of its own.

    Raises ConfigError if the machine lacks the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("ltrun runs on cpu and cuda only")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"runtime.device: '{name}' is not a device of this machine; use auto, cpu or cuda") from None
    if ranks.alone or device.type != "cuda":
        return device
    if device.index is not None:
        raise ConfigError(f"runtime.device: each of {ranks.world} ranks takes a GPU of its own; use cuda in place of {name}")
    return torch.device("cuda", ranks.local % torch.cuda.device_count())

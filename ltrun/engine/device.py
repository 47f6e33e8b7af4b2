"""Device of a run: `runtime.device` as a torch device."""

from __future__ import annotations

import torch

from ltrun.errors import ConfigError


def device_of(name: str) -> torch.device:
    """Returns the device of that name; 'auto' is CUDA where there is a GPU. Raises ConfigError if the machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("ltrun runs on cpu and cuda only")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"runtime.device: '{name}' is not a device of this machine; use auto, cpu or cuda") from None
    return device

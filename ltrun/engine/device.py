"""Device of a run: `runtime.device` as a torch device."""

from __future__ import annotations

import io

import torch

from ltrun.data.jpeg import jpegs
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
        if device.type == "cuda" and not ranks.alone:
            if device.index is not None:
                raise ConfigError(f"runtime.device: each of {ranks.world} ranks takes a GPU of its own; use cuda, not {name}")
            device = torch.device("cuda", ranks.local % max(torch.cuda.device_count(), 1))
            torch.cuda.set_device(device)  # else each rank would take memory of the first GPU, too
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"runtime.device: '{name}' is not a device of this machine; use auto, cpu or cuda") from None
    return device


def check_decoder(decode: str, device: torch.device) -> None:
    """Raises ConfigError if runtime.decode asks for JPEGs to be decoded by a device that cannot. decode: cpu or device."""
    if decode == "cpu":
        return
    if device.type != "cuda":
        raise ConfigError("runtime.decode: only CUDA devices decode JPEGs; use cpu")
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    try:
        jpegs([torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)], device)
    except (RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"runtime.decode: torchvision decodes no JPEG on {device} here ({reason}); use cpu") from None

"""Device of a run: the one that `runtime.device` names, and on several ranks a GPU for each rank of a machine."""

from __future__ import annotations

import pytest
import torch

from ltrun.engine.device import device_of
from ltrun.engine.distributed import Ranks
from ltrun.errors import ConfigError


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The GPUs of a machine with two that were made the current one, or that got a tensor."""
    touched: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", touched.append)
    monkeypatch.setattr(torch, "empty", lambda size, device: touched.append(device))
    return touched


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize(("local", "index"), [(0, 0), (1, 1), (2, 0)])
def test_a_rank_touches_no_gpu_but_its_own(name: str, local: int, index: int, chosen: list[torch.device]) -> None:
    """Memory of a GPU that another rank trains on would be lost to it."""
    device = torch.device("cuda", index)
    assert device_of(name, Ranks(local + 4, 8, local)) == device
    assert chosen == [device, device]


def test_ranks_on_the_cpu_touch_no_gpu(chosen: list[torch.device]) -> None:
    assert device_of("cpu", Ranks(0, 2)) == torch.device("cpu")
    assert chosen == [torch.device("cpu")]


def test_a_numbered_gpu_is_refused_for_several_ranks(chosen: list[torch.device]) -> None:
    with pytest.raises(ConfigError, match="each of 2 ranks takes a GPU of its own; use cuda, not cuda:1"):
        device_of("cuda:1", Ranks(0, 2))
    assert device_of("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["meta", "gpu"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"runtime.device: '{name}' is not a device of this machine; use auto, cpu or cuda"):
        device_of(name, Ranks(0, 2))

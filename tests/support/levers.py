"""A training step of a network with a lever, beside the same step without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltrun.engine.trainer import Trainer
from ltrun.parts import Network
from ltrun.types import Streams
from tests.support.cases import bound, composed, small, snapshot, trainer
from tests.support.networks import streams_of

Use = Callable[[nn.Module], None]


class Calls(TorchDispatchMode):
    """Notes the arguments of each call of an operation."""

    def __init__(self, operation: object) -> None:
        super().__init__()
        self.operation, self.seen = operation, list[tuple[Any, ...]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self.operation:
            self.seen.append(args)
        return func(*args, **(kwargs or {}))


def both(network: Network, use: Use) -> tuple[Network, Network]:
    """Returns a network, and a copy with the lever."""
    altered = deepcopy(network)
    use(altered)
    return network, altered


def step(network: Network, streams: Streams | None = None, bf16: bool = False) -> dict[str, Tensor]:
    """Returns logits, gradients and buffers after a forward and backward pass of every stream that the network trains on."""
    torch.manual_seed(7)
    streams = streams or streams_of()
    need = list(network.streams or ("key", "main", "reversed"))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
        outputs = network(streams, need)
    found = {f"logits of {name}": output.logits for name, output in outputs.items() if output.logits is not None}
    torch.stack([logits.square().mean() for logits in found.values()]).sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {name: tensor.detach() for name, tensor in (found | gradients | dict(network.named_buffers())).items()}


@contextmanager
def switched_on(use: Use) -> Iterator[None]:
    """Makes every trainer build its network with a lever."""
    build = Trainer.network

    def network(self: Trainer) -> Network:
        built = build(self)
        use(built)
        return built

    with patch.object(Trainer, "network", network):
        yield


def trained(method: str, folder: Path, precision: str) -> dict[str, Tensor]:
    """Returns the state of a preset's network after two epochs on a CPU."""
    recipe = bound(small(composed(f"method={method}"), epochs=2))
    return snapshot(trainer(recipe, folder, evaluate=lambda _: {"val": {"accuracy": 0.0}}, precision=precision).run())

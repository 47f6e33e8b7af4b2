"""Size of a network and arithmetic of its prediction, as a record keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ltrun.engine.context import RunContext
from ltrun.parts import Network


def size_and_arithmetic(network: Network, context: RunContext) -> dict[str, float]:
    """Returns the number of parameters, and the multiply-accumulates of the prediction of one image.

    torch counts two operations for each multiply-accumulate of convolutions, products and attention, and none for anything
    else. A network whose work depends on the image (`adaptive`) is counted over all test images. Where torch cannot count, the
    second number is left out: no run is lost for it.
    """
    parameters: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    try:
        return parameters | {"multiply_accumulates": multiply_accumulates(network, context)}
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        context.warn(f"the arithmetic of the network was not counted ({type(error).__name__}: {told})")
        return parameters


@torch.no_grad()
def multiply_accumulates(network: Network, context: RunContext) -> float:
    """Returns the multiply-accumulates of the prediction of an image, in evaluation mode."""
    training = network.training
    network.eval()
    done = 0
    try:
        with _Counter() as counter:
            for inputs in _inputs(network, context):
                network.predict(inputs)
                done += len(inputs)
    finally:
        network.train(training)
    return counter.operations / 2 / done


class _Counter(TorchDispatchMode):
    """Counts operations as torch.utils.flop_counter.FlopCounterMode does, whose first use imports torch._dynamo.

    That import takes as long as the import of torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch wraps the method below, and the wrapper imports torch._dynamo

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
        result = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        self.operations += count(*args, **kwargs, out_val=result) if count else 0
        return result


def _inputs(network: Network, context: RunContext) -> Iterator[Tensor]:
    """Yields prepared test images: one, or for an adaptive network all of them."""
    store = next(iter(context.evaluated.values()))
    rows = torch.arange(len(store))
    plan = rows.split(context.evaluation_batch) if network.adaptive else [rows[:1]]
    for batch in store.open(list(plan)):
        yield context.prepare(batch.inputs)
